"""What a notebook leaves behind: figures, and every number that the text quotes, in one folder."""

import json
import math
import numbers
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, SupportsFloat

import matplotlib.pyplot as plt
import torch
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from seams.metrics import difference_interval, mean_interval
from seams.paper.parameters import Parameter, check
from seams.project import project_root
from seams.training import Run
from seams.training.provenance import environment

__all__ = ["Results", "Verdict", "mean_with_interval"]

Verdict = Literal["supported", "not supported", "not testable at this scale"]

_DPI = 200  # of what is not drawn as lines
_DIGITS = 6  # significant; more would differ between machines without meaning anything


class Results:
    """Figures, values and claims of a notebook; `output` is their folder, "" for the default."""

    def __init__(
        self, name: str, profile: str, output: str, parameters: Mapping[str, Any]
    ) -> None:
        self.name, self.parameters = name, dict(parameters)
        self.folder = Path(output) if output else project_root() / "results" / "notebook" / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.content: dict[str, Any] = {
            "name": name,
            "profile": profile,
            "parameters": dict(parameters),
            "values": {},
            "claims": [],
            "runs": {"count": 0, "trained_images": 0, "seconds": 0.0, "device": "none"},
            "environment": environment(),
        }

    @classmethod
    def of(cls, name: str, namespace: Mapping[str, Any]) -> "Results":
        """Empty results of the notebook that calls this with `globals()`: parameters checked."""
        # papermill, called directly, injects whatever it is given: refuse it before training.
        kinds = dict(namespace["__annotations__"])
        values = {n: namespace[n] for n in kinds.keys() - {"profile", "output"}}
        for cell in namespace.get("In", ()):  # what IPython has executed
            if cell.startswith("# Parameters\n"):  # papermill's own
                injected = re.findall(r"^(\w+) = ", cell, re.MULTILINE)
                values |= {n: namespace[n] for n in injected if n not in ("profile", "output")}
        example = {n: kind() for n, kind in kinds.items()}
        known = {n: Parameter(n, kind, example[n], "") for n, kind in kinds.items()}
        checked = check(values, known, name)
        parameters = {n: checked[n] for n in kinds if n in checked}
        return cls(name, namespace["profile"], namespace["output"], parameters)

    def figure(self, figure: Figure, name: str = "figure") -> None:
        """Save a figure as SVG for the book and PDF for a paper; a notebook shows the SVG."""
        # Laid out and drawn once a file: each takes seconds, and `Figure.savefig` does them twice.
        figure.set_dpi(_DPI)
        FigureCanvasSVG(figure).print_svg(self.folder / f"{name}.svg")
        figure.set_layout_engine("none")
        figure.set_dpi(_DPI)
        FigureCanvasPdf(figure).print_pdf(self.folder / f"{name}.pdf")
        plt.close(figure)
        if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()):
            drawn = (self.folder / f"{name}.svg").read_text(encoding="utf-8")
            shell.display_pub.publish({"image/svg+xml": drawn, "text/plain": f"{name}.svg"})

    def value(self, name: str, value: SupportsFloat | str) -> None:
        """Record a finite number or text that pages quote by a unique name: letters, digits, _."""
        if name in self.content["values"]:
            raise ValueError(f"The value {name!r} is recorded twice; name one of them otherwise.")
        if not isinstance(value, str) and not math.isfinite(value):
            raise ValueError(f"The value {name!r} must be finite; got {value}. Leave it out.")
        self.content["values"][name] = _rounded(value)

    def claim(
        self,
        id: str,
        statement: str,
        values: Sequence[float],
        threshold: float,
        above: bool = True,
        unit: str = "",
        note: str = "",
        minus: Sequence[float] | None = None,
        undecided: str = "",
    ) -> Verdict:
        """Test a claim of the paper on one number a seed, and give the verdict.

        Supported if the 95 % interval of their mean lies wholly on the claimed side. NaN, where
        the quantity is not defined, is left out; of fewer than two values (in a group), of two
        whose interval, wide as it is, holds the threshold, and in the smoke profile, whose models
        are hardly trained, nothing is said.

        Args:
            id: Letters, digits and underscores; unique.
            statement: The claim in our words.
            values: The quantity, one a seed.
            threshold: Fixed before the run.
            above: Whether the claim is that the quantity lies above the threshold, or below.
            unit: Of the quantity.
            note: What a reader should know beside the verdict.
            minus: The quantity in another group of runs, whose mean is subtracted; the interval is
                then Welch's, and n the number of runs in the smaller group.
            undecided: Why such runs cannot decide it, whatever their values, if they cannot.

        Returns:
            The verdict.

        Raises:
            ValueError: The id is taken.
        """
        if any(claim["id"] == id for claim in self.content["claims"]):
            raise ValueError(f"The claim {id!r} is recorded twice; name one of them otherwise.")
        groups = [[float(v) for v in some if math.isfinite(v)] for some in (values, minus or ())]
        defined = min(groups[: 1 if minus is None else 2], key=len)
        mean, low, high = _difference(*groups) if minus is not None else _mean(groups[0])
        verdict: Verdict = "not testable at this scale"
        testable = len(defined) > 1 and self.content["profile"] != "smoke" and not undecided
        if testable and low is not None and high is not None:
            # As shown: a rounding error in the last bit must not carry an end over the threshold.
            over, under = _rounded(low) > threshold, _rounded(high) < threshold
            holds, fails = (over, under) if above else (under, over)
            if holds or fails or len(defined) > 2:
                verdict = "supported" if holds else "not supported"
        self.content["claims"].append(
            {
                "id": id,
                "statement": statement,
                "value": _rounded(mean),
                "uncertainty": [_rounded(low), _rounded(high)],
                "n": len(defined),
                "unit": unit,
                "tolerance": f"{'>' if above else '<'} {threshold:g}",
                "verdict": verdict,
                "note": " ".join(filter(None, (note, undecided))),
            }
        )
        return verdict

    def runs(self, runs: Sequence[Run]) -> None:
        """Record what was trained for a figure, and how long that took when it was."""
        unique = {run.id: run for run in runs}.values()
        known = self.content["runs"]
        devices = {run.provenance["device"] for run in unique}
        if known["count"]:
            devices |= set(known["device"].split(", "))
        known["count"] += len(unique)
        known["trained_images"] += sum(run.config.steps * run.config.batch for run in unique)
        known["seconds"] = round(
            known["seconds"] + sum(run.provenance["seconds"] for run in unique), 1
        )
        known["device"] = ", ".join(sorted(devices))
        # Not that of this clone, where runs come from the record.
        commits = {str(run.provenance.get("commit"))[:12] for run in unique}
        known["commits"] = sorted(commits.union(known.get("commits", ())) - {"None"})

    def write(self) -> Path:
        """Write `numbers.json`, and return its path."""
        path = self.folder / "numbers.json"
        content = json.dumps(self.content, indent=1, sort_keys=True, allow_nan=False)
        path.write_text(content + "\n", encoding="utf-8")
        return path


def _rounded(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):  # also numpy's
        return int(value)
    return float(f"{float(value):.{_DIGITS}g}")


def _mean(values: list[float]) -> tuple[float, float, float] | tuple[None, None, None]:
    return mean_with_interval(values) if values else (None, None, None)


def _difference(
    values: list[float], others: list[float]
) -> tuple[float, float, float] | tuple[None, None, None]:
    """Of two means, with its interval; without one where a group has a single run."""
    if not values or not others:
        return None, None, None
    one, other = (torch.tensor(v, dtype=torch.float64) for v in (values, others))
    centre = float(one.mean() - other.mean())
    if min(len(one), len(other)) < 2:
        return centre, centre, centre
    return centre, *difference_interval(one, other)


def mean_with_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean over seeds, and both ends of its 95 % interval by Student's t; NaN if a value is."""
    sample = torch.tensor([float(value) for value in values], dtype=torch.float64)
    mean = float(sample.mean())
    if len(sample) == 1:
        return mean, mean, mean
    low, high = mean_interval(sample)
    return mean, float(low), float(high)
