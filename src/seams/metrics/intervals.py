"""How far the mean over a few runs may be from what many runs would give."""

from torch import Tensor

from seams.shapes import Float

__all__ = ["mean_interval"]


def mean_interval(
    values: Float[Tensor, " runs *shape"], level: float = 0.95
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    r"""Student's interval of the mean over runs, $\bar v \pm t_{n-1}\, s / \sqrt n$."""
    # Exact for normal values at any number of runs, unlike a bootstrap, which is too narrow for
    # few. Of exponential values, as skewed as scores get, it covers 88 to 90 percent in place of
    # 95. The bands of Fig. 5 and 8, where the paper shows standard deviations.
    from scipy.stats import t

    if len(values) < 2:
        raise ValueError(f"An interval needs 2 or more runs; got {len(values)}. Train more seeds.")
    if not 0 < level < 1:
        raise ValueError(f"`level` must be between 0 and 1; got {level}. 95 percent is 0.95.")
    centre, n = values.mean(0), len(values)
    half = float(t.ppf((1 + level) / 2, n - 1)) * values.std(0) / n**0.5
    return centre - half, centre + half
