r"""Disentanglement metrics of any latents, and diagonality of any matrices (Appendix E).

Everything here takes tensors and knows no model. Three families:

* information about known factors, $I(z_j; v_k)$ in nats, from a histogram or from the posterior
  densities, and the scores built on it (MIG, AAS);
* diagonality of a batch of $d \times d$ matrices, or of the singular vectors behind them;
* recovery of known latents up to permutation and sign, and up to any linear map.

Rows of an information matrix are latents, columns are factors, always.
"""

import itertools
import math
from collections.abc import Collection, Mapping
from typing import Literal

import torch
from torch import Tensor

from seams.shapes import Bool, Float, Int

__all__ = [
    "active_latents",
    "axis_alignment_score",
    "bootstrap_interval",
    "correlation_matrix",
    "density_mutual_information",
    "distance_to_orthogonality",
    "entropies",
    "greedy_columns",
    "greedy_order",
    "independent_mechanism_contrast",
    "linear_probe_r2",
    "mean_correlation",
    "mutual_information",
    "mutual_information_gap",
    "mutual_information_gaps",
    "off_diagonality",
    "off_diagonality_of_mean",
]

# All but 2e-9 of a Gaussian lies within 6 standard deviations: far below the step's error.
_REACH = 6.0
# Grid step over the smallest scale. The trapezoidal rule converges geometrically in its inverse;
# at one half the worst two-component mixture found is wrong by 2e-6 nats (at one, by 4e-4).
_STEP = 0.5
# Beyond this the smallest scale, 1.5e-5 of the range, is more likely an error than a result.
_MAX_GRID = 2**17
# More blocks of grid points than this cost more in calls than they save in densities.
_BLOCKS = 64
# Densities evaluated at once: 2 MiB in float64, which stays in a core's cache.
_CHUNK = 2**18


def mutual_information(
    latents: Float[Tensor, "*runs n latent"],
    factors: Int[Tensor, "n factor"],
    bins: int = 20,
) -> Float[Tensor, "*runs latent factor"]:
    r"""Information of each latent about each factor, histogram form, $I(z_j; v_k)$.

    Entry $(j, k)$ is $\sum_{b, v} p(b, v) \log \frac{p(b, v)}{p(b)\,p(v)}$ over the bins of latent
    $j$ and the values of factor $k$. The bins of a latent have equal width and span its own range;
    each includes its lower edge, the last one both. A constant latent has exactly 0.

    Independent variables come out at about $(\text{bins} - 1)(K - 1) / 2n$ above 0 for a factor of
    $K$ values: 0.037 for 20 bins, 40 values and 10,000 samples. And since the bins follow the
    range, a latent that is constant but for rounding looks as informative as an active one: pass
    sampled latents rather than posterior means, or keep the `active_latents` only.

    Args:
        latents: One latent vector per sample, posterior means or draws; leading axes are runs,
            which share the samples.
        factors: Ground-truth factors as integers; only equality of two values matters.
        bins: Number of bins per latent, 2 or more.

    Returns:
        Nats, not negative; rows are latents.

    Raises:
        ValueError: Fewer than 2 bins, or a latent that is not finite.

    Source: the estimator of MIG in Locatello et al. 2019; App. E's "mutual information values".
    """
    if bins < 2:
        raise ValueError(f"`bins` must be 2 or more; got {bins}. One bin knows nothing.")
    if not latents.isfinite().all():
        raise ValueError(
            f"`latents` must be finite; got {_count_nonfinite(latents)} values that are not. Did "
            "the run diverge?"
        )
    # One row per latent of every run: runs share the samples, so a run is only more latents.
    rows = latents.detach().double().movedim(-2, -1).flatten(0, -2).contiguous()
    low, high = rows.aminmax(dim=-1, keepdim=True)
    width = torch.where(high > low, high - low, 1.0)
    codes = ((rows - low) / width * bins).long().clamp_(max=bins - 1)
    codes += bins * torch.arange(len(rows), device=rows.device)[:, None]
    columns = []
    for labels, size in _labels(factors):
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
    Gaussian mixtures, integrated by the trapezoidal rule. No draws, no bins: two calls agree to
    rounding.

    The grid of a latent spans its means and 6 standard deviations around them, in steps of half
    its smallest standard deviation; the error is then below 1e-5 nats. A component is evaluated
    only where it matters, so time grows as $n$ times the ratio of a typical scale to the smallest.
    Memory grows as the number of grid points, not times $n$.

    The samples are the whole population: $q(z_j \mid v_k)$ of few, narrow components overstates
    what new samples would tell, as in every form of this estimator.

    Args:
        means: Posterior means; leading axes are runs, which share the samples.
        scales: Marginal posterior standard deviations, in the unit of `means`. For a full
            posterior with Cholesky factor $L$ that is $\sqrt{(L L^\top)_{jj}}$, not $L_{jj}$.
        factors: Ground-truth factors as integers; only equality of two values matters.
        grid: Number of grid points for every latent; None chooses it per latent. Too coarse a grid
            is refused.

    Returns:
        Nats, not negative; rows are latents.

    Raises:
        ValueError: A mean is not finite, a scale not finite and positive, or the grid does not
            resolve the narrowest posterior.

    Source: Chen et al. 2018, Sec. 4, where the integrals are Monte Carlo.
    """
    if not means.isfinite().all():
        raise ValueError(
            f"`means` must be finite; got {_count_nonfinite(means)} values that are not. Did the "
            "run diverge?"
        )
    if not (scales.isfinite() & (scales > 0)).all():
        raise ValueError(
            f"`scales` must be finite and positive; got {scales.min().item():g} as the smallest. "
            "Pass standard deviations, not their logarithms."
        )
    labelled = _labels(factors)
    sizes = [size for _, size in labelled]
    # All factors share one table, so their values are numbered through.
    offsets = itertools.accumulate(sizes, initial=0)
    labels = torch.stack(
        [offset + column for offset, (column, _) in zip(offsets, labelled, strict=False)]
    )
    rows = means.detach().double().movedim(-2, -1).flatten(0, -2)
    row_scales = scales.detach().double().movedim(-2, -1).flatten(0, -2)
    information = []
    for index, (mean, scale) in enumerate(zip(rows, row_scales, strict=True)):
        low, high, needed = _grid_size(mean, scale)
        if needed > (grid or _MAX_GRID):
            raise ValueError(
                f"The grid must resolve the narrowest posterior; latent {index % means.shape[-1]} "
                f"needs {needed} points (scale {scale.min().item():g} over a range of "
                f"{high - low:g}), got at most {grid or _MAX_GRID}. Pass a larger `grid`, or "
                "none; check that `scales` are standard deviations."
            )
        points = torch.linspace(low, high, grid or needed, dtype=mean.dtype, device=mean.device)
        table = _mixture_table(mean, scale, labels, sum(sizes), points)
        information.append(
            torch.stack([_table_information(part.mT) for part in table.split(sizes)])
        )
    shape = (*means.shape[:-2], means.shape[-1])
    return torch.stack(information).unflatten(0, shape).to(means.dtype)


def entropies(factors: Int[Tensor, "n factor"]) -> Float[Tensor, " factor"]:
    r"""Entropy of each factor over the samples, $H(v_k) = -\sum_v p(v) \log p(v)$.

    Args:
        factors: Ground-truth factors as integers; only equality of two values matters.

    Returns:
        Nats; exactly 0 for a factor that does not vary.

    Source: the normaliser of MIG, Chen et al. 2018, Sec. 4.
    """
    values = []
    for labels, size in _labels(factors):
        p = torch.bincount(labels, minlength=size).double() / len(labels)
        values.append(torch.special.entr(p).sum())
    return torch.stack(values).to(torch.get_default_dtype())


def mutual_information_gaps(
    information: Float[Tensor, "*runs latent factor"],
    entropies: Float[Tensor, " factor"],
) -> Float[Tensor, "*runs factor"]:
    r"""Gap of each factor, $\big(I(z_{(1)}; v_k) - I(z_{(2)}; v_k)\big) / H(v_k)$.

    $z_{(1)}$ and $z_{(2)}$ are the two latents that know most about factor $k$.

    Args:
        information: Nats; rows are latents, 2 or more. Leading axes are runs.
        entropies: Nats; one per factor, as from `entropies`.

    Returns:
        One gap per factor, between 0 and 1, no unit.

    Raises:
        ValueError: Fewer than 2 latents, information that is negative or not finite, or a factor
            whose entropy is not positive.

    Source: Chen et al. 2018, Sec. 4, before the mean over factors.
    """
    if problem := _information_problem(information):
        raise ValueError(problem)
    if information.shape[-2] < 2:
        raise ValueError(
            f"The gap needs 2 or more latents; got {information.shape[-2]}. With one latent no "
            "second one can compete."
        )
    for factor, entropy in enumerate(entropies.tolist()):
        if not entropy > 0:
            raise ValueError(
                f"Every factor must vary; factor {factor} has entropy {entropy:g}. Drop its "
                "column (on dSprites: color) before calling."
            )
    first, second = information.topk(2, dim=-2).values.unbind(-2)
    return (first - second) / entropies


def mutual_information_gap(
    information: Float[Tensor, "latent factor"],
    entropies: Float[Tensor, " factor"],
) -> float:
    r"""MIG, $\frac1K \sum_k \big(I(z_{(1)}; v_k) - I(z_{(2)}; v_k)\big) / H(v_k)$.

    The mean of `mutual_information_gaps`, which also states the errors raised. A low value does
    not mean that information is absent: rotate two latents and the gap closes; see
    `linear_probe_r2`.

    Args:
        information: Nats; rows are latents, 2 or more.
        entropies: Nats; one per factor, as from `entropies`.

    Returns:
        Between 0 and 1, no unit.

    Source: Chen et al. 2018, Sec. 4; plotted in Fig. 5.
    """
    return mutual_information_gaps(information, entropies).mean().item()


def axis_alignment_score(information: Float[Tensor, "latent factor"]) -> float:
    r"""AAS, sum of row and column maxima over twice the total of the information matrix.

    1 for a permuted diagonal. The floor is $\frac12 (1/d + 1/k)$ for $d$ latents and $k$ factors,
    reached by a constant matrix: 0.15 for 10 by 5, so values are comparable only at equal shapes.
    A matrix without any information scores this floor too: it is constant, and nothing is aligned.

    Args:
        information: Nats (any unit gives the same score); rows are latents.

    Returns:
        Between the floor and 1, no unit.

    Raises:
        ValueError: Information that is negative or not finite.

    Source: App. E, first listing.
    """
    if problem := _information_problem(information):
        raise ValueError(problem)
    total = information.sum().item()
    if total == 0:
        latent, factor = information.shape
        return 0.5 * (1 / latent + 1 / factor)
    peaks = information.amax(0).sum() + information.amax(1).sum()
    return 0.5 * peaks.item() / total


def greedy_order(
    information: Float[Tensor, "latent factor"],
) -> tuple[Int[Tensor, " latent"], Int[Tensor, " factor"]]:
    """Order of latents and of factors that puts the largest entries on the diagonal, greedily.

    The largest entry of all comes first; then the largest outside its row and column, and so on.
    What is left when latents or factors run out follows by its own largest entry. Show a heatmap
    as `information[latents][:, factors]`.

    Args:
        information: Any unit; rows are latents.

    Returns:
        Two permutations: of the rows and of the columns.

    Source: Sec. 7, on the heatmaps of Fig. 5 ("ordered greedily").
    """
    latent, factor = information.shape
    left = information.detach().clone()
    latents: list[int] = []
    factors: list[int] = []
    for _ in range(min(latent, factor)):
        row, column = divmod(int(left.argmax()), factor)
        latents.append(row)
        factors.append(column)
        left[row] = -torch.inf
        left[:, column] = -torch.inf
    for order, peaks in ((latents, information.amax(1)), (factors, information.amax(0))):
        by_peak = peaks.argsort(descending=True, stable=True).tolist()
        order.extend(index for index in by_peak if index not in order)
    device = information.device
    return torch.tensor(latents, device=device), torch.tensor(factors, device=device)


def greedy_columns(information: Float[Tensor, "latent factor"]) -> Int[Tensor, " latent"]:
    """Order of latents that puts the greedy match of factor k at place k.

    As `greedy_order`, with the factors left where they are: maps of several runs can then be
    averaged. Latents without a factor follow, by their largest entry.

    Args:
        information: Any unit; rows are latents.

    Returns:
        A permutation of the rows.
    """
    latents, factors = greedy_order(information)
    matched = min(information.shape)
    return torch.cat([latents[:matched][factors[:matched].argsort()], latents[matched:]])


def active_latents(
    means: Float[Tensor, "*runs n latent"], threshold: float = 0.01
) -> Bool[Tensor, "*runs latent"]:
    r"""Latents that respond to the data, $\mathrm{Var}_x\big[\mathrm E_q[z_j \mid x]\big] > 0.01$.

    Args:
        means: Posterior means of a representative sample; leading axes are runs.
        threshold: In the squared unit of `means`; the prior's variance is 1.

    Returns:
        True for an active latent.

    Source: Burda et al. 2016, the activity statistic and its threshold.
    """
    return means.var(dim=-2, correction=0) > threshold


def off_diagonality(
    matrices: Float[Tensor, "*batch latent latent"],
    active: Bool[Tensor, " latent"] | None = None,
) -> Float[Tensor, " *batch"]:
    r"""Mean absolute off-diagonal of $D^{-1/2} M D^{-1/2}$, $D = \mathrm{diag}\lvert M\rvert$.

    0 for a diagonal matrix, 1 for all-ones, and unchanged by a rescaling of the latents. For a
    Gram matrix it is the mean absolute cosine between the decoder's columns, at most 1; the
    directed Hessian is indefinite and may exceed 1. This is the *score of each matrix*: its mean
    over the batch and `off_diagonality_of_mean` are different numbers; report both.

    Args:
        matrices: $M$, any unit; 2 or more latents.
        active: Latents to keep; the others' rows and columns are dropped first. None keeps all.

    Returns:
        One score per matrix, no unit.

    Raises:
        ValueError: Fewer than 2 latents kept, an entry that is not finite, or a zero on the
            diagonal: the score of an inactive latent is undefined.

    Source: App. E, second listing, whose undefined `m` is read as `d`.
    """
    matrices, kept = _select(matrices, active)
    if problem := _diagonal_problem(matrices, kept, "off_diagonality"):
        raise ValueError(problem)
    scaled = _unit_diagonal(matrices).abs()
    size = scaled.shape[-1]
    diagonal = torch.diagonal(scaled, dim1=-2, dim2=-1)
    # Removing the diagonal before the sum keeps the score of a diagonal matrix exactly 0.
    rest = scaled - torch.diag_embed(diagonal)
    return rest.sum((-2, -1)) / (size * (size - 1))


def off_diagonality_of_mean(
    matrices: Float[Tensor, "*runs batch latent latent"],
    active: Bool[Tensor, " latent"] | None = None,
) -> Float[Tensor, " *runs"]:
    r"""`off_diagonality` of the mean matrix, $\frac1n \sum_x M_x$ with signs.

    Off-diagonal entries whose sign varies with $x$ cancel: a decoder that is diagonal only on
    average scores 0 here and not in the mean of `off_diagonality`.

    Args:
        matrices: $M_x$, any unit; averaged over the last batch axis.
        active: Latents to keep. None keeps all.

    Returns:
        One score per run, no unit. `off_diagonality` states the errors raised.

    Source: App. E, and the batch means shown in Fig. 5 (right).
    """
    return off_diagonality(matrices.mean(-3), active)


def independent_mechanism_contrast(
    jacobian_gram: Float[Tensor, "*batch latent latent"],
    active: Bool[Tensor, " latent"] | None = None,
) -> Float[Tensor, " *batch"]:
    r"""C_IMA, $\frac12 \big(\log\det\mathrm{diag}(J^\top J) - \log\det J^\top J\big)$.

    0 if and only if the columns of $J$ are orthogonal; unchanged by a rescaling of the latents.

    Args:
        jacobian_gram: $J^\top J$, any unit; 2 or more latents, positive definite.
        active: Latents to keep. None keeps all.

    Returns:
        Nats, not negative; one per sample.

    Raises:
        ValueError: Fewer than 2 latents kept, an entry that is not finite, a zero on the diagonal,
            or a matrix that is not positive definite.

    Source: Gresele et al. 2021, Sec. 4 (the local contrast).
    """
    jacobian_gram, kept = _select(jacobian_gram, active)
    if problem := _diagonal_problem(jacobian_gram, kept, "independent_mechanism_contrast"):
        raise ValueError(problem)
    scaled = _unit_diagonal(jacobian_gram)
    root, failed = torch.linalg.cholesky_ex(scaled)
    if failed.any():
        sample = _name_sample(failed.nonzero()[0])
        raise ValueError(
            f"`jacobian_gram` must be positive definite; sample {sample} is not. Its columns are "
            "dependent: select active latents, or compute it in float64."
        )
    return -torch.diagonal(root, dim1=-2, dim2=-1).log().sum(-1)


def distance_to_orthogonality(
    V: Float[Tensor, "*batch latent latent"],
) -> Float[Tensor, " *batch"]:
    r"""DtO, $\min_P \lVert V - P \rVert_F$ over signed permutations $P$.

    0 if and only if C1 holds. The minimum is a linear assignment on $-\lvert V\rvert$, exact.
    Where singular values coincide $V$ is arbitrary within their subspace, and so is this distance.

    Args:
        V: Right singular vectors of the decoder's Jacobian, as columns.

    Returns:
        One distance per matrix, no unit; at most $\sqrt{2d}$. Rolinek et al. report its mean.

    Raises:
        ValueError: An entry that is not finite.

    Source: Rolinek et al. 2019 (distance to orthogonality).
    """
    from scipy.optimize import linear_sum_assignment

    if not V.isfinite().all():
        raise ValueError(f"`V` must be finite; got {_count_nonfinite(V)} entries that are not.")
    flat = V.reshape(-1, *V.shape[-2:])
    nearest = torch.zeros_like(flat)
    for sample, magnitude in enumerate(flat.detach().abs().cpu().numpy()):
        rows, columns = map(torch.from_numpy, linear_sum_assignment(magnitude, maximize=True))
        signs = torch.where(flat[sample, rows, columns] < 0, -1.0, 1.0)
        nearest[sample, rows, columns] = signs.to(V.dtype)
    return torch.linalg.matrix_norm(flat - nearest).reshape(V.shape[:-2])


def correlation_matrix(
    latents: Float[Tensor, "n latent"],
    truth: Float[Tensor, "n true"],
    method: Literal["pearson", "spearman"] = "pearson",
) -> Float[Tensor, "latent true"]:
    r"""Correlation of each latent with each true latent, $\rho(z_j, t_k)$, with sign.

    A constant latent correlates with nothing: its row is 0.

    Args:
        latents: Learned latents, usually posterior means.
        truth: The latents that generated the same samples.
        method: Pearson sees linear relations; Spearman, on ranks, any monotonic one.

    Returns:
        Between -1 and 1; rows are learned latents.

    Raises:
        ValueError: A value that is not finite, or a true latent that does not vary.

    Source: Hyvarinen and Morioka 2016 (before the assignment of `mean_correlation`).
    """
    for name, values in (("latents", latents), ("truth", truth)):
        if not values.isfinite().all():
            raise ValueError(
                f"`{name}` must be finite; got {_count_nonfinite(values)} values that are not."
            )
    constant = (truth == truth[:1]).all(0)
    if constant.any():
        raise ValueError(
            f"`truth` must vary in every column; column {int(constant.nonzero()[0])} does not. "
            "Drop it."
        )
    columns = []
    for values in (latents, truth):
        varies = (values != values[:1]).any(0)
        if method == "spearman":
            values = _ranks(values)
        # Where nothing varies, the mean's rounding error must not become a direction.
        centred = (values - values.mean(0)) * varies
        columns.append(centred / torch.linalg.vector_norm(centred, dim=0).where(varies, 1.0))
    return columns[0].T @ columns[1]


def mean_correlation(
    latents: Float[Tensor, "n latent"],
    truth: Float[Tensor, "n true"],
    method: Literal["pearson", "spearman"] = "pearson",
) -> float:
    r"""MCC, $\max_\pi \frac1k \sum_k \lvert\rho(z_{\pi(k)}, t_k)\rvert$ over assignments $\pi$.

    Each latent is given to at most one true latent. With fewer latents than true ones, those that
    go without count as 0. The mean is over the $k$ true latents; spare latents cost nothing.

    Args:
        latents: Learned latents, usually posterior means.
        truth: The latents that generated the same samples.
        method: As in `correlation_matrix`, which also states the errors raised.

    Returns:
        Between 0 and 1; 1 if the latents are recovered up to permutation, sign and, for Pearson,
        scale and shift or, for Spearman, a monotonic map each.

    Source: Hyvarinen and Morioka 2016.
    """
    from scipy.optimize import linear_sum_assignment

    magnitude = correlation_matrix(latents, truth, method).detach().abs().cpu().numpy()
    rows, columns = linear_sum_assignment(magnitude, maximize=True)
    return float(magnitude[rows, columns].sum() / truth.shape[1])


def linear_probe_r2(
    latents: Float[Tensor, "n latent"],
    factors: Int[Tensor, "n factor"] | Float[Tensor, "n factor"],
    one_hot: Collection[int] = (),
    periods: Mapping[int, float | int] | None = None,
    train: Bool[Tensor, " n"] | None = None,
) -> Float[Tensor, " factor"]:
    r"""Held-out $R^2$ of each factor, predicted linearly from all latents.

    Least squares with intercept, so any invertible linear map of the latents, a rotation among
    them, leaves it unchanged: it says whether the information is there, where MIG says whether it
    is aligned. $R^2 = 1 - \mathrm{SSE} / \mathrm{SST}$ about the mean of the held-out half, summed
    over the columns that encode the factor; negative if the probe is worse than that mean.

    A factor is one column, its value, unless stated. A category without order (shape) has one
    indicator column per value. A circular one (orientation, of which index 0 and 39 are the same
    image: period 39) has cosine and sine. Symmetries of single shapes are not undone: they lower
    every score.

    Args:
        latents: One latent vector per sample.
        factors: Ground-truth factors of the same samples.
        one_hot: Columns of `factors` that are categories.
        periods: Period of each circular column, in the unit of that column.
        train: True for the samples to fit on, the others being scored; None takes a random half,
            the same one at each call.

    Returns:
        One value per factor, 1 at most.

    Raises:
        ValueError: A value that is not finite, a column both category and circular or out of
            range, a period that is not positive, an empty side of the split, or a factor that does
            not vary in the held-out half.

    Source: the rotation-invariant companion to App. E's metrics; not in the paper.
    """
    periods = periods or {}
    n, factor = factors.shape
    for name, values in (("latents", latents), ("factors", factors)):
        if not values.isfinite().all():
            raise ValueError(
                f"`{name}` must be finite; got {_count_nonfinite(values)} values that are not."
            )
    for column in (*one_hot, *periods):
        if column not in range(factor) or (column in one_hot and column in periods):
            raise ValueError(
                f"`one_hot` and `periods` must name different columns from 0 to {factor - 1}; got "
                f"{sorted(one_hot)} and {sorted(periods)}."
            )
    for column, period in periods.items():
        if not period > 0:
            raise ValueError(f"A period must be positive; got {period} for column {column}.")
    if train is None:
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        train = (order < n // 2).to(latents.device)
    if train.all() or not train.any():
        raise ValueError(
            f"`train` must leave samples on both sides; got {int(train.sum())} of {n} to fit on."
        )
    targets = []
    for column in range(factor):
        values = factors[:, column]
        if column in one_hot:
            targets.append(
                torch.nn.functional.one_hot(values.unique(return_inverse=True)[1]).double()
            )
        elif column in periods:
            angle = 2 * torch.pi * values.double() / periods[column]
            targets.append(torch.stack([angle.cos(), angle.sin()], 1))
        else:
            targets.append(values.double()[:, None])
    target = torch.cat(targets, 1)
    inputs = latents.detach().double()
    inputs, target = inputs - inputs[train].mean(0), target - target[train].mean(0)
    # The pseudo-inverse, since a collapsed latent is a column of zeros.
    residual = target - inputs @ (torch.linalg.pinv(inputs[train]) @ target[train])
    sizes = [part.shape[1] for part in targets]
    held_out = target[~train]
    error = residual[~train].square().sum(0).split(sizes)
    total = (held_out - held_out.mean(0)).square().sum(0).split(sizes)
    scores = []
    for column in range(factor):
        if (factors[~train, column] == factors[~train, column][0]).all():
            raise ValueError(
                f"Every factor must vary among the held-out samples; factor {column} does not. "
                "Drop its column, or pass another `train`."
            )
        scores.append(1 - error[column].sum() / total[column].sum())
    return torch.stack(scores).to(latents.dtype)


def bootstrap_interval(
    values: Float[Tensor, " runs *shape"],
    level: float = 0.95,
    draws: int = 10_000,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    r"""Percentile bootstrap interval of the mean over runs.

    Runs are drawn with replacement, whole: entries of one run stay together. With few runs it is
    too narrow (at $n = 5$ by about the factor $\sqrt{4/5}$ of the standard error, and it never
    leaves the range of the values): show the runs themselves beside it.

    Args:
        values: One entry per run along the first axis.
        level: Share of the bootstrap distribution inside the interval, between 0 and 1.
        draws: Number of resamples.
        generator: Source of randomness, on the CPU; None starts one from seed 0, so that figures
            repeat.

    Returns:
        Lower and upper end, in the unit of `values`.

    Raises:
        ValueError: Fewer than 2 runs, or a level that is not between 0 and 1.

    Source: Efron 1979; the bands of Fig. 5 and 8 (the paper shows standard deviations).
    """
    runs = len(values)
    if runs < 2:
        raise ValueError(f"An interval needs 2 or more runs; got {runs}. Train more seeds.")
    if not 0 < level < 1:
        raise ValueError(f"`level` must be between 0 and 1; got {level}. 95 percent is 0.95.")
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    picks = torch.randint(runs, (draws, runs), generator=generator).to(values.device)
    share = torch.full(picks.shape, 1 / runs, dtype=values.dtype, device=values.device)
    weights = torch.zeros_like(share).scatter_add_(1, picks, share)
    means = (weights @ values.reshape(runs, -1)).sort(dim=0).values
    tail = (1 - level) / 2
    ends = (round(tail * (draws - 1)), round((1 - tail) * (draws - 1)))
    low, high = (means[end].reshape(values.shape[1:]) for end in ends)
    return low, high


def _labels(factors: Tensor) -> list[tuple[Tensor, int]]:
    # Each factor as consecutive labels, with the number of values it takes.
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


def _grid_size(mean: Tensor, scale: Tensor) -> tuple[float, float, int]:
    # Ends of the mixture's support and the points needed to resolve its narrowest component.
    low = (mean - _REACH * scale).min().item()
    high = (mean + _REACH * scale).max().item()
    return low, high, math.ceil((high - low) / (_STEP * scale.min().item())) + 1


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
        reach = _REACH * scale[chosen].max()
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


def _select(matrices: Tensor, active: Tensor | None) -> tuple[Tensor, Tensor]:
    # The rows and columns of active latents, and which latents these are.
    kept = torch.arange(matrices.shape[-1], device=matrices.device)
    if active is None:
        return matrices, kept
    kept = kept[active]
    return matrices[..., kept[:, None], kept], kept


def _diagonal_problem(matrices: Tensor, kept: Tensor, caller: str) -> str | None:
    # What keeps matrices from being scaled to a unit diagonal.
    if len(kept) < 2:
        return f"`{caller}` needs 2 or more latents; got {len(kept)}. One has no off-diagonal."
    if not matrices.isfinite().all():
        count = _count_nonfinite(matrices)
        return f"`{caller}` needs finite entries; got {count} that are not. Did the run diverge?"
    zero = (torch.diagonal(matrices, dim1=-2, dim2=-1) == 0).nonzero()
    if len(zero) == 0:
        return None
    *sample, position = zero[0]
    return (
        f"`{caller}` needs a nonzero diagonal; latent {int(kept[position])} of sample "
        f"{_name_sample(sample)} has 0.0. It is inactive: select active latents before calling."
    )


def _unit_diagonal(matrices: Tensor) -> Tensor:
    # Matrices scaled to a diagonal of absolute value 1, signs kept.
    root = torch.diagonal(matrices, dim1=-2, dim2=-1).abs().rsqrt()
    return matrices * root[..., :, None] * root[..., None, :]


def _name_sample(index: "Tensor | list[Tensor]") -> str:
    # Index of a sample as a reader writes it: 3, or 1, 3 with a run axis, or 0 without a batch.
    return ", ".join(str(int(i)) for i in index) or "0"


def _ranks(values: Tensor) -> Tensor:
    # Rank of each value within its column; ties share their mean rank.
    from scipy.stats import rankdata

    return torch.from_numpy(rankdata(values.detach().cpu().numpy(), axis=0)).to(values)


def _information_problem(information: Tensor) -> str | None:
    # What is wrong with a matrix that cannot be mutual information.
    if (information >= 0).all() and information.isfinite().all():
        return None
    return (
        "`information` must be finite and not negative; got entries from "
        f"{information.min().item():g} to {information.max().item():g}. Mutual information is "
        "never below 0."
    )


def _count_nonfinite(values: Tensor) -> int:
    # Number of entries that are infinite or NaN.
    return int((~values.isfinite()).sum())
