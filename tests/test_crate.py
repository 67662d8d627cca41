"""Results as an RO-Crate, as its own validator sees it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_book import write_result

from seams.paper.crate import write_crate
from seams.paper.reading import read_results

ROOT = Path(__file__).parents[1]


@pytest.fixture
def crate(tmp_path: Path) -> Path:
    pytest.importorskip("rocrate", reason="pip install rocrate")
    folder = write_result(tmp_path / "results" / "quick", "fig07", "quick")
    (folder / "notebook.ipynb").write_text('{"cells": [], "nbformat": 4}')
    results = read_results(tmp_path / "results", tmp_path / "none").values()
    return write_crate(results, ROOT, tmp_path / "crate").parent


def test_a_crate_of_nothing_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("rocrate", reason="pip install rocrate")
    with pytest.raises(ValueError, match="A crate needs results"):
        write_crate([], ROOT, tmp_path / "crate")


def test_each_notebook_is_an_action_with_its_files(crate: Path) -> None:
    graph = json.loads((crate / "ro-crate-metadata.json").read_text())["@graph"]
    known = {entity["@id"]: entity for entity in graph}
    action = known["#run-fig07-quick"]
    made = [file["@id"] for file in action["result"]]
    assert "quick/fig07/numbers.json" in made and "quick/fig07/notebook.ipynb" in made
    assert all((crate / name).is_file() for name in made)
    used = [known[thing["@id"]] for thing in action["object"]]
    assert {"betas": "[0.3, 1.0]"}.items() <= {u["name"]: u.get("value") for u in used}.items()
    assert any(u["@id"].startswith("notebooks/fig07_") for u in used)
    assert "0123456789abcdef" in known[action["instrument"]["@id"]]["softwareVersion"]
    with pytest.raises(ValueError, match="must be a new folder"):
        write_crate(read_results(crate, ROOT / "record").values(), ROOT, crate)


# The validator as its command runs it, with the contexts that rocrate brings for the network's.
PROGRAM = """
import json, sys
from importlib.resources import files
import rdflib.plugins.shared.jsonld.context as contexts, requests, requests_cache
local = files("rocrate").joinpath("data/ro-crate.jsonld").read_text()
class Answer:
    status_code, ok, text, content, url = 200, True, local, local.encode(), ""
    headers = {"Content-Type": "application/ld+json"}
    json = lambda self: json.loads(local)
    raise_for_status = lambda self: None
fetch, request = contexts.source_to_json, requests.Session.request
contexts.source_to_json = lambda source, *a, **k: (
    (json.loads(local), None) if "w3id.org/ro/" in str(source) else fetch(source, *a, **k))
def answer(self, method, url, *a, **k):
    return Answer() if "w3id.org/ro/" in url else request(self, method, url, *a, **k)
requests.Session.request = requests_cache.CachedSession.request = answer
from rocrate_validator.cli.main import cli
cli()
"""


def validated(crate: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, "-y", "validate", "--no-paging"]
    command += ["-p", "process-run-crate-0.5", str(crate)]
    return subprocess.run(command, capture_output=True, text=True, cwd=crate.parent)


@pytest.mark.slow
def test_its_validator_accepts_a_crate(crate: Path) -> None:
    pytest.importorskip("rocrate_validator", reason="pip install roc-validator")
    done = validated(crate)
    assert done.returncode == 0, done.stdout + done.stderr
    metadata = crate / "ro-crate-metadata.json"
    metadata.write_text(metadata.read_text().replace('"instrument"', '"tool"'))
    assert validated(crate).returncode == 1
