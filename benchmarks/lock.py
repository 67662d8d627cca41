"""Which licences the packages of requirements.lock have, and which of them have known faults.

    python benchmarks/lock.py       # in the environment of the lock

writes `benchmarks/results/lock.json`. Licences are what each package says of itself. Known faults
are asked of the package index by pip-audit, where that is installed (it is no part of the lock)
and the index answers; otherwise the file says of how many packages nothing is known.
"""

import importlib.metadata
import json
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from seams.training.provenance import environment

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
OUT = ROOT / "benchmarks" / "results" / "lock.json"
FAMILIES = (  # the first that a package's words name, so that of a choice the freer is taken
    ("MIT", r"\bMIT\b|\bMIT-"),
    ("BSD", r"BSD"),
    ("Apache 2.0", r"Apache"),
    ("ISC", r"\bISC\b"),
    ("Python", r"Python Software Foundation|\bPSF"),
    ("MPL 2.0", r"Mozilla|\bMPL\b"),
    ("Zope", r"Zope|\bZPL\b"),
    ("GPL", r"GPL|General Public"),
)


def pins() -> dict[str, str]:
    """Version by name, as locked."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def words(name: str) -> str:
    """What an installed package says of its licence."""
    facts = importlib.metadata.metadata(name)
    if expression := facts.get("License-Expression"):
        return str(expression)
    given = [text.split(" :: ")[-1] for text in facts.get_all("Classifier", [])
             if text.startswith("License :: ")]  # fmt: skip
    first = (facts.get("License") or "").strip().partition("\n")[0]
    return "; ".join(text for text in given if text != "OSI Approved") or first


def family(said: str) -> str:
    """The kind of licence; all of those that hold at once, if there are several."""
    parts = re.split(r"\bAND\b", said) if " OR " not in said and ";" not in said else [said]
    kinds = [next((k for k, rule in FAMILIES if re.search(rule, p)), "other") for p in parts]
    order = [kind for kind, _ in FAMILIES]
    return max(kinds, key=lambda kind: order.index(kind) if kind in order else -1)


def known_faults() -> dict[str, Any]:
    """What pip-audit finds, of how many packages, and of how many the index said nothing."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(LOCK), "--no-deps", "--disable-pip"]
    done = subprocess.run(
        [*command, "--format", "json", "--progress-spinner", "off"],
        capture_output=True,
        encoding="utf-8",
    )
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        found = []
    asked = [entry for entry in found if "vulns" in entry]
    return {
        "audited": len(asked),
        "not_audited": len(pins()) - len(asked),
        "found": {
            f"{entry['name']} {entry['version']}": [fault["id"] for fault in entry["vulns"]]
            for entry in asked
            if entry["vulns"]
        },
    }


def measured() -> dict[str, Any]:
    """Counts by kind, the packages of a kind that asks for more than credit, and known faults."""
    said = {name: words(name) for name in pins()}
    kinds = {name: family(text) for name, text in said.items()}
    free = ("MIT", "BSD", "Apache 2.0", "ISC", "Python", "Zope")
    return {
        "environment": environment(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "packages": len(said),
        "licences": dict(Counter(kinds.values()).most_common()),
        "asks_more": {n: said[n] for n, kind in kinds.items() if kind not in free},
        "faults": known_faults(),
    }


def main() -> None:
    """Write the file."""
    found = measured()
    OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
