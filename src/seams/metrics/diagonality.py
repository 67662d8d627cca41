r"""How diagonal $d \times d$ matrices are, of any unit, or the singular vectors behind them.

Undefined for inactive latents: `active` drops their rows and columns first (None keeps all).
"""

import torch
from torch import Tensor

from seams.matching import signed_distance
from seams.shapes import Bool, Float

__all__ = [
    "ACTIVE",
    "active_latents",
    "distance_to_orthogonality",
    "independent_mechanism_contrast",
    "latents_in_use",
    "off_diagonality",
    "off_diagonality_of_mean",
]

ACTIVE = 0.01  # variance of an active latent's posterior mean over the data; the prior has 1


def active_latents(
    means: Float[Tensor, "*runs n latent"], threshold: float = ACTIVE
) -> Bool[Tensor, "*runs latent"]:
    r"""Latents that respond to the data, $\mathrm{Var}_x[\mathrm E_q[z_j \mid x]] > 0.01$."""
    # Of posterior means of a representative sample; statistic and threshold of Burda et al. 2016.
    return means.var(dim=-2, correction=0) > threshold


def latents_in_use(
    kl: Float[Tensor, "*runs latent"], nats: float = 0.1
) -> Bool[Tensor, "*runs latent"]:
    r"""Latents that say something of a datum, $\mathrm E_x[\mathrm{KL}_j] > 0.1$ nats."""
    # `kl` is the mean KL of each marginal, as the array `kl` of an evaluation. Stricter
    # than `active_latents`: a mean whose variance is 0.01 costs about 0.005 nats, so a model with
    # few data keeps latents whose effect is nothing. The KL of a full posterior exceeds the sum
    # over its marginals, by what correlations between latents hold: a count of these is a lower
    # bound. Ours, for Figures 7 to 10, where the paper says "active".
    return kl > nats


def off_diagonality(
    matrices: Float[Tensor, "*batch latent latent"],
    active: Bool[Tensor, " latent"] | None = None,
) -> Float[Tensor, " *batch"]:
    r"""Mean absolute off-diagonal of $D^{-1/2} M D^{-1/2}$, $D = \mathrm{diag}\lvert M\rvert$.

    0 for a diagonal matrix, 1 for all-ones, and unchanged by a rescaling of the latents. For a
    Gram matrix it is the mean absolute cosine between the decoder's columns, at most 1; the
    directed Hessian is indefinite and may exceed 1. This is the *score of each matrix*: its mean
    over the batch and `off_diagonality_of_mean` are different numbers; report both.

    Returns:
        One score per matrix, no unit.

    Raises:
        ValueError: Fewer than 2 latents kept, an entry that is not finite, or a zero on the
            diagonal.

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
    r"""`off_diagonality` of the mean matrix, $\frac1n \sum_x M_x$ with signs (App. E, Fig. 5)."""
    # Entries whose sign varies with x cancel: a decoder that is diagonal only on average scores 0
    # here and not in the mean of `off_diagonality`.
    return off_diagonality(matrices.mean(-3), active)


def independent_mechanism_contrast(
    jacobian_gram: Float[Tensor, "*batch latent latent"],
    active: Bool[Tensor, " latent"] | None = None,
) -> Float[Tensor, " *batch"]:
    r"""C_IMA, $\frac12 \big(\log\det\mathrm{diag}(J^\top J) - \log\det J^\top J\big)$, in nats."""
    # 0 if and only if the columns of J are orthogonal; unchanged by a rescaling of the latents.
    # The local contrast of Gresele et al. 2021, Sec. 4.
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

    0 if and only if C1 holds. By linear assignment, exact. Where singular values coincide $V$ is
    arbitrary within their subspace, and so is this distance.

    Returns:
        One distance per matrix, no unit; at most $\sqrt{2d}$. Rolinek et al. report its mean.

    Raises:
        ValueError: An entry that is not finite.

    Source: Rolinek et al. 2019 (distance to orthogonality).
    """
    if unfit := int((~V.isfinite()).sum()):
        raise ValueError(f"`V` must be finite; got {unfit} entries that are not.")
    return signed_distance(V, torch.eye(V.shape[-1], dtype=V.dtype, device=V.device))


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
    if unfit := int((~matrices.isfinite()).sum()):
        return f"`{caller}` needs finite entries; got {unfit} that are not. Did the run diverge?"
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


def _name_sample(index: Tensor | list[Tensor]) -> str:
    # Index of a sample as a reader writes it: 3, or 1, 3 with a run axis, or 0 without a batch.
    return ", ".join(str(int(i)) for i in index) or "0"
