"""Input that somebody hostile or unlucky may have made: each ends in a result, or in one line."""

import io
import json
import math
import shutil
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal

from seams import data as datasets
from seams.data import arrays
from seams.data.faces import load_celeba, load_folder
from seams.diagnosis import diagnose, diagnose_decoder
from seams.paper.figures import FIGURES
from seams.paper.parameters import available, check, parameters_of, parse, profile_of
from seams.paper.reading import import_figures
from seams.training.record import import_runs
from seams.training.runs import FILES

ROOT = Path(__file__).parents[2]
Case = Callable[[st.DataObject], object]

VALUES = [None, True, -1, 0, 1e308, 10**40, "x", "", [], [1], {}, {"a": {}}, float("nan"), "\0"]
ARRAYS = [np.array(["a"]), np.zeros(0), np.array(3.0), np.array([1j]), np.array([np.nan])]

# --- values of -p, and params.yaml ---------------------------------------------------------------

scalars = (
    st.sampled_from(VALUES[:7])
    | st.integers()
    | st.integers(1, 40)
    | st.floats()
    | st.floats(0.01, 9.0)
    | st.text(max_size=8)
    | st.sampled_from(["010", "1:30", "1e3", "yes", "~", "fig05", "diagonal", "blobs-1.5", "mlp"])
)
nested = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)


def dumped(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True).removesuffix(
        "\n...\n"
    )


def mostly(usual: st.SearchStrategy, other: st.SearchStrategy) -> st.SearchStrategy:
    """The usual in three of four cases, so that not all are refused at the first look."""
    return st.integers(0, 3).flatmap(lambda n: usual if n else other)


written = nested.map(dumped) | st.text("[]{}:,&*!|>'\"%@`#-+.0123456789eE_~ \nab", max_size=12)


def values(place: Path) -> Case:
    """What `seams run` and `seams sweep` make of `-p`: the runs of a figure."""
    notebooks = available(ROOT)
    parameters = {name: parameters_of(path) for name, path in notebooks.items()}
    defaults = {name: profile_of(name, "smoke", ROOT) for name in notebooks}

    def text(draw: st.DataObject, name: str) -> str:
        kinds = sorted(parameters[name])
        word = draw.draw(mostly(st.sampled_from(kinds), st.text(max_size=6)))
        default = defaults[name].get(word)
        fitting = st.integers(1, 40) if isinstance(default, int) else st.floats(0.01, 9.0)
        if isinstance(default, list):
            fitting = st.lists(st.sampled_from([*default, 1.5]) | fitting, max_size=3)
        if isinstance(default, str):
            fitting = st.sampled_from([default, "linear", "mlp", "dsprites", "blobs-1.5"])
        return f"{word}={draw.draw(mostly(fitting.map(dumped), written))}"

    def case(draw: st.DataObject) -> object:
        name = draw.draw(st.sampled_from(sorted(notebooks)))
        texts = [text(draw, name) for _ in range(draw.draw(st.integers(1, 3)))]
        given = check(parse(texts), parameters[name], name)
        made = FIGURES[name].runs if name in FIGURES else None
        return made and made(**defaults[name] | given)

    return case


def params(place: Path) -> Case:
    """`params.yaml` with a line, or a value anywhere in it, made into another."""
    text, project = (ROOT / "params.yaml").read_text(encoding="utf-8"), place / "project"
    shutil.copytree(ROOT / "notebooks", project / "notebooks")
    content = yaml.safe_load(text)

    def case(draw: st.DataObject) -> object:
        raw = text.encode()
        if draw.draw(st.booleans()):
            lines = raw.splitlines()
            line = draw.draw(st.integers(0, len(lines) - 1))
            name, _, rest = lines[line].partition(b":")
            lines[line] = draw.draw(
                written.map(lambda new: name + b": " + new.encode("utf-8", "replace"))
                | st.binary(max_size=8).map(lambda new: new + rest)
            )
            raw = b"\n".join(lines)
        else:
            changed = json.loads(json.dumps(content))
            inside, key = draw.draw(st.sampled_from(places(changed)))
            inside[key] = draw.draw(nested)
            raw = yaml.safe_dump(changed, allow_unicode=True).encode("utf-8", "replace")
        (project / "params.yaml").write_bytes(raw)
        return profile_of("fig05", draw.draw(st.sampled_from(["smoke", "paper"])), project)

    return case


# --- files ---------------------------------------------------------------------------------------


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a value with a key of it."""
    if not isinstance(value, dict | list):
        return []
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    return [place for key, inner in pairs for place in [(value, key), *places(inner)]]


def spoilt(path: Path, draw: st.DataObject) -> bytes:
    """A file as somebody else, or chance, may have made it."""
    raw = path.read_bytes()
    how = draw.draw(st.integers(0, 5))
    if how == 0:
        return raw[: draw.draw(st.integers(0, len(raw)))]
    if how == 1:
        changed = bytearray(raw)
        for _ in range(draw.draw(st.integers(1, 3))):
            changed[draw.draw(st.integers(0, len(raw) - 1))] = draw.draw(st.integers(0, 255))
        return bytes(changed)
    if how == 2:
        return draw.draw(
            nested.map(lambda value: json.dumps(value, default=str).encode())
            | st.binary(max_size=64)
            | st.just(b"[" * 10_000)
        )
    if path.suffix == ".json":
        content = json.loads(raw)
        inside, key = draw.draw(st.sampled_from(places(content)))
        if how < 5 or not isinstance(inside, dict):
            inside[key] = draw.draw(st.sampled_from(VALUES) | nested)
        else:
            inside[draw.draw(st.sampled_from(["new", "__class__", "../x"]))] = inside.pop(key)
        return json.dumps(content, default=str).encode()
    file = io.BytesIO()
    if path.suffix == ".npz":
        with np.load(io.BytesIO(raw)) as stored:
            held = dict(stored)
        held[draw.draw(st.sampled_from([*held]))] = draw.draw(st.sampled_from(ARRAYS))
        np.savez(file, allow_pickle=False, **held)
    elif path.suffix == ".npy":
        array = np.load(io.BytesIO(raw))
        other = [*ARRAYS, array[:-1], array.astype(np.int16), array.T, array[None], array.ravel()]
        np.save(file, draw.draw(st.sampled_from(other)), allow_pickle=False)
    else:
        file.write(raw[::-1])
    return file.getvalue()


def imports(place: Path) -> Case:
    """Runs and figures for the record, one of their files spoilt."""
    from stored import add  # of the tests
    from test_record import figures

    run, drawn, target = add(place / "run"), figures(place / "drawn"), place / "target"

    def case(draw: st.DataObject) -> object:
        source, take = draw.draw(
            st.sampled_from([(place / "run", import_runs), (drawn, import_figures)])
        )
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(".locks"))
        if draw.draw(st.integers(0, 4)):  # as stores had none, and as others may write anew
            (target / run.id / FILES.checksums).unlink(missing_ok=True)
        files = [p for p in target.rglob("*") if p.suffix in (".json", ".npz", ".svg")]
        path = draw.draw(st.sampled_from(sorted(p for p in files if p.name != "store.json")))
        path.write_bytes(spoilt(path, draw))
        try:
            return take(target, place / "record")
        except ValueError as error:  # a list with one line a run
            raise ValueError(str(error).removeprefix("Nothing was imported:\n")) from error

    return case


def loaders(place: Path) -> Case:
    """Images, zips and caches of faces, dSprites' file and what describes it; one spoilt."""
    noise = np.random.default_rng(0).integers(0, 256, (6, 20, 20, 3), dtype=np.uint8)
    whole, now = place / "whole", place / "now"
    (whole / "mine").mkdir(parents=True)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(whole / "mine" / f"{number}.{'png' if number % 2 else 'jpg'}")
    with zipfile.ZipFile(whole / "some.zip", "w") as archive:
        for number, pixels in enumerate(noise, 1):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "JPEG")
            archive.writestr(f"img_align_celeba/{number:06}.jpg", file.getvalue())
    load_folder(whole / "mine", whole, resolution=8)
    load_celeba(whole / "some.zip", whole, resolution=8)
    arrays.store(whole / "dsprites.npy", (4, 3), [np.ones((4, 3), np.uint8)], lambda _: {})

    def case(draw: st.DataObject) -> object:
        shutil.rmtree(now, ignore_errors=True)
        shutil.copytree(whole, now)
        files = sorted(p for p in now.rglob("*") if p.is_file())
        path = draw.draw(st.sampled_from(files))
        path.write_bytes(spoilt(path, draw))
        if draw.draw(st.booleans()):
            draw.draw(st.sampled_from(files)).unlink(missing_ok=True)
        side = draw.draw(st.sampled_from([8, 8, 4, 1, 0, -1, 21, 10**6]))
        return draw.draw(
            st.sampled_from(
                [
                    partial(load_folder, now / "mine", now, resolution=side),
                    partial(load_celeba, now / "some.zip", now, resolution=side),
                    partial(datasets.load_faces, "folder:mine", side),
                    partial(datasets.load, "celeba:some", side),
                    partial(datasets.load, "dsprites", side),
                    partial(arrays.read, now / "dsprites.npy"),
                    partial(datasets.load, draw.draw(st.text(max_size=8)), side),
                ]
            )
        )()

    return case


# --- other people's models -----------------------------------------------------------------------

LATENT, DATA = 2, 6
LAYERS: dict[str, Callable[[], Any]] = {
    "none": nn.Identity, "relu": nn.ReLU, "silu": nn.SiLU, "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus, "batch norm": lambda: nn.BatchNorm1d(DATA),
    "layer norm": lambda: nn.LayerNorm(DATA), "group norm": lambda: nn.GroupNorm(2, DATA),
    "dropout": nn.Dropout, "softmax of a batch": lambda: nn.Softmax(0),
    "softmax": lambda: nn.Softmax(-1), "gru": lambda: nn.GRU(DATA, DATA),
    "attention": lambda: nn.MultiheadAttention(DATA, 2), "weight norm":
    lambda: nn.utils.weight_norm(nn.Linear(DATA, DATA)), "spectral norm":
    lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(DATA, DATA)),
    "wrong size": lambda: nn.Linear(DATA, DATA + 1), "unflatten":
    lambda: nn.Unflatten(-1, (1, 2, 3)), "half": lambda: nn.Linear(DATA, DATA).half(),
    "complex": lambda: nn.Linear(DATA, DATA).to(torch.complex64), "transposed":
    lambda: nn.Linear(DATA + 1, DATA),
    "embedding": lambda: nn.Embedding(4, DATA),
}  # fmt: skip
ENDS: dict[str, Callable[[Any], Any]] = {
    "": lambda y: y, "detach": lambda y: y.detach(), "numpy": lambda y: y.detach().numpy(),
    "list": lambda y: y.tolist(), "none": lambda y: None, "text": str, "pair": lambda y: (y, y),
    "table": lambda y: {"mean": y}, "round": torch.round, "int": lambda y: y.int(),
    "complex": lambda y: y + 0j, "half": lambda y: y.half(), "one": lambda y: y[..., 0],
    "sum": lambda y: y.sum(), "nan": lambda y: y / 0 * 0, "inf": lambda y: y / 0, "sqrt":
    lambda y: y.abs().sqrt(), "sign": torch.sign, "item": lambda y: y * y.sum().item(), "noise":
    lambda y: y + torch.randn_like(y), "in place": lambda y: y.mul_(2), "other kind":
    lambda y: y.to_sparse(), "no batch": lambda y: y.reshape(DATA), "branch":
    lambda y: y if y.sum() > 0 else -y, "raise": lambda y: 1 / 0,
    "deep": lambda y: y.new_zeros(())[0], "empty": lambda y: y[..., :0], "constant":
    lambda y: torch.zeros(DATA), "meta": lambda y: y.to("meta"), "distribution":
    lambda y: Normal(y, 1.0), "expand": lambda y: y.unsqueeze(0), "grid": lambda y:
    nn.functional.grid_sample(torch.ones(1, 1, 4, 4), y.reshape(1, 1, -1, 2)).flatten(),
}  # fmt: skip
SECONDS: dict[str, Callable[[Any, Any], Any]] = {
    "pair": lambda m, s: (m, s), "swapped": lambda m, s: (s, m), "mean": lambda m, s: m,
    "three": lambda m, s: (m, s, m), "normal": lambda m, s: Normal(m, s.exp()), "independent":
    lambda m, s: Independent(Normal(m, s.exp()), 1), "full": lambda m, s: MultivariateNormal(
        m, torch.diag_embed(s.exp())), "list": lambda m, s: [m, s], "integers":
    lambda m, s: (m.int(), s), "nan": lambda m, s: (m * torch.nan, s), "huge": lambda m, s:
    (m * 1e30, s), "wide": lambda m, s: (m, s * 1e4), "narrow": lambda m, s: (m, s - 1e4),
    "constant": lambda m, s: (m * 0, s), "matrix": lambda m, s: (m, torch.diag_embed(s)), "shapes":
    lambda m, s: (m, s[:, :1]), "none": lambda m, s: (m, None), "grad":
    lambda m, s: (m.requires_grad_(), s), "sums": lambda m, s: (m + m.sum(0), s), "random":
    lambda m, s: (m + torch.rand(()), s),
}  # fmt: skip
GIVEN: dict[str, Callable[[Any], Any]] = {
    "": lambda x: x, "double": lambda x: x.double(), "numpy": lambda x: x.numpy(), "list": list,
    "lists": lambda x: x.tolist(), "frame": lambda x: pd.DataFrame(x.numpy()), "half":
    lambda x: x.half(), "integers": lambda x: x.int(), "nan": lambda x: x * torch.nan, "none":
    lambda x: None, "text": lambda x: "x", "few": lambda x: x[:3], "empty": lambda x: x[:0],
    "one": lambda x: x[0], "complex": lambda x: x + 0j, "loader":
    lambda x: torch.utils.data.DataLoader(x), "images": lambda x: x.unflatten(1, (1, 2, 3)),
    "sparse": lambda x: x.to_sparse(), "meta": lambda x: x.to("meta"), "objects":
    lambda x: np.array([[None] * DATA] * 40), "same": lambda x: x[:1].expand(40, DATA), "unit":
    lambda x: x.sigmoid(), "column": lambda x: x[:, :1], "grad":
    lambda x: x.clone().requires_grad_(),
    "huge": lambda x: x * 1e30,
}  # fmt: skip
FACTORS = [torch.arange(40)[:, None] % 4, torch.zeros(40, 2, dtype=torch.int64),
    torch.rand(40, 2), torch.arange(40), torch.arange(39)[:, None], "x", [[1, 2]] * 40,
    torch.tensor([[2**62]] * 40), -torch.arange(40)[:, None], torch.ones(40, 0).int(),
    torch.ones(40, 1, dtype=torch.bool), np.array([["a"]] * 40), pd.DataFrame({"k": range(40)}),
]  # fmt: skip
LIKELIHOODS = ["bernoulli", "poisson", None, 3, lambda a, x: -(a - x) ** 2,
    lambda a, x: -((a - x) ** 2).sum(), lambda a: a.sum(), lambda a, x: None, lambda a, x: 1 / 0,
    lambda a, x: -(a - x).abs().sum(), lambda a, x: (a.detach() * x).sum(), lambda a, x: "x",
    lambda a, x: (x * a - a.exp()).sum(), lambda a, x: (a * torch.nan).sum(),
]  # fmt: skip


class Decoder(nn.Module):
    def __init__(self, layer: Any, end: Callable[[Any], Any]) -> None:
        super().__init__()
        self.first, self.layer, self.last = nn.Linear(LATENT, DATA), layer, end

    def forward(self, z: Any) -> Any:
        y = self.layer(self.first(z))
        return self.last(y[0] if isinstance(self.layer, nn.GRU) else y)


def choices(draw: st.DataObject) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The usual value in five cases of six, of a strategy and of a table by name."""
    seldom = lambda usual, other: draw.draw(
        st.integers(0, 5).flatmap(lambda n: other if n == 5 else st.just(usual))
    )
    return seldom, lambda usual, table: table[seldom(usual, st.sampled_from(sorted(table)))]


def diagnosis(place: Path) -> Case:
    """Encoders, decoders, likelihoods, data and options of every kind that came to mind."""
    x = torch.randn(40, DATA, generator=torch.Generator().manual_seed(0), dtype=torch.float32)

    def case(draw: st.DataObject) -> object:
        torch.manual_seed(0)
        seldom, one_of = choices(draw)
        layer, end, second = one_of("silu", LAYERS)(), one_of("", ENDS), one_of("pair", SECONDS)
        decoder, inner = Decoder(layer, end), nn.Linear(DATA, 2 * LATENT)
        encoder = lambda x: second(*inner(x.flatten(1)).chunk(2, -1))
        forms = [decoder, decoder.forward, lambda z: decoder(z)]
        counts = {"sigma": 1.0, "beta": 1.0, "samples": 8, "draws": 2, "seed": 0}
        odd = st.sampled_from(VALUES) | st.floats() | st.integers(-9, 99)
        found = diagnose(
            seldom(encoder, st.sampled_from([None, inner, "x"])),
            draw.draw(st.sampled_from(forms)),
            one_of("", GIVEN)(x),
            factors=seldom(None, st.sampled_from(FACTORS)),
            factor_names=seldom((), st.sampled_from([("a",), "ab", ("a", "b"), None, 3])),
            likelihood=seldom("gaussian", st.sampled_from(LIKELIHOODS)),
            output=seldom("mean", st.sampled_from(["logits", "x", None])),
            second=seldom("log_variance", st.sampled_from(["std", "scale_tril", "x", None])),
            **{name: seldom(usual, odd) for name, usual in counts.items()},
        )
        return found.verdict, found.table(), str(found)

    return case


def decoders(place: Path) -> Case:
    """The same decoders without an encoder, at latents of every kind."""
    z = torch.randn(40, LATENT, generator=torch.Generator().manual_seed(0), dtype=torch.float32)

    def case(draw: st.DataObject) -> object:
        torch.manual_seed(0)
        seldom, one_of = choices(draw)
        decoder = Decoder(one_of("silu", LAYERS)(), one_of("", ENDS))
        forms = [decoder, decoder.forward, lambda z: decoder(z), None, "x"]
        # All but those that have as many columns as data.
        given = {n: change for n, change in GIVEN.items() if n not in ("images", "same")}
        odd = st.sampled_from(VALUES) | st.floats() | st.integers(-9, 99)
        found = diagnose_decoder(
            draw.draw(st.sampled_from(forms)),
            one_of("", given)(z),
            factors=seldom(None, st.sampled_from(FACTORS)),
            factor_names=seldom((), st.sampled_from([("a",), "ab", ("a", "b"), None, 3])),
            likelihood=seldom("gaussian", st.sampled_from(LIKELIHOODS)),
            output=seldom("mean", st.sampled_from(["logits", "x", None])),
            **{
                name: seldom(usual, odd)
                for name, usual in {"least": 0.003, "samples": 8, "seed": 0}.items()
            },
        )
        return found.verdict, found.table(), str(found)

    return case


SHARES = {
    values: 0.3, params: 0.2, imports: 0.2, loaders: 0.2, diagnosis: 0.07, decoders: 0.03
}  # fmt: skip

# --- all of them ---------------------------------------------------------------------------------


def counted(case: Case, cases: int, start: int) -> dict[str, int]:
    """Cases that were taken, that were refused in one line, and that ended otherwise."""
    found, shown = Counter[str](), set[str]()

    def note(error: BaseException) -> None:
        found["otherwise"] += 1
        where = "".join(traceback.format_tb(error.__traceback__)[-3:])
        if where not in shown:
            print(where, type(error).__name__, str(error)[:300], file=sys.stderr)
        shown.add(where)

    @seed(start)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(st.data())
    def run(draw: st.DataObject) -> None:
        try:
            case(draw)
        except (ValueError, FileNotFoundError) as error:
            if not str(error) or "\n" in str(error).strip():
                note(error)
            else:
                found["refused"] += 1
        except Exception as error:
            if type(error).__module__.startswith("hypothesis"):
                raise
            note(error)
        else:
            found["taken"] += 1

    run()
    return {"cases": found.total()} | {k: found[k] for k in ("taken", "refused", "otherwise")}


def fuzz(place: Path, cases: int, start: int = 0) -> dict[str, Any]:
    """So many cases in all, or a few more, shared among what takes input."""
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("SEAMS_ROOT", str(place))  # where checksums are kept
        for name in ("SEAMS_FACES", "SEAMS_DATA"):
            patch.setenv(name, str(place / "loaders" / "now"))
        for kind, share in SHARES.items():
            (place / kind.__name__).mkdir()
            case = kind(place / kind.__name__)
            found[kind.__name__] = counted(case, math.ceil(cases * share), start)
    return found | {"cases": sum(part["cases"] for part in found.values())}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(fuzz(Path(folder), *map(int, sys.argv[1:])), indent=1))
