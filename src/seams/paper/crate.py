"""Results as an RO-Crate: what each notebook left, from which parameters, by what, on what.

A folder that explains itself to archives and to programs: RO-Crate 1.1 with the profile of Process
Run Crate 0.5, an action for each notebook. The package rocrate is asked for by this module alone.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from seams.paper.reading import Result

__all__ = ["write_crate"]

_PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_KINDS = {
    ".csv": "text/csv",
    ".ipynb": "application/x-ipynb+json",
    ".json": "application/json",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


def write_crate(results: Iterable[Result], project: Path, output: Path) -> Path:
    """Copy results into a new folder with `ro-crate-metadata.json`.

    Args:
        results: Of `seams.paper.reading.read_results`; the record's have no executed notebooks.
        project: Root of this project: its `codemeta.json`, licence and notebooks are taken along.
        output: Must not exist, or be empty.

    Returns:
        Path of the metadata.

    Raises:
        ValueError: There are no results, or the folder holds something.
        RuntimeError: rocrate is not installed.
    """
    try:
        from rocrate.model.contextentity import ContextEntity
        from rocrate.rocrate import ROCrate
    except ModuleNotFoundError:
        raise RuntimeError("A crate needs rocrate: pip install 'seams[crate]'.") from None
    found = list(results)
    if not found:
        raise ValueError("A crate needs results; there are none: run a notebook first.")
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"`output` must be a new folder; {output} holds files. Name another.")
    crate = ROCrate(version="1.1")
    known = lambda id, **properties: crate.add(ContextEntity(crate, id, properties=properties))
    meta = json.loads((project / "codemeta.json").read_text(encoding="utf-8"))
    paper = meta["referencePublication"]
    profile = known(_PROFILE, **{"@type": "CreativeWork", "name": "Process Run Crate"})
    licence = known(meta["license"], **{"@type": "CreativeWork", "name": "Apache License 2.0"})
    author = known("#authors", **{"@type": "Organization", "name": meta["author"][0]["name"]})
    cited = known(paper["@id"], **{"@type": "ScholarlyArticle", "name": paper["name"]})
    names = ", ".join(dict.fromkeys(result.name for result in found))
    crate.name = f"Seams: results of {names}"
    crate.description = meta["description"]
    crate.root_dataset["license"], crate.root_dataset["author"] = licence, author
    crate.root_dataset["conformsTo"], crate.root_dataset["citation"] = profile, cited
    actions = []
    for result in found:
        where = result.numbers["environment"]
        software = known(
            f"#seams-{where.get('commit') or 'unknown'}",
            **{
                "@type": "SoftwareApplication",
                "name": meta["name"],
                "softwareVersion": f"{where.get('seams')}, commit {where.get('commit')}",
                "description": f"Python {where.get('python')}, torch {where.get('torch')}",
                "url": "https://doi.org/10.48550/arXiv.2410.22559",
            },
        )
        inputs = [
            known(
                f"#{result.name}-{result.profile}-{name}",
                **{"@type": "PropertyValue", "name": name, "value": json.dumps(value)},
            )
            for name, value in result.numbers["parameters"].items()
        ]
        for path in sorted((project / "notebooks").glob(f"{result.name}_*.ipynb")):
            inputs.append(_file(crate, path, f"notebooks/{path.name}", "Notebook, not executed"))
        outputs = [
            _file(crate, path, f"{result.profile}/{result.name}/{path.name}", _says(result, path))
            for path in sorted(result.folder.iterdir())
            if path.suffix in _KINDS and path.is_file()
        ]
        actions.append(
            known(
                f"#run-{result.name}-{result.profile}",
                **{
                    "@type": "CreateAction",
                    "name": f"seams run {result.name} --profile {result.profile}",
                    "description": _runs(result.numbers["runs"], where),
                    "actionStatus": "http://schema.org/CompletedActionStatus",
                },
            )
        )
        actions[-1]["instrument"] = software
        actions[-1]["object"], actions[-1]["result"] = inputs, outputs
    crate.root_dataset["mentions"] = actions
    crate.write(output)
    shutil.copy(project / "LICENSE", output / "LICENSE")
    return output / "ro-crate-metadata.json"


def _file(crate: Any, source: Path, place: str, says: str) -> Any:
    if (there := crate.get(place)) is not None:
        return there
    properties = {
        "name": says,
        "encodingFormat": _KINDS[source.suffix],
        "contentSize": str(source.stat().st_size),
    }
    return crate.add_file(source, place, properties=properties)


def _says(result: Result, path: Path) -> str:
    what = {"numbers.json": "numbers and claims", "notebook.ipynb": "executed notebook"}
    return f"{result.name}: {what.get(path.name, path.stem.replace('_', ' '))}"


def _runs(runs: Mapping[str, Any], where: Mapping[str, Any]) -> str:
    trained = f"{runs['count']} runs, trained in {runs.get('seconds', 0):.0f} s on "
    trained += f"{runs.get('device')} by {', '.join(runs.get('commits', ())) or 'this commit'}"
    drawn = f"drawn on {where.get('cpu')}, {where.get('platform')}"
    return f"{trained if runs.get('count') else 'No runs'}; {drawn}."
