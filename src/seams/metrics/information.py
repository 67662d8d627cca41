"""What latents know about known factors, $I(z_j; v_k)$ in nats: rows are latents, columns factors.

From a histogram of the latents, or from the densities of their posteriors. Leading axes are runs,
which share the samples. Factors are integers, of which only equality of two values matters.
"""

import math

import torch
from torch import Tensor

from seams.metrics.mixtures import REACH, mixture_information
from seams.shapes import Float, Int

__all__ = ["BINS", "density_mutual_information", "entropies", "mutual_information"]

BINS = 20  # of the histogram of a latent, as in Locatello et al. 2019

# Grid step over the smallest scale. The trapezoidal rule converges geometrically in its inverse;
# at one half the worst two-component mixture found is wrong by 2e-6 nats (at one, by 4e-4).
_STEP = 0.5
# Beyond this, where the smallest scale is below 1.5e-5 of the range, the range is halved instead.
_MAX_GRID = 2**17
# More blocks of grid points than this cost more in calls than they save in densities.
_BLOCKS = 64
# Densities evaluated at once: 2 MiB in float64, which stays in a core's cache.
_CHUNK = 2**18


def mutual_information(
    latents: Float[Tensor, "*runs n latent"],
    factors: Int[Tensor, "n factor"],
    bins: int = BINS,
) -> Float[Tensor, "*runs latent factor"]:
    r"""Information of each latent about each factor, histogram form, $I(z_j; v_k)$.

    Entry $(j, k)$ is $\sum_{b, v} p(b, v) \log \frac{p(b, v)}{p(b)\,p(v)}$ over the `bins` of
    latent $j$, 2 or more, and the values of factor $k$. The bins have equal width and span the
    latent's own range: those of `numpy.histogram`, to the bit. A constant latent has exactly 0.

    Independent variables come out at about $(\text{bins} - 1)(K - 1) / 2n$ above 0 for a factor of
    $K$ values: 0.037 for 20 bins, 40 values and 10,000 samples. A latent that is constant but for
    rounding looks as informative as an active one: pass sampled latents rather than posterior
    means, or keep the `active_latents` only.

    Returns:
        Nats, not negative; rows are latents.

    Raises:
        ValueError: Fewer than 2 bins, a latent that is not finite, or factors not `[n, factor]`.

    Source: the estimator of MIG in Locatello et al. 2019; App. E's "mutual information values".
    """
    if bins < 2:
        raise ValueError(f"`bins` must be 2 or more; got {bins}. One bin knows nothing.")
    if unfit := int((~latents.isfinite()).sum()):
        raise ValueError(
            f"`latents` must be finite; got {unfit} values that are not. Did the run diverge?"
        )
    # One row per latent of every run: runs share the samples, so a run is only more latents.
    rows = latents.detach().double().movedim(-2, -1).flatten(0, -2).contiguous()
    low, high = rows.aminmax(dim=-1, keepdim=True)
    width = torch.where(high > low, high - low, 1.0)
    codes = ((rows - low) * (bins / width)).long().clamp_(max=bins - 1)
    # Rounding may put a value that lies on an edge beside it.
    edges = low + torch.arange(bins + 1, device=rows.device) * (width / bins)
    codes -= (rows < edges.gather(-1, codes)).long()
    codes += ((rows >= edges.gather(-1, codes + 1)) & (codes < bins - 1)).long()
    codes += bins * torch.arange(len(rows), device=rows.device)[:, None]
    columns = []
    for labels, size in _labels(factors, rows.shape[1]):
        joint = torch.bincount(
            (codes * size + labels).flatten(), minlength=len(rows) * bins * size
        )
        columns.append(_table_information(joint.view(len(rows), bins, size).double()))
    shape = (*latents.shape[:-2], latents.shape[-1])
    return torch.stack(columns, -1).unflatten(0, shape).to(latents.dtype)


def density_mutual_information(
    means: Float[Tensor, "*runs n latent"],
    scales: Float[Tensor, "*runs n latent"],
    factors: Int[Tensor, "n factor"],
    grid: int | None = None,
) -> Float[Tensor, "*runs latent factor"]:
    r"""Information of each latent about each factor, density form, $H(z_j) - H(z_j \mid v_k)$.

    Entry $(j, k)$ is the mutual information under the aggregate posterior $q(z_j) = \frac1n \sum_i
    q(z_j \mid x_i)$ and $q(z_j \mid v_k)$, the same mean over the samples with that value:
    Gaussian mixtures, integrated numerically. No draws, no bins: two calls agree to rounding. The
    samples are the whole population: few, narrow components overstate what new samples would tell.

    `scales` are marginal standard deviations, in the unit of `means`: for a full posterior with
    Cholesky factor $L$, $\sqrt{(L L^\top)_{jj}}$ and not $L_{jj}$. The grid of a latent spans its
    means and 6 standard deviations around them, in steps of half its smallest one (or with `grid`
    points); the error is then below 1e-5 nats, and time grows as $n$ times the ratio of a typical
    scale to the smallest. Beyond 2^17 points the range is halved instead until each part suits its
    components (`seams.metrics.mixtures`): within 1e-8 nats, in 10 to 100 times as long.

    Returns:
        Nats, not negative; rows are latents.

    Raises:
        ValueError: A mean or scale is not finite, a scale not positive, factors not `[n, factor]`,
            or `grid` does not resolve the narrowest posterior.

    Source: Chen et al. 2018, Sec. 4, where the integrals are Monte Carlo.
    """
    if unfit := int((~means.isfinite()).sum()):
        raise ValueError(
            f"`means` must be finite; got {unfit} values that are not. Did the run diverge?"
        )
    if not (scales.isfinite() & (scales > 0)).all():
        raise ValueError(
            f"`scales` must be finite and positive; got {scales.min().item():g} as the smallest. "
            "Pass standard deviations, not their logarithms."
        )
    columns, sizes = map(list, zip(*_labels(factors, means.shape[-2]), strict=True))
    # All factors share one table, so their values are numbered through.
    labels = torch.stack([sum(sizes[:k]) + column for k, column in enumerate(columns)])
    rows = means.detach().double().movedim(-2, -1).flatten(0, -2)
    row_scales = scales.detach().double().movedim(-2, -1).flatten(0, -2)
    information = []
    for index, (mean, scale) in enumerate(zip(rows, row_scales, strict=True)):
        low, high, needed = _grid_size(mean, scale)
        if grid is None and needed > _MAX_GRID:
            information.append(mixture_information(mean, scale, labels, sizes))
            continue
        if needed > (grid or needed):
            raise ValueError(
                f"The grid must resolve the narrowest posterior; latent {index % means.shape[-1]} "
                f"needs {needed:.0f} points (scale {scale.min().item():g} over a range of "
                f"{high - low:g}), got {grid}. Pass a larger `grid`, or none."
            )
        points = torch.linspace(
            low, high, grid or int(needed), dtype=mean.dtype, device=mean.device
        )
        table = _mixture_table(mean, scale, labels, sum(sizes), points)
        information.append(
            torch.stack([_table_information(part.mT) for part in table.split(sizes)])
        )
    shape = (*means.shape[:-2], means.shape[-1])
    return torch.stack(information).unflatten(0, shape).to(means.dtype)


def entropies(factors: Int[Tensor, "n factor"]) -> Float[Tensor, " factor"]:
    r"""Entropy of each factor, $H(v_k) = -\sum_v p(v) \log p(v)$, nats; 0 if it does not vary."""
    values = []
    for labels, size in _labels(factors, len(factors)):
        p = torch.bincount(labels, minlength=size).double() / len(labels)
        values.append(torch.special.entr(p).sum())
    return torch.stack(values).to(torch.get_default_dtype())


def _labels(factors: Tensor, n: int) -> list[tuple[Tensor, int]]:
    # Each factor as consecutive labels, with the number of values it takes.
    if factors.ndim != 2 or factors.is_floating_point() or factors.is_complex():
        raise ValueError(
            f"`factors` must be integers [n, factor]; got {list(factors.shape)} of "
            f"{factors.dtype}. Number the values of each factor (a continuous one: cut it into "
            "bins), and give one column a factor."
        )
    if len(factors) != n:
        raise ValueError(
            f"`factors` must have one row a sample; got {len(factors)} for {n} samples. Are they "
            "of another part of the data?"
        )
    labelled = []
    for column in factors.unbind(-1):
        values, labels = column.unique(return_inverse=True)
        labelled.append((labels, len(values)))
    return labelled


def _table_information(table: Tensor) -> Tensor:
    # Information between rows and columns of unnormalised joint tables [..., row, column].
    tiny = torch.finfo(table.dtype).tiny
    row = table.sum(-1, keepdim=True)
    column = table.sum(-2, keepdim=True)
    total = column.sum(-1, keepdim=True)
    # Two divisions, since the product of the margins may underflow where the joint does not.
    ratio = (table / row.clamp(min=tiny)) / (column / total)
    return (torch.special.xlogy(table, ratio).sum((-2, -1)) / total[..., 0, 0]).clamp(min=0)


def _grid_size(mean: Tensor, scale: Tensor) -> tuple[float, float, int | float]:
    # Ends of the mixture's support and the points needed to resolve its narrowest component.
    low = (mean - REACH * scale).min().item()
    high = (mean + REACH * scale).max().item()
    smallest = max(_STEP * scale.min().item(), torch.finfo(scale.dtype).tiny)
    steps = (high - low) / smallest
    return low, high, math.ceil(steps) + 1 if math.isfinite(steps) else math.inf


def _mixture_table(
    mean: Tensor, scale: Tensor, labels: Tensor, size: int, points: Tensor
) -> Tensor:
    # Summed densities [value, point] of the samples with each value, up to one common constant.
    table = mean.new_zeros(size, len(points))
    spacing = points[1] - points[0]
    octaves = (scale / scale.min()).log2().floor()
    for octave in octaves.unique():
        chosen = (octaves == octave).nonzero()[:, 0]
        chosen = chosen[mean[chosen].argsort()]
        centre, label = mean[chosen], labels[:, chosen]
        inverse = 1 / (math.sqrt(2) * scale[chosen, None])
        # A block sees the components within reach of it: a slice, since the means are sorted.
        reach = REACH * scale[chosen].max()
        width = max(int(reach / spacing), len(points) // _BLOCKS, 1)
        rows = max(1, _CHUNK // width)
        starts = points[::width]
        first = torch.searchsorted(centre, starts - reach).tolist()
        last = torch.searchsorted(centre, starts + width * spacing + reach).tolist()
        for block, z in enumerate(points.split(width)):
            sums = table.new_zeros(size, len(z))
            for row in range(first[block], last[block], rows):
                near = slice(row, min(row + rows, last[block]))
                u = (z - centre[near, None]) * inverse[near]
                density = u.square_().neg_().exp_().mul_(inverse[near])
                for values in label[:, near]:
                    sums.index_add_(0, values, density)
            table[:, block * width : block * width + len(z)] += sums
    return table
