r"""dSprites: 737,280 binary images of one white shape on black, rendered from its rule or read.

Images are 64 x 64. Their factors, the last of which varies fastest:

| factor | classes | value of class $k$ |
|---|---|---|
| color | 1 | white |
| shape | 3 | square, ellipse, heart |
| scale | 6 | $s = 0.5 + 0.1 k$ |
| orientation | 40 | $t = 2 \pi k / 39$; classes 0 and 39 are the same image |
| posX | 32 | centre $16 + 32 k / 31$ pixels from the left |
| posY | 32 | centre $16 + 32 k / 31$ pixels from the top |

A polygon with vertices $(u, v)$ is drawn, with $y$ down, at $x = c_x + s (u \cos t + v \sin t)$,
$y = c_y + s (-u \sin t + v \cos t)$, rounded to 1/256 pixel. A pixel is white if its centre lies
inside by the even-odd rule; a centre on an edge belongs to left and bottom edges only.

The rule was recovered from published images and reproduces the 320 frames of the official
animation without a wrong pixel. Not proven bit-identical to the original npz: 128,328,864 pixels
are white, and the mean published for the original implies 128,328,862.

On disk and, at full resolution, in memory, eight pixels share a byte: 377 MB for the set.

Source: Section 7 (dSprites); Matthey et al. (2017), github.com/google-deepmind/dsprites-dataset.
"""

from seams.data.dsprites.images import DSprites, load, named, write
from seams.data.dsprites.rule import FACTOR_NAMES, IMAGES, classes_at, index_of, render

__all__ = [
    "FACTOR_NAMES",
    "IMAGES",
    "DSprites",
    "classes_at",
    "index_of",
    "load",
    "named",
    "render",
    "write",
]
