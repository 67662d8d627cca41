r"""Faces: the ORL set, which anyone can get; CelebA, from the user's copy; any folder of images.

| set | images | crop | parts |
|---|---|---|---|
| ORL | 400 grey, 40 people x 10, 92 x 112 | 92 x 92 | people 1-32, 33-36, 37-40 |
| CelebA | 202,599 colour, 178 x 218 | 148 x 148 | official: 162,770, 19,867, 19,962 |
| folder | JPEG and PNG | the largest square | first eight tenths, ninth, last, by name |

Every crop is a square about the image's centre, to half a pixel. The paper says neither how it
crops nor which size it shows; 148 of 178 pixels, the face without shoulders, is the usual choice.

ORL asks for the credit of AT&T Laboratories Cambridge; CelebA is for non-commercial research only,
and may not be passed on.

Source: Section 7 and Figures 7-10.
"""

from typing import Any

from seams.data.arrays import faces_folder
from seams.data.faces.celeba import CELEBA_MD5, load_celeba
from seams.data.faces.folder import load_folder
from seams.data.faces.images import Faces
from seams.data.faces.orl import ORL_CREDIT, fetch_orl, load_orl

__all__ = [
    "CELEBA_MD5",
    "ORL_CREDIT",
    "Faces",
    "fetch_orl",
    "load_celeba",
    "load_faces",
    "load_folder",
    "load_orl",
    "named",
]


def load_faces(name: str, resolution: int) -> Faces:
    """A set of faces whole, with its parts: `part("test")` holds images that none is trained on.

    Args:
        name: "orl", downloaded by pip on first use (5.7 MB); "celeba", the official
            `img_align_celeba.zip` in `seams.data.faces_folder()`; "celeba:NAME", the zip
            `NAME.zip` there, with some of its members; "folder:NAME", the images in that folder.
        resolution: Side of the images in pixels.

    Returns:
        The faces.

    Raises:
        ValueError: Another name.
    """
    home = faces_folder()
    kind, _, place = name.partition(":")
    if name == "orl":
        return load_orl(fetch_orl(home), resolution)
    if name == "celeba":
        archive = home / "img_align_celeba.zip"
        return load_celeba(archive, home, resolution=resolution, md5=CELEBA_MD5)
    if place not in ("", ".", "..") and not {"/", "\\", "\0"} & set(place):
        if kind == "celeba":
            return load_celeba(home / f"{place}.zip", home, resolution=resolution)
        if kind == "folder":
            return load_folder(home / place, home, resolution=resolution)
    raise ValueError(
        f"`dataset` must be 'orl', 'celeba', 'celeba:NAME' or 'folder:NAME' for faces; got "
        f"{name!r}. NAME is that of a zip without its ending, or of a folder, in {home}."
    )


def named(name: str, resolution: Any) -> Faces:
    """The part of a set of faces that is trained on; see `load_faces`."""
    return load_faces(name, resolution).part("train")
