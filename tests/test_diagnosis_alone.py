"""A decoder without an encoder, diagnosed: closed forms, null axes, and what it refuses."""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

from seams.diagnosis import MOVES, DecoderDiagnosis, alone, diagnose, diagnose_decoder
from seams.distributions import DiagonalGaussian

IMAGE = torch.ones(1, 1, 4, 4, dtype=torch.float64)


def latents(n: int = 400, latent: int = 3) -> torch.Tensor:
    return torch.randn(n, latent, generator=torch.Generator().manual_seed(1))


def turned(degrees: float) -> torch.Tensor:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[c, -s], [s, c]])


def separable(z: torch.Tensor) -> torch.Tensor:
    """Orthogonal curves of distinct speeds, each of its latent alone: C1 and C2 hold."""
    a, b = z[..., 0], z[..., 1]
    return torch.stack([3 * a.sin(), 3 * a.cos(), b.sinh(), 0 * b], -1)


def polar(z: torch.Tensor) -> torch.Tensor:
    """C1 holds, and C2 does not: the second speed is the first latent's."""
    radius, angle = 6 + z[..., 0], z[..., 1] / 2
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1)


def test_separable_curves_satisfy_c1_and_c2_and_are_flat() -> None:
    found = diagnose_decoder(separable, latents())
    assert found.active.tolist() == [True, True, False] and found.movement[2] == 0
    assert found.movement.max() == 1
    assert found.gram_off_diagonal is not None and found.gram_off_diagonal.value < 1e-12
    assert found.c2 is not None and found.c2.value < 1e-6
    assert found.axis_angle is not None and found.axis_angle.value < 1e-4
    assert found.flatness is not None and found.flatness.value < 1e-8
    assert found.random["gram_off_diagonal"] > 0.2 < found.random["c2"]
    assert "2 latents of 3 move the output (0, 1)." in found.verdict
    assert "the axes mean something" in found.verdict


def test_polar_coordinates_satisfy_c1_and_not_c2() -> None:
    found = diagnose_decoder(polar, latents(latent=2))
    assert found.gram_off_diagonal is not None and found.gram_off_diagonal.value < 1e-12
    assert found.c2 is not None and found.c2.value > 0.99
    assert "C2: 100% of the change of the singular values is along other" in found.verdict


def test_axes_at_45_degrees_are_told() -> None:
    mixed = lambda z: separable(z @ turned(45.0).to(z).mT)
    found = diagnose_decoder(mixed, latents(latent=2))
    (pair,) = found.pairs
    assert pair.distinct and pair.angle == pytest.approx(45, abs=3) and math.isnan(pair.turn_cost)
    assert "could be told apart but are not on their axes: 0 and 1" in found.verdict
    assert found.gram_off_diagonal is not None and found.gram_off_diagonal_turned is not None
    assert found.gram_off_diagonal.value > found.gram_off_diagonal_turned


def test_it_says_what_diagnose_says_of_the_same_latents() -> None:
    """Of a posterior so narrow that its draws are its means, with all latents active."""
    decoder = nn.Sequential(nn.Linear(3, 20), nn.SiLU(), nn.Linear(20, 12)).double()
    z = latents(300)
    z = (z - z.mean(0)) / z.std(0)  # the unit in which a decoder alone is diagnosed
    x = decoder(z).detach()
    known = {tuple(row.tolist()): code for row, code in zip(x, z, strict=True)}

    def encoder(x: torch.Tensor) -> DiagonalGaussian:
        means = torch.stack([known[tuple(row.tolist())] for row in x.double()])
        return DiagonalGaussian(means, torch.full_like(means, 1e-9))

    both = diagnose(encoder, decoder, x, sigma=1.0, samples=300)
    alone = diagnose_decoder(decoder, z, samples=300)
    assert both.active.all() and alone.active.all()
    for name in ("gram_off_diagonal", "dto", "axis_angle", "c_ima"):
        one, other = getattr(both, name), getattr(alone, name)
        assert one.value == pytest.approx(other.value, rel=1e-6), name
    torch.testing.assert_close(both.grams.mean(0), alone.grams.mean(0), rtol=1e-6, atol=1e-9)
    assert both.random["gram_off_diagonal"] == pytest.approx(alone.random["gram_off_diagonal"])
    assert [p.latents for p in both.pairs] == [p.latents for p in alone.pairs]


def test_latents_count_by_what_they_move_and_how_far_they_go() -> None:
    """Columns of length 1, 1 and 0.01, the second latent drawn a hundred times narrower."""
    weight = torch.diag(torch.tensor([1.0, 1.0, 0.01]))
    decoder = lambda z: z @ weight.to(z) + 0.1 * (z @ weight.to(z)).sin()
    z = latents(2000) * torch.tensor([1.0, 0.01, 1.0])
    found = diagnose_decoder(decoder, z)
    assert found.active.tolist() == [True, False, False]
    assert found.movement[1:].tolist() == pytest.approx([1e-4, 1e-4], rel=0.2)
    assert found.gram_off_diagonal is None and found.pairs == ()
    assert (
        "1 latent of 3 moves the output (0).\nAll that compares latents is undefined."
        in found.verdict
    )
    assert diagnose_decoder(decoder, z, least=0.0).active.all() and 1e-4 < MOVES


def test_the_unit_and_the_place_of_latents_make_no_difference() -> None:
    """A ReLU far out has the kinks that it has near; what is held stays where it is used."""
    torch.manual_seed(0)
    scale, place = torch.tensor([1e-3, 1.0, 1e3]), torch.tensor([7.0, 0.0, -1e5])
    z = latents()
    smooth = nn.Sequential(nn.Linear(3, 20), nn.SiLU(), nn.Linear(20, 12))
    kinked = nn.Sequential(nn.Linear(3, 30), nn.ReLU(), nn.Linear(30, 12))
    for net in (smooth, kinked):
        plain = diagnose_decoder(net, z)
        other = diagnose_decoder(lambda y, net=net: net((y - place) / scale), place + scale * z)
        torch.testing.assert_close(other.grams, plain.grams, rtol=1e-6, atol=1e-9)
        for name, value in plain.random.items():
            assert other.random[name] == pytest.approx(value, rel=1e-5), name
        assert plain.c2 is other.c2 is None or plain.c2.value == pytest.approx(other.c2.value)
    assert plain.c2 is None, "the last one has kinks"
    held = lambda z: separable(z[..., :2]) * (1 + (z[..., 2:] - 5) * (z[..., :2].sum(-1, True)))
    five = torch.cat([latents()[:, :2], torch.full((400, 1), 5.0)], 1)
    found = diagnose_decoder(held, five)
    assert found.active.tolist() == [True, True, False]
    assert found.c2 is not None and found.c2.value < 1e-6


def test_many_latents_that_move_alike_all_count() -> None:
    turn = torch.linalg.qr(torch.randn(200, 200))[0]
    found = diagnose_decoder(lambda z: (z @ turn.to(z)).tanh(), latents(latent=200), samples=4)
    assert found.active.all() and len(found.pairs) == 200 * 199 / 2
    assert found.flatness is None and found.c2 is not None
    assert "Flatness is left out: of 200 latents it takes 200^4 numbers a sample." in found.flags


def test_a_decoder_of_one_latent_that_is_another_in_a_batch_is_called_with_one() -> None:
    weight = torch.randn(2, 5)
    alone = lambda z: (z.unsqueeze(-1) * weight.to(z)).sum(0)  # of a batch: a sum over it
    plain = lambda z: z @ weight.to(z)
    found, other = (diagnose_decoder(d, latents(latent=2)) for d in (alone, plain))
    torch.testing.assert_close(found.grams, other.grams)


def test_a_latent_that_does_not_move_the_output_takes_nothing_from_information() -> None:
    z = latents(4000, 2)
    factors = torch.stack([(2 * z[:, 0]).round(), (2 * z[:, 1]).round()], 1).long()
    plain = diagnose_decoder(separable, z, factors=factors)
    more = torch.cat([z, z[:, :1]], 1)  # a copy of the first, which nothing reads
    found = diagnose_decoder(separable, more, factors=factors)
    assert found.mig == pytest.approx(plain.mig, abs=1e-9) and plain.mig > 0.5
    small = diagnose_decoder(lambda y: separable(y / 0.05), 0.05 * z, factors=factors)
    assert small.known == pytest.approx(plain.known, rel=1e-6) and plain.known


def test_probabilities_are_measured_where_all_have_the_same_noise() -> None:
    """With a logit a latent, 2 arcsin of the root has diagonal derivatives as the mean has."""
    logits = lambda z: 2 * z
    found = diagnose_decoder(logits, latents(), likelihood="bernoulli", output="logits")
    mean = lambda z: logits(z).sigmoid()
    z = torch.eye(4, 3)
    p, order = mean(z), torch.randperm(4, generator=torch.Generator().manual_seed(0))
    chosen = diagnose_decoder(mean, z, likelihood="bernoulli", samples=4)
    expected = (4 * p * (1 - p) * z.var(0))[order]
    torch.testing.assert_close(chosen.grams.diagonal(dim1=1, dim2=2), expected, rtol=1e-6, atol=0)
    assert found.c2 is not None and found.c2.value < 1e-6


def test_kinks_leave_out_what_needs_second_derivatives() -> None:
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(3, 30), nn.ReLU(), nn.Linear(30, 12))
    found = diagnose_decoder(decoder, latents())
    assert found.c2 is None and found.flatness is None and found.gram_off_diagonal is not None
    assert "So C2 and flatness are left out." in found.verdict


@pytest.mark.parametrize("with_encoder", [True, False])
def test_a_function_that_answers_in_float32_is_differentiated_in_float32(
    with_encoder: bool,
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 20), nn.SiLU(), nn.Linear(20, 6)).float()
    decoder = lambda z: net(z.float())
    z = latents(100, 2).float()
    if with_encoder:
        inner = nn.Linear(6, 4).float()
        encoder = lambda x: inner(x.float()).chunk(2, -1)
        found = diagnose(encoder, decoder, net(z).detach(), sigma=1.0)
        assert found.grams.isfinite().all()
    else:
        twin = diagnose_decoder(net, z)  # copied to float64
        found = diagnose_decoder(decoder, z)
        torch.testing.assert_close(found.grams, twin.grams, rtol=1e-4, atol=1e-5)
    assert "The decoder runs in float32 only" in found.verdict


def test_a_decoder_that_sums_over_its_batch_is_one_of_a_single_latent() -> None:
    """Of a batch it makes no rows at all, whether or not it is another function of one latent."""
    net = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Softmax(0)).double()
    alone = lambda z: net(z) if z.ndim == 1 else net(z).sum(0)
    found = diagnose_decoder(alone, latents(latent=2))
    torch.testing.assert_close(found.grams, diagnose_decoder(net, latents(latent=2)).grams)


def test_factors_are_compared_with_the_latents_given() -> None:
    z = latents(4000, 2)
    factors = torch.stack([(2 * z[:, 1]).round(), (2 * z[:, 0]).round()], 1).long()
    names = ("of the second", "of the first")
    found = diagnose_decoder(separable, z, factors=factors, factor_names=names)
    assert found.information is not None and found.mig is not None and found.mig > 0.5
    assert found.information.argmax(0).tolist() == [1, 0]
    assert found.factor_names == names and found.probe["of the first"] > 0.9


def test_the_table_and_the_figure_have_what_was_found() -> None:
    found = diagnose_decoder(separable, latents())
    table = found.table()
    assert table.loc["moving", "value"] == 2 and table.loc["c2", "value"] < 1e-6
    assert not {"rate", "distortion", "difference", "active", "tangent_share"} & set(table.index)
    assert table.loc["c2", "random"] == found.random["c2"]
    figure = found.plot()
    labels = [ax.get_xlabel() for ax in figure.axes[:4]]
    assert labels[0] == "latent, by what it moves" and "ratio" in labels[3]
    assert [bar.get_height() for bar in figure.axes[0].patches][0] == found.movement.max()
    plt.close(figure)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"z": torch.zeros(10)}, r"`z` must be latents \[n, latent\].*got the shape \[10\]"),
        ({"z": torch.zeros(10, 2, dtype=torch.int)}, "`z` must be latents.*torch.int32"),
        ({"z": torch.full((10, 2), math.nan)}, "`z` must be latents"),
        ({"z": "codes"}, "`z` must be a tensor or an array of numbers"),
        ({"z": torch.zeros(2, 2)}, "4 latents and `samples` or more, for its errors; got 2 and"),
        ({"samples": 2}, "4 latents and `samples` or more.*got 10 and 2"),
        ({"samples": 2.5}, "`samples` must be a whole number"),
        ({"seed": -1}, "`seed` must be a whole number from 0"),
        ({"least": 1.0}, r"`least` is a share, 0 <= least < 1; got 1\.0"),
        ({"least": "all"}, "`least` is a share, 0 <= least < 1; got 'all'"),
        ({"likelihood": "poisson"}, "`likelihood` must be one of gaussian, bernoulli; got 'p"),
        ({"output": "odds"}, "`output` must be one of mean, logits; got 'odds'"),
        ({"factors": torch.zeros(9, 1, dtype=torch.int)}, "`factors` must have one row a datum"),
        ({"factor_names": ("a",)}, "`factor_names` must name every column of `factors`, 0; got 1"),
        ({"decoder": lambda z: z.detach()}, "`decoder` must be differentiable by torch"),
        ({"decoder": lambda z: z[..., :5] @ torch.ones(5)}, "`decoder` must take one latent"),
        ({"decoder": lambda z: z[..., :0]}, "`decoder` must return one value or more; got none"),
        ({"decoder": lambda z: (1 - z.abs()).sqrt(), "z": torch.eye(6, 2)}, "must be finite"),
        ({"decoder": lambda z: z / 0}, "The decoder's output must be finite"),
        (
            {
                "decoder": lambda z: nn.functional.grid_sample(
                    IMAGE, z.reshape(1, 1, 1, 2), align_corners=True
                )[0]
            },
            "`decoder` must have two derivatives that torch.func can take.*NotImplementedError",
        ),
        ({"decoder": 3}, "`decoder` must be a function or a module; got an int"),
    ],
)
def test_what_it_cannot_take_is_said_in_a_line(
    plain: Callable[[ModuleType], ModuleType], changes: dict[str, Any], message: str
) -> None:
    given = {"decoder": polar, "z": latents(10, 2)} | changes
    decoder, z = given.pop("decoder"), given.pop("z")
    with pytest.raises(ValueError, match=message) as said:
        plain(alone).diagnose_decoder(decoder, z, **given)
    assert "\n" not in str(said.value)


def test_a_diagnosis_has_a_name_of_its_own() -> None:
    assert isinstance(diagnose_decoder(polar, latents(latent=2)), DecoderDiagnosis)


@pytest.mark.parametrize(("apart", "rounded"), [(1e-6, True), (3e-4, False)])
def test_only_a_difference_of_rounding_is_put_down_to_float32(apart: float, rounded: bool) -> None:
    def leaking(z: torch.Tensor) -> torch.Tensor:
        alone = not torch._C._functorch.is_batchedtensor(z)
        return 10 * torch.sin(z) + alone * apart

    with pytest.raises(ValueError, match="under vmap and one by one its outputs differ") as said:
        diagnose_decoder(leaking, latents())
    assert ("computes in float32" in str(said.value)) is rounded
