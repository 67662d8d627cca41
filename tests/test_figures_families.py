from dataclasses import replace

import pytest

from seams.paper.figures import chain, fig05, gap, ident, rolinek, squares
from seams.training import stack_key

IDENT = {
    "dimensions": [2, 4],
    "laws": ["uniform"],
    "ratio": 1.5,
    "degrees": [0.0, 40.0],
    "bends": [0.1],
    "strengths": [0.2],
    "beta": 0.2,
    "seeds": 2,
    "width": 32,
    "images": 384_000,
    "batch": 128,
    "learning_rate": 0.003,
}
GAP = {
    "ratios": [1.0, 2.0],
    "seeds": 2,
    "plane_beta": 0.5,
    "plane_images": 99,
    "plane_learning_rate": 0.1,
    "resolution": 8,
    "width": 32,
    "blobs_beta": 0.2,
    "squares_beta": 8.0,
    "images": 192_000,
    "batch": 128,
    "learning_rate": 0.003,
}
COMMON = {"seeds": 2, "width": 32, "batch": 128, "learning_rate": 0.003}
ROLINEK = COMMON | {
    "ratios": [1.0, 1.5],
    "linear_beta": 1e-4,
    "network_beta": 1e-3,
    "images": 640,
    "network_images": 320,
    "conv_resolution": 16,
    "conv_width": 256,
    "conv_betas": [4.0],
    "conv_seeds": 1,
    "conv_images": 64,
    "conv_batch": 4,
    "conv_learning_rate": 5e-4,
}
CHAIN = COMMON | {
    "blobs": "blobs-2",
    "blobs_beta": 0.2,
    "beta": 1.0,
    "resolution": 16,
    "images": 640,
}


def test_squares_have_both_posteriors_at_the_first_beta_and_one_at_the_others() -> None:
    common = COMMON | {"resolution": 32, "images": 640}
    runs = squares(spacings=[2, 8], lines=[8, 4], betas=[0.5, 2.0], **common)
    first = [r for r in runs if r.beta == 0.5]
    assert {(r.dataset, r.covariance, r.seed) for r in first} == {
        (f"xy_square-{s}-{n}", kind, seed)
        for s in (2, 8)
        for n in (8, 4)
        for kind in ("diagonal", "full")
        for seed in range(2)
    }
    rest = [(r.beta, r.dataset, r.covariance) for r in runs[len(first) :: 2]]
    assert rest == [(2.0, f"xy_square-{s}-8", "diagonal") for s in (2, 8)]
    assert len(set(runs)) == len(runs) and {r.sigma for r in runs} == {0.5}


def test_ident_compares_posteriors_where_the_conditions_hold_and_scans_diagonal_ones() -> None:
    runs = ident(**IDENT)
    full = [r for r in runs if r.covariance == "full"]
    names = ["curves-normal-2-1.5", "curves-normal-4-1.5", "rolled-1.5", "curves-uniform-2-1.5"]
    names += ["curves-normal-2-1", "curves-uniform-2-1"]
    assert [r.dataset for r in full[::2]] == names
    assert [replace(r, covariance="diagonal") for r in full] == runs[: len(full)]
    rest = runs[2 * len(full) :]
    assert [r.dataset for r in rest[::2]] == [
        "sheared-0",
        "sheared-40",
        "polar-0.1",
        "twisted-0.2",
    ]
    assert {r.covariance for r in rest} == {"diagonal"}
    assert {(r.dataset[:15], r.latent) for r in runs if r.latent != 2} == {("curves-normal-4", 4)}
    assert len({stack_key(r) for r in runs}) == 4


def test_gap_has_one_stack_a_kind_of_data_and_posterior() -> None:
    runs = gap(**GAP)
    assert len(runs) == 3 * 2 * 2 * 2
    assert len({stack_key(r) for r in runs}) == 6
    assert [r.dataset for r in runs[::8]] == ["plane-1", "blobs-1", "dsprites_square-1"]
    assert {(r.network, r.images, r.learning_rate) for r in runs[:8]} == {("linear", 99, 0.1)}


@pytest.mark.parametrize("resolution", [8, 16, 32])
def test_gap_keeps_the_noise_of_a_large_pixel_when_it_averages(resolution: int) -> None:
    for run in gap(**GAP | {"resolution": resolution}):
        unit = {"plane": 1, "blobs": resolution / 16, "dsprites_square": resolution / 64}
        assert run.sigma == unit[run.dataset.split("-")[0]]


def test_rolinek_has_the_published_loss_and_one_stack_for_all_linear_runs_of_a_posterior() -> None:
    *runs, diagonal, full, none = rolinek(**ROLINEK)
    assert all(r.sigma**2 == pytest.approx(0.5) and r.warmup == 0 for r in runs)
    linear = [r for r in runs if r.network == "linear"]
    assert {r.dataset for r in linear} == {"square:matrix", "square:1", "square:1.5"}
    assert len({stack_key(r) for r in linear}) == 3
    (network,) = {(r.dataset, r.beta, r.images) for r in runs[len(linear) :]}
    assert network == ("square:network", 1e-3, 320)
    points = [r.dataset for r in runs if r.covariance == "none"]
    assert points == ["square:matrix"] * 2 + ["square:network"] * 2
    assert (diagonal.covariance, full.covariance, none.covariance) == ("diagonal", "full", "none")
    of_figure_5 = {k.removeprefix("conv_"): v for k, v in ROLINEK.items() if "conv_" in k}
    assert [diagonal, full] == fig05(dataset="dsprites", network="burgess", **of_figure_5)
    several = [r for r in rolinek(**ROLINEK | {"conv_betas": [1.0, 4.0]}) if r.resolution > 1]
    assert [r.covariance for r in several].count("none") == 1


def test_chain_trains_the_same_network_on_both_with_the_noise_of_their_pixels() -> None:
    runs = chain(**CHAIN)
    assert len(runs) == 8
    assert {(r.dataset, r.latent, r.sigma, r.beta) for r in runs} == {
        ("blobs-2", 2, 1.0, 0.2),
        ("dsprites", 10, 0.25, 1.0),
    }
    assert len({(r.network, r.width, r.images, r.batch) for r in runs}) == 1


@pytest.mark.parametrize("seeds", [0, -1])
def test_no_seed_is_refused(seeds: int) -> None:
    for protocol, values in ((ident, IDENT), (gap, GAP), (rolinek, ROLINEK), (chain, CHAIN)):
        with pytest.raises(ValueError, match=f"`seeds` must be 1 to 10,000; got {seeds}"):
            protocol(**values | {"seeds": seeds})
