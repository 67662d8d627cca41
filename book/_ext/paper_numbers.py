"""Number equations, figures and theorems as the paper does, by their labels.

Sphinx counts; a companion must not. The label says the number: `eq-6` is Eq. 6, `lem-4.1` is
Lemma 4.1, `def-D1` is Definition D1, `fig05-quick-heatmaps` is Figure 5, quick profile, heatmaps;
`eq06-quick-figure`, a figure that the paper lacks, is Figure eq06. What the paper does not number
has an S: `eq-s1` is Eq. S1.
"""

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

PLAIN = re.compile(r"(?:equation-)?(?:eq|fig|def|prop|lem|thm|cor|rem)-([0-9A-Za-z.]+)")
RUN = re.compile(r"([a-z]+\d*)-([a-z]+)-([a-z0-9-]+)")


def number(label: str) -> str | None:
    """The number that `label` spells, or None if it spells none."""
    if plain := PLAIN.fullmatch(label):
        return plain[1].upper() if plain[1].startswith("s") else plain[1]
    if run := RUN.fullmatch(label.partition("-on-")[0]):
        panel = "" if run[3] in {"figure", "cover"} else f", {run[3].replace('-', ' ')}"
        name = str(int(run[1][3:])) if re.fullmatch(r"fig\d+", run[1]) else run[1]
        return f"{name}, {run[2]} profile{panel}"
    return None


def renumber(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Replace the numbers that Sphinx has just counted."""
    for kinds in env.toc_fignumbers.values():
        for labels in kinds.values():
            for label in labels:
                spelled = number(label)
                if spelled is not None:
                    labels[label] = (spelled,)  # type: ignore[assignment]
    return []


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    # Sphinx counts in a listener of the same event, at the usual priority of 500.
    app.connect("env-get-updated", renumber, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
