"""How far the mean over a few runs may be from what many runs would give."""

from torch import Tensor

from seams.shapes import Float

__all__ = ["difference_interval", "mean_interval"]


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


def difference_interval(
    values: Float[Tensor, " runs"], others: Float[Tensor, " others"], level: float = 0.95
) -> tuple[float, float]:
    r"""Welch's interval of a difference of means, $\bar v - \bar w \pm t_\nu \sqrt{a + b}$.

    With $a = s_v^2 / n$ and $b = s_w^2 / m$ the degrees of freedom are $\nu = (a + b)^2 /
    (a^2 / (n - 1) + b^2 / (m - 1))$: the two groups need neither one size nor one variance.

    Returns:
        Lower and upper end, in the unit of the values.

    Raises:
        ValueError: Fewer than 2 runs in a group, or a level that is not between 0 and 1.

    Source: Welch 1947.
    """
    from scipy.stats import t

    fewest = min(len(values), len(others))
    if fewest < 2:
        raise ValueError(f"An interval needs 2 or more runs; got {fewest}. Train more seeds.")
    if not 0 < level < 1:
        raise ValueError(f"`level` must be between 0 and 1; got {level}. 95 percent is 0.95.")
    (a, n), (b, m) = ((float(v.double().var()) / len(v), len(v)) for v in (values, others))
    centre = float(values.double().mean() - others.double().mean())
    if not a + b:
        return centre, centre
    freedom = (a + b) ** 2 / (a**2 / (n - 1) + b**2 / (m - 1))
    half = float(t.ppf((1 + level) / 2, freedom)) * (a + b) ** 0.5
    return centre - half, centre + half
