"""Sheets of small images."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage


def plot_images(ax: Axes, images: np.ndarray, gap: int = 1, **style: Any) -> AxesImage:
    """Images in rows, 0..255: `[row, column, side, side]`, or 1 or 3 channels before the sides."""
    if images.ndim == 4:
        images = images[:, :, None]
    rows, columns, channels, height, width = images.shape
    sheet = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8
    )
    for row, column in np.ndindex(rows, columns):
        top, left = row * (height + gap), column * (width + gap)
        sheet[top : top + height, left : left + width] = np.moveaxis(images[row, column], 0, -1)
    style.setdefault("cmap", "gray")
    style.setdefault("vmin", 0)
    style.setdefault("vmax", 255)
    image = ax.imshow(sheet.squeeze(-1) if channels == 1 else sheet, **style)
    ax.set_axis_off()
    return image
