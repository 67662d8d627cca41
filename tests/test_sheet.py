"""The curved sheet of Figures 1, 3 and 4 is what its docstring says."""

import torch

from seams import data
from seams.derivatives import jacobian_svd
from seams.geometry import c1_violation, c2_violation


def test_points_lie_on_the_sheet_but_for_the_noise() -> None:
    sheet = data.sheet()
    assert sheet.x.shape == (16_384, 3) and sheet.z.shape == (16_384, 2)
    noise = sheet.x - torch.vmap(sheet.generator)(sheet.z)
    # Standard errors of mean and standard deviation over 3 x 16,384 draws: 0.0005 and 0.0003.
    assert noise.mean().abs() < 0.002
    assert abs(noise.std() - sheet.sigma) < 0.0013
    torch.testing.assert_close(sheet.z.T.cov(), torch.eye(2), atol=0.05, rtol=0)


def test_singular_values_are_those_of_the_docstring_and_hardly_ever_cross() -> None:
    sheet = data.sheet()
    _, s, V = jacobian_svd(sheet.generator, sheet.z)
    along, across = sheet.z.T
    expected = torch.stack([(0.2 * along).exp(), 0.45 * (1 + 0.2 * across.tanh())], 1)
    torch.testing.assert_close(s, expected.sort(descending=True).values)
    first = expected[:, 0] > expected[:, 1]
    assert (~first).sum() == 4
    torch.testing.assert_close(V[first], torch.eye(2).expand_as(V[first]))


def test_both_constraints_hold() -> None:
    sheet = data.sheet()
    assert c1_violation(sheet.generator, sheet.z[:100]).max() < 1e-12
    assert c2_violation(sheet.generator, sheet.z[:100]).max() < 1e-12


def test_the_sheet_bends_by_100_degrees() -> None:
    ends = torch.tensor([[-2.3, 0.0], [2.3, 0.0]])
    U, _, _ = jacobian_svd(data.sheet().generator, ends)
    angle = torch.rad2deg(torch.acos(U[0, :, 0] @ U[1, :, 0]))
    assert 99 < angle < 101


def test_it_trains_as_float32_under_its_name() -> None:
    loaded = data.load("sheet", 1)
    assert loaded.x.dtype == torch.float32
    torch.testing.assert_close(loaded.x.double(), data.sheet().x, atol=1e-6, rtol=1e-6)
