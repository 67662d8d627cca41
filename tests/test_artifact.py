"""The files that an archive and a committee read agree with the project."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from seams.book import plan
from seams.paper.reading import read_results

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_metadata_agree() -> None:
    codemeta = json.loads((ROOT / "codemeta.json").read_text())
    zenodo = json.loads((ROOT / ".zenodo.json").read_text())
    for name in ("version", "description"):
        assert codemeta[name] == PROJECT[name]
    assert codemeta["keywords"] == PROJECT["keywords"] == zenodo["keywords"]
    assert codemeta["license"].endswith(f"/{PROJECT['license']}")
    assert codemeta["runtimePlatform"] == f"Python {PROJECT['requires-python']}"
    needed = {canonicalize_name(re.match(r"[\w-]+", d)[0]) for d in PROJECT["dependencies"]}
    assert needed == set(codemeta["softwareRequirements"])
    assert (zenodo["title"], zenodo["version"]) == (CITATION["title"], CITATION["version"])
    assert zenodo["license"] == PROJECT["license"] == CITATION["license"]
    assert zenodo["description"] == " ".join(CITATION["abstract"].split())
    doi = CITATION["preferred-citation"]["doi"]
    assert codemeta["referencePublication"]["@id"] == f"https://doi.org/{doi}"
    assert zenodo["related_identifiers"][0]["identifier"] == doi
    authors = {creator["name"] for creator in zenodo["creators"] + codemeta["author"]}
    assert authors == {CITATION["authors"][0]["name"]}
    assert authors.pop() in (ROOT / "AUTHORS").read_text()


def test_the_container_runs_what_the_readme_says() -> None:
    text = (ROOT / "Containerfile").read_text()
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.M))
    steps = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    known = {"FROM", "RUN", "USER", "WORKDIR", "COPY", "ENV", "CMD"}
    assert {word for word, _ in steps} == known and steps[0][0] == "FROM"
    base = re.fullmatch(r"docker\.io/library/python:(\d+\.\d+\.\d+)-slim-\w+", steps[0][1])
    assert base and SpecifierSet(PROJECT["requires-python"]).contains(base[1])
    for word, rest in steps:
        if word == "RUN":
            assert shlex.split(rest)  # quotes are closed
    order = [word for word, _ in steps]
    assert order.index("USER") < order.index("COPY") < order.index("CMD")
    assert ["RUN", "./repro setup"] in steps and json.loads(steps[-1][1]) == ["./repro"]
    ignored = (ROOT / ".containerignore").read_text().split()
    assert ".git" not in ignored and ".venv" in ignored  # DVC needs the repository


def test_the_plan_has_every_claim_of_the_record() -> None:
    results = read_results(ROOT / "nothing", ROOT / "record")
    lines = plan.printed(results, "desk").splitlines()
    heads = [line for line in lines if line[0] != " "]
    assert len(heads) == len(results)
    for (name, profile), result in results.items():
        (head,) = [line for line in heads if line.startswith(f"{name}: ")]
        assert f"seams run {name} --profile {profile}" in head
        assert ("trains nothing" in head) == (result.numbers["runs"]["count"] == 0)
        start = lines.index(head) + 1
        shown = lines[start : start + len(result.claims)]
        for line, claim in zip(shown, result.claims, strict=True):
            assert line.split()[0] == claim["id"] and line.endswith(f"  {claim['verdict']}")


@pytest.mark.parametrize("page", ["artifact", "checklists"])
def test_files_named_for_reviewers_exist(page: str) -> None:
    text = (ROOT / "book" / f"{page}.md").read_text()
    named = re.findall(r"`((?:[\w.-]+/)*[\w.*-]*(?:\.\w+|/)|LICENSE|AUTHORS|Containerfile)`", text)
    assert len(named) > 5
    local = {"provenance.json"}  # one in each run
    assert not [n for n in named if n not in local and not list(ROOT.glob(n))]
