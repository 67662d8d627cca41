"""Array shapes in annotations, without a hard dependency.

`Float[Tensor, "batch latent"]` states dtype and shape. Where `jaxtyping` is installed (tests,
notebooks) the annotation can be checked at run time; where it is not (a bare GPU node) the same
line is documentation only.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8
else:
    try:
        from jaxtyping import Bool, Float, Int, UInt8
    except ImportError:

        class _Unchecked:
            """Stands in for a jaxtyping dtype: subscription returns the array type."""

            def __class_getitem__(cls, item: tuple[type, str]) -> type:
                return item[0]

        Bool = Float = Int = UInt8 = _Unchecked

__all__ = ["Bool", "Float", "Int", "UInt8"]
