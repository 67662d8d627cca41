"""Scores of decoders whose seams, averages and spreads are known."""

import math

import pytest
import torch
from fixed import vae

from seams import data
from seams.data.generators import rotated
from seams.data.synthetic import circles
from seams.paper.two_latents import circle_scores, sheet_scores


def test_the_sheet_itself_scores_nothing() -> None:
    sheet = data.sheet()
    z = sheet.z[:40]
    found = sheet_scores(vae(sheet.generator, z), sheet.generator, z)
    assert max(found["traversal"], found["seams"]) < 1e-4, "degrees"
    assert max(found["unexplained"], found["c2"], found["curvature"]) < 1e-9
    assert found["c2_turned"] > 0.2


def test_turned_latents_keep_seams_and_lose_axes() -> None:
    sheet = data.sheet()
    z, c = sheet.z[:40], math.sqrt(0.5)
    R = torch.tensor([[c, c], [-c, c]])
    found = sheet_scores(vae(rotated(sheet.generator, R), z @ R), sheet.generator, z)
    assert found["seams"] < 1e-4 and found["curvature"] < 1e-9
    # An axis is the sum of both paths: its image leaves one seam by atan(s_j / s_i), and over two
    # axes these are a right angle.
    assert found["traversal"] == pytest.approx(45, abs=1e-4)
    assert found["unexplained"] > 0.2 and found["c2"] > 0.2


def test_narrow_posteriors_and_a_perfect_decoder() -> None:
    sample = circles()
    model = vae(lambda z: z, sample.x, scale=0.01)
    found, drawn = circle_scores(model, sample.x, sample.circle, sample.centres)
    assert found["error"] < 1e-12 and found["unlike"] == 0 and found["miss"] < 1e-12
    assert (found["within"], found["between"]) == pytest.approx((1, 1))
    torch.testing.assert_close(drawn["predicted"], sample.x)


def test_collapsed_posteriors_predict_the_centroid() -> None:
    sample = circles()
    model = vae(lambda z: 0 * z, torch.zeros_like(sample.x), scale=1.0)
    found, _ = circle_scores(model, sample.x, sample.circle, sample.centres)
    assert found["error"] < 1e-12 and found["unlike"] == pytest.approx(1)
    assert (found["within"], found["between"]) == pytest.approx((0, 0))


def test_errors_are_in_their_units() -> None:
    """Reconstructions that are the centres miss by one radius, and keep the circles apart."""
    sample = circles()
    centres = sample.centres[sample.circle]
    model = vae(lambda z: z, centres, scale=1e-3)
    found, drawn = circle_scores(model, sample.x, sample.circle, sample.centres)
    torch.testing.assert_close(drawn["predicted"], centres)  # posteriors of a circle coincide
    size = (2.3**2 + 10.5**2) ** 0.5
    assert found["unlike"] == pytest.approx(2.3 / size)
    assert (found["within"], found["between"]) == pytest.approx((0, 1), abs=1e-9)
    shifted = vae(lambda z: 1.1 * z, centres, scale=1e-3)
    found, _ = circle_scores(shifted, sample.x, sample.circle, sample.centres)
    assert found["miss"] == pytest.approx(1.05 / 2.3)
    assert found["error"] == pytest.approx(1.05 / size)
