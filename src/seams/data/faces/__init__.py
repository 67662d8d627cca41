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

from seams.data.faces.celeba import (
    CELEBA_BYTES,
    CELEBA_IMAGES,
    CELEBA_MD5,
    CELEBA_PARTITION_MD5,
    CELEBA_TERMS,
    load_celeba,
)
from seams.data.faces.folder import load_folder
from seams.data.faces.images import Faces
from seams.data.faces.orl import (
    ORL_ARCHIVE,
    ORL_BYTES,
    ORL_CREDIT,
    ORL_SHA256,
    fetch_orl,
    load_orl,
)

__all__ = [
    "CELEBA_BYTES",
    "CELEBA_IMAGES",
    "CELEBA_MD5",
    "CELEBA_PARTITION_MD5",
    "CELEBA_TERMS",
    "ORL_ARCHIVE",
    "ORL_BYTES",
    "ORL_CREDIT",
    "ORL_SHA256",
    "Faces",
    "fetch_orl",
    "load_celeba",
    "load_folder",
    "load_orl",
]
