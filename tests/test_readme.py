"""README's table is what `record/quick` holds; run this file to write it anew."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
FIGURES = {"fig02": "2", "fig05": "5", "fig11": "11"}
PAPER = {  # what the paper states; it gives no numbers for most
    "fig02": "plots only",
    "fig05": "plots only",
    "fig11": "pictures only",
}
START, END = "<!-- from record/quick -->\n", "<!-- end -->\n"


def table() -> str:
    lines = [
        "| figure | claim | reproduced | paper's value | ours (95 % interval) | n | command |",
        "|---|---|---|---|---|---|---|",
    ]
    machines = []
    for name, number in FIGURES.items():
        numbers = json.loads((ROOT / "record" / "quick" / f"{name}.json").read_text())
        for claim in numbers["claims"]:
            low, high = claim["uncertainty"]
            value = f"{claim['value']:.2g} ({low:.2g} to {high:.2g})"
            value += f", tolerance {claim['tolerance']}"
            cells = (number, claim["statement"], claim["verdict"], PAPER[name], value)
            command = f"`seams run {name}`"
            lines.append("| " + " | ".join([*cells, str(claim["n"]), command]) + " |")
        runs, where = numbers["runs"], numbers["environment"]
        machines.append(
            f"Figure {number}: {runs['count']} runs, {runs['trained_images'] / 1e6:.3g} million "
            f"images, on {where['cores']} cores of {where['cpu']}"
        )
    return "\n".join(lines) + "\n\n" + ". ".join(machines) + ".\n"


def test_the_table_is_the_record() -> None:
    readme = (ROOT / "README.md").read_text()
    assert readme.split(START)[1].split(END)[0] == table()


def test_recorded_claims_have_a_verdict_from_their_numbers() -> None:
    for name in FIGURES:
        numbers = json.loads((ROOT / "record" / "quick" / f"{name}.json").read_text())
        for claim in numbers["claims"]:
            sign, threshold = re.fullmatch(r"([<>]) (\S+)", claim["tolerance"]).groups()
            low, high = claim["uncertainty"]
            holds = low > float(threshold) if sign == ">" else high < float(threshold)
            assert claim["verdict"] == ("supported" if holds else "not supported"), claim["id"]


if __name__ == "__main__":
    readme = (ROOT / "README.md").read_text()
    before, rest = readme.split(START)
    (ROOT / "README.md").write_text(before + START + table() + END + rest.split(END)[1])
