"""The figures that a reader moves show what the library computes."""

import base64
import io
import json
import math
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from browser import Tab, browser, needs_browser
from matplotlib import colormaps
from PIL import Image
from stored import add
from torch.testing import assert_close

from seams import linear
from seams.book import live
from seams.collapse import posterior_weighted_mean
from seams.data import generators
from seams.data.generators import Generator, polar, rotated, twisted
from seams.data.synthetic import circles
from seams.derivatives import jacobian, jacobian_gram, jacobian_svd
from seams.geometry import c1_violation, c2_violation
from seams.metrics import off_diagonality
from seams.training import Run, TrainConfig
from seams.training.record import import_runs

CONFIG = TrainConfig(
    dataset="linear", resolution=2, network="mlp", width=8, latent=3, images=64, batch=16
)
PAGES = Path(__file__).parents[1] / "book" / "_live"
ACTIVITY = np.array([0.5, 0.0, 0.9])  # the second latent is inactive


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Both covariances at one beta, one alone at another."""
    kinds = [("diagonal", 1.0), ("full", 1.0), ("diagonal", 0.5)]
    runs = [
        add(
            tmp_path / "store",
            replace(CONFIG, covariance=kind, beta=beta),
            size=4,
            information=ACTIVITY,
            activity=ACTIVITY,
        )
        for kind, beta in kinds
    ]
    import_runs(tmp_path / "store", tmp_path / "record", decoders=[run.id for run in runs])
    return tmp_path / "record"


def run_of(record: Path, covariance: str) -> Run:
    runs = [Run(config, record / name) for name, config in configs(record)]
    return next(r for r in runs if (r.config.covariance, r.config.beta) == (covariance, 1.0))


def configs(record: Path) -> list[tuple[str, TrainConfig]]:
    files = sorted(record.glob("*/config.json"))
    return [(f.parent.name, TrainConfig(**json.loads(f.read_text()))) for f in files]


def unpacked(tensor: dict) -> torch.Tensor:
    values = np.frombuffer(base64.b64decode(tensor["values"]), "<i2")
    return torch.from_numpy(values * tensor["scale"])


def test_models_are_those_with_a_partner(record: Path) -> None:
    found = live.models(live.shown_pair(record))
    assert [(m["covariance"], m["beta"]) for m in found] == [("diagonal", 1.0), ("full", 1.0)]
    assert found[0]["order"] == [2, 0, 1] and found[0]["activity"] == [0.5, 0.0, 0.9]


def test_parameters_survive_packing(record: Path) -> None:
    (model, _) = live.models(live.shown_pair(record))
    decoder = run_of(record, "diagonal").decoder().double()
    z = torch.randn(5, 3)
    x = z
    for i, layer in enumerate(model["layers"]):
        weight = unpacked(layer["weight"]).unflatten(0, (-1, x.shape[-1]))
        x = (torch.nn.functional.silu(x) if i else x) @ weight.T + unpacked(layer["bias"])
    assert_close(x, decoder(z), rtol=0, atol=1e-4)


def test_nothing_without_decoders(tmp_path: Path) -> None:
    assert live.page(tmp_path, PAGES).startswith("No decoder is kept")


# --- in a browser -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def show(tab: Tab, folder: Path, text: str) -> None:
    """A live figure on a page of its own."""
    (html,) = re.findall(r":::{raw} html\n(.*?)\n:::", text, re.DOTALL)
    page = folder / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><body>{html}")
    tab.open(page.as_uri())
    assert not tab.problems


AT_REST = (  # of a figure without its controls, numbers to a tenth of a pixel
    "[...document.querySelectorAll('.live > .live-panels, .live > .live-told')]"
    r".map((node) => node.outerHTML.replace(/\d+\.\d\d+(?=[^<>]*>)/g, (n) => (+n).toFixed(1)))"
    ".join('\\n') + '\\n'"
)
DRAWN = ("linear", "surface", "noise")


@needs_browser
@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_at_rest_is_what_its_program_draws(tab: Tab, tmp_path: Path, name: str) -> None:
    show(tab, tmp_path, live.figure(name, PAGES))
    numbers = re.compile(r"\d+\.\d")
    kept, drawn = (PAGES / f"{name}.html").read_text(), tab.value(AT_REST)
    why = "draw it again: python tests/test_live.py"
    assert numbers.sub("#", kept) == numbers.sub("#", drawn), why
    pairs = zip(numbers.findall(kept), numbers.findall(drawn), strict=True)
    assert all(abs(float(a) - float(b)) < 0.11 for a, b in pairs), why


def test_at_rest_the_decoders_show_what_torch_computes(record: Path) -> None:
    pair = live.shown_pair(record)
    sheet = np.array(Image.open(io.BytesIO(live.still(pair)))) / 255
    assert sheet.shape == (2 * 2, (2 + 2) * 2, 3)  # two models; an image, J'J and two columns
    z = torch.tensor([[-0.8, 0.0, 0.8]])  # the third latent is the most active one
    for k, run in enumerate(pair):
        decoder = run.decoder().double()
        tiles = sheet[2 * k : 2 * k + 2].reshape(2, 4, 2, 3).swapaxes(0, 1)
        image = decoder(z)[0].clamp(0, 1).view(2, 2, 1).expand(-1, -1, 3)
        assert_close(torch.from_numpy(tiles[0]), image, rtol=0, atol=0.005)
        gram = jacobian_gram(decoder, z)[0].abs()[[2, 0]][:, [2, 0]]
        share = gram / gram.diagonal().sqrt().outer(gram.diagonal().sqrt())
        expected = colormaps["Blues"](share.numpy())[..., :3]
        np.testing.assert_allclose(tiles[1], expected, atol=0.01)
        first = jacobian(decoder, z)[0][:, [2, 0]]
        expected = colormaps["RdBu_r"]((1 + first / first.abs().max()).numpy().T / 2)[..., :3]
        np.testing.assert_allclose(tiles[2:].reshape(2, 4, 3), expected, atol=0.01)


def told(tab: Tab, which: int = 0, place: str = ".live-told") -> list[float]:
    """The numbers that the figure tells, once it does."""
    words = f"document.querySelectorAll('{place}')[{which}].textContent"
    while not re.search(r"\d", (text := tab.value(words)).replace("C2", "")):
        time.sleep(0.02)
    text = re.sub(r"C1|C2|J'J", "", text)
    return [float(n.replace("−", "-")) for n in re.findall(r"−?\d+(?:\.\d+)?", text)]


def slide(tab: Tab, which: int, value: float) -> None:
    """A slider to a value, and one step on by the keyboard."""
    control = f"document.querySelectorAll('input[type=range]')[{which}]"
    tab.value(f"{control}.value = {value}; {control}.focus()")
    tab.press("ArrowRight")


@needs_browser
def test_the_linear_figure_tells_what_the_library_computes(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, live.figure("linear", PAGES))
    slide(tab, 0, 24)  # 25 degrees
    slide(tab, 1, 1.9)  # eigenvalue 2
    V, full, diagonal, losses = (told(tab)[a:b] for a, b in ((0, 4), (4, 8), (8, 10), (10, 12)))
    c, s = math.cos(math.radians(25)), math.sin(math.radians(25))
    covariance, turn = torch.tensor([4.0, 2.0]).diag(), torch.tensor([[c, -s], [s, c]])
    noise = {"sigma": math.sqrt(0.3)}
    decoder = (covariance - 0.3 * torch.eye(2)).clamp(min=0).sqrt() @ turn
    precision = linear.posterior_precision(decoder, **noise)
    x = math.sqrt(2) * torch.cat([covariance.sqrt(), -covariance.sqrt()])  # of that covariance
    best = -linear.log_evidence(x, decoder, **noise).mean()
    gap = linear.diagonal_gap(decoder, **noise)
    near = {"rtol": 0, "atol": 0.006}
    assert_close(torch.tensor(V).view(2, 2), turn.T, **near)
    assert_close(torch.tensor(full).view(2, 2), precision.inverse(), **near)
    assert_close(torch.tensor(diagonal), 1 / precision.diagonal(), **near)
    assert_close(torch.tensor(losses), torch.stack([best, best + gap]), rtol=0, atol=6e-4)
    assert gap > 0.01


def curves(z: torch.Tensor) -> torch.Tensor:
    """The sheet that the figure draws: a catenary along the first latent, straight across."""
    u = torch.tensor([1.6, 0.8]) * (z + 0.3 * z.cosh().log())
    return torch.stack([1.5 * torch.asinh(u[0] / 1.5), u[1], torch.hypot(u[0], torch.tensor(1.5))])


TURNED = math.pi / 5 * torch.tensor([1.0]).double()
MAPS = {
    (True, True): Generator(2, 3, curves, None, torch.sum, torch.sum),
    (True, False): polar(0.25, 0.6),
    (False, True): rotated(
        generators.linear(torch.tensor([1.6, 0.8]).double().diag()),
        torch.tensor([[TURNED.cos(), -TURNED.sin()], [TURNED.sin(), TURNED.cos()]]).double(),
    ),
    (False, False): twisted(Generator(2, 3, curves, None, torch.sum, torch.sum), 0.25),
}


@needs_browser
def test_the_surface_tells_what_the_library_computes(tab: Tab, tmp_path: Path) -> None:
    show(tab, tmp_path, live.figure("surface", PAGES))
    tab.value("document.querySelector('svg').focus()")
    tab.press("ArrowRight")
    tab.press("ArrowDown")
    boxes = "document.querySelectorAll('input[type=checkbox]')"
    for (c1, c2), generator in MAPS.items():
        for k, wanted in enumerate((c1, c2)):
            tab.value(f"{boxes}[{k}].checked !== {str(wanted).lower()} && {boxes}[{k}].click()")
        *z, large, small, first, second = told(tab)
        assert z == [1.0, 0.6]
        point = torch.tensor([z])
        values = jacobian_svd(generator, point)[1][0]
        assert_close(torch.tensor([large, small]), values, rtol=0, atol=0.006)
        assert first == pytest.approx(float(c1_violation(generator, point)), abs=0.006)
        assert second == pytest.approx(float(c2_violation(generator, point)), abs=0.006)
        assert (first == 0, second == 0) == (c1, c2)
    box = tab.value(
        "(({left, top, width}) => [left, top, width])"
        "(document.querySelector('svg').getBoundingClientRect())"
    )
    tab.point(box[0] + 0.75 * box[2], box[1] + 0.5 * box[2])
    assert told(tab)[:2] == pytest.approx([1.1, 0.0], abs=0.02)


@needs_browser
@pytest.mark.parametrize("exponent", [0.0, 0.98, 1.8])
def test_the_noise_tells_what_the_library_computes(
    tab: Tab, tmp_path: Path, exponent: float
) -> None:
    show(tab, tmp_path, live.figure("noise", PAGES))
    slide(tab, 0, exponent)
    beta = 10 ** (exponent + 0.02)
    data = circles()
    variance = float(data.x.square().mean())
    decoder = max(variance - beta, 0) ** 0.5 * torch.eye(2)
    posterior = linear.optimal_posterior(data.x, decoder, sigma=1.0, beta=beta)
    decoded = posterior_weighted_mean(posterior.mean, posterior.mean, posterior.scale_tril, data.x)
    groups = decoded.unflatten(0, (4, 8))
    spread = lambda x: x.var(-2, correction=0).sum(-1).sqrt()
    expected = [
        100 * float(spread(groups).mean()) / 2.3,
        100 * float(spread(groups.mean(1))) / 10.5,
        float(posterior.kl_to_prior().mean()) if beta > variance else math.log(variance / beta),
    ]
    assert told(tab) == pytest.approx(expected, abs=0.51)
    assert told(tab)[2] == pytest.approx(expected[2], abs=0.006)


@needs_browser
@pytest.mark.parametrize("network", ["mlp", "burgess"])
def test_the_browser_decodes_what_torch_does(tab: Tab, tmp_path: Path, network: str) -> None:
    config = replace(CONFIG, network=network, resolution=8 if network == "burgess" else 2)
    kinds = [replace(config, covariance=kind) for kind in ("diagonal", "full")]
    size = config.resolution**2
    arrays = {"information": ACTIVITY, "activity": ACTIVITY}
    runs = [add(tmp_path / "store", kind, size=size, **arrays) for kind in kinds]
    import_runs(tmp_path / "store", tmp_path / "record", decoders=[run.id for run in runs])
    show(tab, tmp_path, live.page(tmp_path / "record", PAGES))
    z = torch.zeros(1, 3)
    z[0, ACTIVITY.argsort()[::-1][:2].copy()] = torch.tensor([0.8, -0.8])
    for k, kind in enumerate(("diagonal", "full")):
        decoder = run_of(tmp_path / "record", kind).decoder().double()
        gram = jacobian_gram(decoder, z)
        expected = off_diagonality(gram, torch.tensor([True, False, True]))
        assert told(tab, k) == pytest.approx([float(expected), 2], abs=0.006)
        canvas = f"document.querySelectorAll('.live-row canvas:first-child')[{k}]"
        drawn = tab.value(
            f"[...{canvas}.getContext('2d').getImageData(0, 0, {config.resolution}, "
            f"{config.resolution}).data].filter((_, i) => i % 4 === 0)"
        )
        assert_close(
            torch.tensor(drawn).double() / 255, decoder(z)[0].clamp(0, 1), rtol=0, atol=0.003
        )
    tab.value("[...document.querySelectorAll('button')].at(-1).click()")
    active = ACTIVITY > 0.01
    for k, kind in enumerate(("diagonal", "full")):
        decoder = run_of(tmp_path / "record", kind).decoder().double()
        used = lambda part, decoder=decoder: decoder(torch.stack([part[0], 0 * part[0], part[1]]))
        expected = c2_violation(used, z[:, active])
        assert told(tab, k, ".live-second") == pytest.approx([float(expected)], abs=0.01)
    assert not tab.problems


if __name__ == "__main__":  # draw the figures at rest again
    with TemporaryDirectory() as folder, browser(Path(folder)) as opened:
        for name in DRAWN:
            show(opened, Path(folder), live.figure(name, PAGES))
            (PAGES / f"{name}.html").write_text(opened.value(AT_REST))
