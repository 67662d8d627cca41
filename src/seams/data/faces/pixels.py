"""How a picture becomes an image: decoded, cropped to a square, averaged over larger pixels.

A pixel of the result is the mean over the square that it covers, rounded half up. Sums are exact
integers, so the same pixels give the same bits on every machine and with every library; only the
decoding of JPEG files (CelebA) is left to Pillow.
"""

import io
from functools import lru_cache

import numpy as np

__all__ = ["RECIPE", "decode", "square"]

RECIPE = {"pixels": "mean over the square covered, rounded half up"}
"""What a stored set says of its pixels; another rule needs another text."""

_IMAGE_PIXELS = 2**26  # 64 megapixels, 200 MB decoded; below the size at which Pillow warns
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}  # 8 bits at most: others would be clipped


def decode(
    stream: io.BufferedReader | io.BytesIO, name: str, formats: tuple[str, ...], channels: int
) -> np.ndarray:
    """Pixels, uint8 [row, column, channel]."""
    from PIL import Image, ImageOps

    try:
        with Image.open(stream, formats=formats) as image:
            fault = None
            if image.width * image.height > _IMAGE_PIXELS:
                fault = f"of at most {_IMAGE_PIXELS} pixels; got {image.width} x {image.height}"
            elif image.mode not in _MODES:
                fault = f"of 8 bits a channel, grey or RGB; got Pillow's mode {image.mode}"
            else:
                upright = ImageOps.exif_transpose(image)
                pixels = np.asarray(upright.convert("RGB" if channels == 3 else "L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        kinds = " or ".join(formats)
        raise ValueError(
            f"{name} is not a readable {kinds} image. Remove it, or get it again."
        ) from error
    if fault:
        raise ValueError(f"{name} must be an image {fault}. Convert it, or remove it.")
    return pixels.reshape(*pixels.shape[:2], channels)


def square(pixels: np.ndarray, resolution: int, name: str, crop: int | None = None) -> np.ndarray:
    """Centred square of side `crop`, the largest if None, as uint8 [channel, side, side]."""
    height, width = pixels.shape[:2]
    crop = min(height, width, crop or width)
    if not 1 <= resolution <= crop:
        raise ValueError(
            f"`resolution` must be 1 to {crop}, the side of the crop of {name} ({width} x "
            f"{height}); got {resolution}. Ask for less, or remove the image."
        )
    top, left = (height - crop) // 2, (width - crop) // 2
    pixels = pixels[top : height - top, left : width - left]
    rows, columns = (_coverage(size, crop, resolution) for size in pixels.shape[:2])
    # float64 holds these integers exactly in any order of addition, and BLAS is fast.
    totals = np.stack([rows @ pixels[..., k] @ columns.T for k in range(pixels.shape[-1])])
    area = (2 * crop) ** 2
    return ((totals.astype(np.int64) + area // 2) // area).astype(np.uint8)


@lru_cache(maxsize=32)
def _coverage(pixels: int, crop: int, resolution: int) -> np.ndarray:
    """Length of old pixels inside new ones, in 1/(2 resolution) of an old one: [new, old]."""
    start = (pixels - crop) * resolution + 2 * crop * np.arange(resolution)[:, None]
    left = 2 * resolution * np.arange(pixels)
    overlap = np.minimum(start + 2 * crop, left + 2 * resolution) - np.maximum(start, left)
    return overlap.clip(min=0).astype(np.float64)
