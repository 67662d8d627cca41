"""What the benchmarks write about repeated measurements."""

import statistics
from typing import Any


def summary(values: list[float]) -> dict[str, Any]:
    """Median and spread, to four significant digits.

    Returns:
        Entries for JSON, in the unit of the values.
    """
    short = lambda value: float(f"{value:.4g}")
    return {
        "n": len(values),
        "median": short(statistics.median(values)),
        "min": short(min(values)),
        "max": short(max(values)),
        "each": [short(value) for value in values],
    }
