"""What `seams.diagnosis` says of trained models by their decoders alone, as numbers and claims."""

import math
from collections.abc import Mapping

from seams.diagnosis import DecoderDiagnosis
from seams.paper.results import Results

__all__ = ["claim_alone"]

_TERMS = {"gram": ("gram_off_diagonal", "JᵀJ"), "c2": ("c2", "C2")}
_SEEN = (
    "Fixed before a decoder was diagnosed alone; the same scores at posterior draws were known."
)


def claim_alone(results: Results, found: Mapping[tuple[str, int], DecoderDiagnosis]) -> None:
    """Claim that a decoder at draws of the prior tells diagonal from full posteriors.

    `found` has a diagnosis by kind of posterior and seed.
    """
    kinds = list(dict.fromkeys(kind for kind, _ in found))
    of_kind = {kind: [f for (k, _), f in sorted(found.items()) if k == kind] for kind in kinds}
    for kind, of_seeds in of_kind.items():
        results.value(f"alone_verdict_{kind}", of_seeds[0].verdict)
        moving = [int(f.active.sum()) for f in of_seeds]
        results.value(f"alone_moving_{kind}", sum(moving) / len(moving))
    for term, (name, what) in _TERMS.items():
        ratios = {kind: [_ratio(f, name) for f in some] for kind, some in of_kind.items()}
        for kind, values in ratios.items():
            defined = [value for value in values if math.isfinite(value)]
            if defined:
                results.value(f"alone_{term}_{kind}", sum(defined) / len(defined))
        pairs = zip(ratios["diagonal"], ratios["full"], strict=True)
        results.claim(
            f"alone_{term}",
            f"The decoder alone, at draws of the prior, tells them apart: {what} in the latent "
            "axes over that in random ones (diagonal minus full).",
            [diagonal - full for diagonal, full in pairs],
            0.0,
            above=False,
            note=_SEEN,
        )


def _ratio(found: DecoderDiagnosis, name: str) -> float:
    own, random = getattr(found, name), found.random.get(name)
    return own.value / random if own is not None and random else math.nan
