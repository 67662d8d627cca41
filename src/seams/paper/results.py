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

from seams.metrics import mean_interval
from seams.paper.parameters import Parameter, check
from seams.project import project_root
from seams.training import Run
from seams.training.provenance import environment

__all__ = ["Results", "Verdict", "mean_with_interval"]

Verdict = Literal["supported", "not supported", "not testable at this scale"]

_DPI = 200  # of what is not drawn as lines
_DIGITS = 6  # significant; more would differ between machines without meaning anything


class Results:
    """Collects the figures, values and claims of one notebook, and writes them.

    Args:
        name: Of the figure, such as "fig05".
        profile: Which set of parameters ran.
        output: Folder to write to; empty for `results/notebook/<name>` under the project.
        parameters: The notebook's parameters, as they were used.
    """

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
        """The same for the notebook that calls it, from its parameters cell.

        papermill, called directly, injects whatever it is given: an unknown name or a value of
        another type is refused here, before anything is trained.

        Args:
            name: Of the figure, such as "fig05".
            namespace: `globals()`; its annotated names are the notebook's parameters.

        Returns:
            Empty results, with all parameters but `profile` and `output` in `parameters`.
        """
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
        """Save a figure as SVG for the book and as PDF for a paper; a notebook shows the SVG.

        The figure is laid out once and drawn once for each file, then closed: each of these takes
        seconds where there are many axes, and `Figure.savefig` does them twice.

        Args:
            figure: The figure.
            name: File name without its ending.
        """
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
        """Record a number that the text quotes.

        Args:
            name: Letters, digits and underscores; unique.
            value: A finite number, or text.

        Raises:
            ValueError: The name is taken, or the number is not finite.
        """
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
    ) -> Verdict:
        """Test a claim of the paper on one number a seed.

        Supported if the 95 % interval of the mean over seeds lies wholly on the claimed side of
        the threshold. A seed where the quantity is not defined (NaN) is left out; with
        fewer than two, and in the smoke profile, whose models are hardly trained, nothing can be
        said.

        Args:
            id: Letters, digits and underscores.
            statement: The claim in our words.
            values: The quantity, one a seed.
            threshold: Fixed before the run.
            above: Whether the claim is that the quantity lies above the threshold, or below.
            unit: Of the quantity.
            note: What a reader should know beside the verdict.

        Returns:
            The verdict.

        Raises:
            ValueError: The id is taken.
        """
        if any(claim["id"] == id for claim in self.content["claims"]):
            raise ValueError(f"The claim {id!r} is recorded twice; name one of them otherwise.")
        defined = [float(v) for v in values if math.isfinite(v)]
        mean, low, high = mean_with_interval(defined) if defined else (None, None, None)
        verdict: Verdict = "not testable at this scale"
        testable = len(defined) > 1 and self.content["profile"] != "smoke"
        if testable and low is not None and high is not None:
            # As shown: a rounding error in the last bit must not carry an end over the threshold.
            holds = _rounded(low) > threshold if above else _rounded(high) < threshold
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
                "note": note,
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

    def write(self) -> Path:
        """Write `numbers.json`, and return its path."""
        path = self.folder / "numbers.json"
        path.write_text(json.dumps(self.content, indent=1, sort_keys=True, allow_nan=False) + "\n")
        return path


def _rounded(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):  # also numpy's
        return int(value)
    return float(f"{float(value):.{_DIGITS}g}")


def mean_with_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean over seeds with its 95 % interval, that of Student's t.

    Args:
        values: One a seed.

    Returns:
        Mean, lower end, upper end; all equal for one value, all NaN if one is.
    """
    sample = torch.tensor([float(value) for value in values], dtype=torch.float64)
    mean = float(sample.mean())
    if len(sample) == 1:
        return mean, mean, mean
    low, high = mean_interval(sample)
    return mean, float(low), float(high)
