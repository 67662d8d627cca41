import ast
import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seams import data
from seams.paper import notebook
from seams.paper.figures import (
    FIGURES,
    fig01,
    fig02,
    fig03,
    fig05,
    fig06,
    fig08,
    fig11,
    grids,
    switch,
)
from seams.training import TrainConfig, beta_at, run_id

ROOT = Path(__file__).parent.parent
CONTENT_WITHOUT = ROOT / "src/seams/paper/film.py"  # weights; it then takes the record's

SHEET = {
    "seeds": 10,
    "beta": 1.0,
    "width": 32,
    "images": 320_000,
    "batch": 256,
    "learning_rate": 0.003,
}
LINEAR = {"seeds": 10, "beta": 1.0, "images": 1_280_000, "batch": 256, "learning_rate": 0.01}
DSPRITES = {
    "dataset": "dsprites_half_height",
    "resolution": 16,
    "network": "mlp",
    "width": 128,
    "betas": [0.05, 0.3, 1.0, 3.0],
    "seeds": 3,
    "images": 512_000,
    "batch": 128,
    "learning_rate": 0.001,
}


CIRCLES = {
    "betas": [0.55, 60.0],
    "shares": [0.5, 1.1],
    "width": 32,
    "seeds": 2,
    "images": 256_000,
    "batch": 128,
    "learning_rate": 0.003,
}
FACES = {
    "dataset": "orl",
    "resolution": 32,
    "network": "mlp",
    "width": 64,
    "latent": 32,
    "betas": [4.0, 0.25],
    "seeds": 2,
    "images": 64_000,
    "batch": 32,
    "learning_rate": 0.001,
}


def digest(configs: Sequence[TrainConfig]) -> str:
    return hashlib.sha256("".join(map(run_id, configs)).encode()).hexdigest()[:16]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_names_of_runs_stay(dtype: torch.dtype) -> None:
    """From before the lists were moved here; a change would orphan what people have stored."""
    torch.set_default_dtype(dtype)
    assert digest(fig01(**SHEET)) == "37b2242832864c71"
    assert digest(fig02(**LINEAR)) == "9060fdeb3a8e4f06"
    both = fig05(**DSPRITES) + fig05(**DSPRITES | {"dataset": "dsprites"})
    assert digest(both) == "aa6cdc67ceecee6e"


def test_fig01_has_full_posteriors_first() -> None:
    runs = fig01(**SHEET | {"seeds": 2, "points": 500})
    assert [(r.covariance, r.seed) for r in runs] == [
        ("full", 0),
        ("full", 1),
        ("diagonal", 0),
        ("diagonal", 1),
    ]
    assert {(r.dataset, r.latent, r.sigma) for r in runs} == {("sheet", 2, data.sheet().sigma)}


def test_fig03_takes_its_runs_from_figure_5() -> None:
    values = {n: v for n, v in DSPRITES.items() if n != "betas"}
    runs = fig03(beta=1.0, twist=0.1, lines=5, **values)
    assert runs == [r for r in fig05(**DSPRITES) if r.beta == 1.0]


def test_fig02_compares_posteriors_seed_by_seed() -> None:
    runs = fig02(**LINEAR | {"seeds": 2})
    assert [(r.covariance, r.seed) for r in runs] == [
        ("diagonal", 0),
        ("diagonal", 1),
        ("full", 0),
        ("full", 1),
    ]
    assert {(r.dataset, r.latent, r.sigma, r.snapshots) for r in runs} == {("linear", 3, 1.0, 60)}


def test_fig05_has_both_posteriors_over_beta() -> None:
    runs = fig05(**DSPRITES | {"betas": [2.0, 0.5], "seeds": 2})
    assert len(runs) == 8 and {r.dataset for r in runs} == {"dsprites_half_height"}
    assert [(r.covariance, r.beta, r.seed) for r in runs[:5]] == [
        ("diagonal", 0.5, 0),
        ("diagonal", 0.5, 1),
        ("diagonal", 2.0, 0),
        ("diagonal", 2.0, 1),
        ("full", 0.5, 0),
    ]


def test_fig05_compares_posteriors_on_larger_images_too() -> None:
    large = dict(large_betas=[1.0], large_seeds=2, large_full_seeds=1, large_images=64_000)
    runs = fig05(**DSPRITES, large_resolution=32, **large)
    sweep = fig05(**DSPRITES)
    assert fig05(**DSPRITES, large_resolution=0, **large) == sweep
    assert runs[: len(sweep)] == sweep
    more = runs[len(sweep) :]
    assert [(r.covariance, r.seed) for r in more] == [
        ("diagonal", 0),
        ("diagonal", 1),
        ("full", 0),
    ]
    assert {(r.resolution, r.sigma, r.beta, r.images) for r in more} == {(32, 0.5, 1.0, 64_000)}


def test_fewer_runs_with_full_posteriors_leave_the_others_as_they_are() -> None:
    runs, fewer = fig05(**DSPRITES), fig05(**DSPRITES, full_seeds=2)
    assert fewer == [r for r in runs if r.covariance == "diagonal" or r.seed < 2]


def test_switch_has_four_arms_of_each_network() -> None:
    one = dict(dataset="dsprites_half_height", resolution=16, width=128, images=64_000, batch=64)
    conv = {f"conv_{name}": value for name, value in one.items() if name != "dataset"}
    more = dict(learning_rate=1e-3, conv_learning_rate=5e-4, conv_betas=[1.0], conv_seeds=2)
    more |= {"all_betas": [1.0], "all_seeds": 2}
    runs = switch(betas=[1.0, 0.3], seeds=3, hold=0.5, **one, **conv, **more)
    assert len(set(runs)) == len(runs) == 4 * (2 * 3 + 2 + 2)
    places = [("mlp", "dsprites_half_height"), ("mlp", "dsprites"), ("burgess", "dsprites")]
    for place in places:
        some = [r for r in runs if (r.network, r.dataset) == place]
        assert len({(r.covariance_start, r.covariance) for r in some}) == 4
        assert {(r.change, r.steps) for r in some} == {(512, 1000)}
    alone = more | {"conv_seeds": 0, "all_seeds": 0}
    assert switch(betas=[1.0], seeds=1, hold=0.5, **one, **conv, **alone) == [
        r for r in runs if (r.network, r.dataset) == places[0] and r.seed == 0 and r.beta == 1.0
    ]


def test_grids_has_both_networks_on_both_grids() -> None:
    one = {"seeds": 2, "images": 64, "batch": 8, "learning_rate": 0.01}
    conv = {f"conv_{name}": value for name, value in one.items()} | {"conv_width": 256}
    runs = grids(resolution=16, betas=[1.0, 0.3], width=128, conv_beta=1.0, **one, **conv)
    assert [(r.network, r.dataset) for r in runs[::4]] == [
        *[("mlp", "dsprites")] * 2,
        *[("mlp", "dsprites_half_height")] * 2,
        ("burgess", "dsprites"),
        ("burgess", "dsprites_half_height"),
    ]
    of_fig05 = {"resolution": 16, "network": "burgess", "width": 256, "betas": [1.0]} | one
    assert runs[-8:-4] == fig05(dataset="dsprites", **of_fig05)


def test_fig05_keeps_the_noise_of_a_large_pixel_when_it_averages() -> None:
    """A mean of k pixels has a variance of sigma^2 / k; here k = (64 / resolution)^2."""
    for resolution in (16, 32, 64):
        for run in fig05(**DSPRITES | {"resolution": resolution}):
            assert run.sigma**2 == 1 / (64 / resolution) ** 2


def test_eq06_reads_the_runs_of_fig05() -> None:
    chosen = {"betas": [0.3, 1.0], "seeds": 2}
    assert FIGURES["eq06"].runs is fig05
    assert fig05(**DSPRITES | chosen, posteriors=8) == [
        run
        for run in fig05(**DSPRITES)
        if run.dataset == "dsprites_half_height" and run.beta in (0.3, 1.0) and run.seed < 2
    ]


def falling(**values: Any) -> list[TrainConfig]:
    return fig11(**DSPRITES | {"betas": [1.0, 0.05, 0.3], "snapshots": 20} | values)


def test_fig11_shares_its_constant_betas_with_fig05() -> None:
    runs = falling()
    sweep = fig05(**DSPRITES)
    assert set(runs[:9]) <= {r for r in sweep if r.covariance == "diagonal"}
    assert [(r.beta, r.seed) for r in runs[:4]] == [(0.05, 0), (0.05, 1), (0.05, 2), (0.3, 0)]
    assert len(runs) == 12


def test_fig11_lowers_beta_from_the_largest_to_the_least() -> None:
    for seed, run in enumerate(falling()[9:]):
        assert (run.beta_start, run.beta, run.seed, run.snapshots) == (1.0, 0.05, seed, 20)
        assert beta_at(run, run.steps - 1) == pytest.approx(0.05)
        assert replace(run, beta=1.0, beta_start=None, snapshots=8) == falling()[6 + seed]


def test_fig11_holds_the_largest_beta_first_where_asked() -> None:
    runs = falling(hold=0.5)
    assert runs[:12] == falling() == falling(hold=0.0)
    assert runs[12:] == [replace(run, hold=0.5) for run in falling()[9:]]


def test_fig11_repeats_all_its_runs_at_other_lengths() -> None:
    runs = falling(hold=0.5)
    images = runs[0].images
    again = falling(hold=0.5, lengths=[images, 4 * images, images // 4])
    assert again[: len(runs)] == runs
    assert [run.images for run in again[:: len(runs)]] == [images, images // 4, 4 * images]
    assert [replace(run, images=images) for run in again] == runs * 3


@pytest.mark.parametrize("profile", ["smoke", "paper"])
def test_fig11_trains_only_the_falling_betas(profile: str) -> None:
    """Where its data and networks are those of Figure 5; in quick and desk they are small nets."""
    values = {n: notebook.profile_of(n, profile, ROOT) for n in ("fig05", "fig11")}
    known = set(fig05(**values["fig05"]))
    new = [run for run in fig11(**values["fig11"] | {"lengths": []}) if run not in known]
    assert {run.beta_start for run in new} == {1.0}
    assert len(new) == values["fig11"]["seeds"] * (2 if values["fig11"]["hold"] else 1)


@pytest.mark.parametrize("betas", [[], [1.0], [1.0, 1.0]])
def test_nothing_to_move_between_is_refused(betas: list[float]) -> None:
    with pytest.raises(ValueError, match="`betas` must hold two values or more to move between"):
        falling(betas=betas)


def test_fig06_sweeps_both_data_sets_about_the_beta_where_they_collapse() -> None:
    runs = fig06(**CIRCLES)
    assert [(r.dataset, r.seed) for r in runs[::2]] == [("circles", 0)] * 4 + [("coins", 0)] * 2
    critical = (10.5**2 + 2.3**2) / 2  # variance of the circles along an axis, sigma = 1
    circles = [r.beta for r in runs[:8:2]]
    assert circles[:2] == [0.55, 60.0]
    assert circles[2:] == pytest.approx([0.5 * critical, 1.1 * critical], rel=1e-5)
    assert [r.beta for r in runs[8::2]] == [0.5, 1.1]
    assert {(r.likelihood, r.latent) for r in runs[8:]} == {("bernoulli", 4)}


def test_figures_of_faces_share_their_runs() -> None:
    runs = fig08(**FACES)
    assert [(r.covariance, r.beta, r.seed) for r in runs[:3]] == [
        ("diagonal", 0.25, 0),
        ("diagonal", 0.25, 1),
        ("diagonal", 4.0, 0),
    ]
    assert {(r.sigma, r.latent, r.dataset) for r in runs} == {(0.5, 32, "orl")}
    assert len(runs) == 8
    assert {FIGURES[name].runs for name in ("fig07", "fig08", "fig09", "fig10")} == {fig08}
    assert set(fig08(**FACES | {"betas": [4.0]})) < set(runs)


@pytest.mark.parametrize("profile", ["smoke", "quick", "desk", "paper"])
def test_profiles_of_faces_agree(profile: str) -> None:
    """Else each figure would train its own runs."""
    names = ("fig07", "fig08", "fig09", "fig10")
    values = {n: notebook.profile_of(n, profile, ROOT) for n in names}
    shared = [{k: v for k, v in chosen.items() if k in FACES} for chosen in values.values()]
    assert shared[0]["betas"] == [4.0] and 4.0 in shared[1]["betas"]
    assert shared[1] == shared[2] == shared[3] == shared[0] | {"betas": shared[1]["betas"]}


@pytest.mark.parametrize("seeds", [0, -1, 10**40])
def test_seeds_that_cannot_be_are_refused(seeds: int) -> None:
    for protocol, values in (
        (fig01, SHEET),
        (fig02, LINEAR),
        (fig05, DSPRITES),
        (fig06, CIRCLES),
        (fig08, FACES),
    ):
        with pytest.raises(ValueError, match=f"`seeds` must be 1 to 10,000; got {seeds}"):
            protocol(**values | {"seeds": seeds})


def test_no_beta_is_refused() -> None:
    with pytest.raises(ValueError, match="`betas` must hold one value or more; got none"):
        fig05(**DSPRITES | {"betas": []})
    with pytest.raises(ValueError, match="`betas` must hold one value or more; got none"):
        fig08(**FACES | {"betas": []})


def test_values_of_a_configuration_are_checked() -> None:
    with pytest.raises(ValueError, match="`network` must be one of"):
        fig05(**DSPRITES | {"network": "vit"})
    with pytest.raises(ValueError, match="`images` must be 1 or more; got -1"):
        fig05(**DSPRITES | {"images": -1})
    with pytest.raises(ValueError, match="`resolution` must be 1 or more; got -16"):
        fig05(**DSPRITES | {"resolution": -16})  # and not that of the sigma that follows from it


# --- notebooks ---------------------------------------------------------------------------------


TRAINED = [name for name, figure in FIGURES.items() if figure.runs]


@pytest.mark.parametrize("name", TRAINED)
def test_a_protocol_takes_the_parameters_of_its_notebook(name: str) -> None:
    """Every profile's, and all that it asks for; what it ignores is the figure's own."""
    protocol = FIGURES[name].runs
    parameters = notebook.parameters_of(notebook.available(ROOT)[name])
    asked = {
        p.name
        for p in inspect.signature(protocol).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.default is p.empty
    }
    assert asked <= set(parameters)
    for profile in ("smoke", "quick", "paper"):
        runs = protocol(**notebook.profile_of(name, profile, ROOT))
        assert len(set(runs)) == len(runs) > 0


def source(name: str) -> ast.Module:
    cells = json.loads(notebook.available(ROOT)[name].read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return ast.parse("\n".join(code))


@pytest.mark.parametrize("name", TRAINED)
def test_a_notebook_loads_its_figures_runs(name: str) -> None:
    calls: list[Any] = [n for n in ast.walk(source(name)) if isinstance(n, ast.Call)]
    called = [ast.unparse(c) for c in calls]
    assert called.count("load(results)") == 1
    assert called.count(f"Results.of('{name}', globals())") == 1
    assert not {"TrainConfig", "train_or_load"} & {ast.unparse(c.func) for c in calls}


@pytest.mark.parametrize("name", TRAINED)
def test_notebooks_that_need_weights_say_so(name: str) -> None:
    """In their cells, or in a function of `seams.paper` that these name, or that those do."""
    named = lambda tree: {
        part
        for n in ast.walk(tree)
        if isinstance(n, ast.Name | ast.Attribute)
        for part in ast.unparse(n).split(".")
    }
    code = [ast.unparse(source(name))]
    for path in {*(ROOT / "src/seams/paper").glob("*.py")} - {CONTENT_WITHOUT}:
        functions = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)]
        reached = [n for n in functions if n.name in named(source(name)) - {"load"}]
        inner = set().union(*map(named, reached))
        code += [ast.unparse(n) for n in functions if n in reached or n.name in inner]
    words = ("model", "weights", "snapshots", "decoder")
    needed = any(f".{word}()" in text for word in words for text in code)
    assert needed == FIGURES[name].weights
