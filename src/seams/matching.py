"""Which column belongs to which row: assignment up to order, and up to order and sign."""

import torch
from torch import Tensor

__all__ = ["best_columns", "matched_scores", "signed_distance"]


def best_columns(scores: Tensor) -> Tensor:
    """The column `[*batch, row]` of each row for the largest sum of scores; -1 without one."""
    from scipy.optimize import linear_sum_assignment

    flat = scores.detach().reshape(-1, *scores.shape[-2:])
    found = torch.full(flat.shape[:2], -1)
    for one, matrix in zip(found, flat.cpu().double().numpy(), strict=True):
        rows, columns = map(torch.from_numpy, linear_sum_assignment(matrix, maximize=True))
        one[rows] = columns
    return found.reshape(scores.shape[:-1]).to(scores.device)


def matched_scores(scores: Tensor) -> Tensor:
    """The score of each row with the column that `best_columns` gives it, 0 without one."""
    columns = best_columns(scores)
    matched = torch.take_along_dim(scores, columns.clamp(min=0).unsqueeze(-1), -1).squeeze(-1)
    return torch.where(columns < 0, 0, matched)


def signed_distance(axes: Tensor, reference: Tensor) -> Tensor:
    r"""$\min_Q \lVert A Q - B \rVert_F$ over signed permutations, for orthonormal columns."""
    overlap = (reference.mT @ axes).detach()
    columns = best_columns(overlap.abs())
    nearest = torch.take_along_dim(overlap, columns.unsqueeze(-1), -1).mT
    ordered = torch.take_along_dim(axes, columns.unsqueeze(-2), -1)
    # Not sqrt(2a - 2 sum |cos|), which loses half of the digits near zero.
    return torch.linalg.matrix_norm(ordered * torch.where(nearest < 0, -1, 1) - reference)
