"""How much faster is density mutual information than Monte Carlo, and how far apart are they?

Compared on posteriors of 10,000 images in 10 latents, made up so that latents follow one factor,
mix two, or are collapsed. Monte Carlo is the estimator of Chen et al. 2018 as their code runs it:
one draw per image, scored under the mixture over all images and, per factor, under the mixture
over the images with the same value, in float32. (Their cut to 10,000 draws changes nothing at
10,000 images.) Its standard errors come from the draws themselves.

Run as `python benchmarks/mutual_information.py`; writes
`benchmarks/results/mutual_information.json`. Times are CPU seconds of one thread, since other
programs may share the machine.
"""

import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from summaries import summary
from torch import Tensor

from seams.metrics import density_mutual_information

IMAGES, LATENTS, REPEATS = 10_000, 10, 3
SIZES = {"shape": 3, "scale": 6, "orientation": 40, "posX": 32, "posY": 32}
# Draws scored at once: 4 MB of densities in float32, the fastest of 10, 100 and 1,000 here.
BATCH = 100
RESULT = Path(__file__).parent / "results" / "mutual_information.json"


def make_posteriors() -> tuple[Tensor, Tensor, Tensor]:
    """Means, scales and factors: 5 latents of one factor each, 3 mixtures of two, 2 collapsed.

    Returns:
        Means and scales [image, latent], and factors [image, factor].
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(IMAGES, LATENTS, generator=generator, dtype=torch.float64)
    factors = torch.stack(
        [torch.randint(size, (IMAGES,), generator=generator) for size in SIZES.values()], 1
    )
    signal = factors.double()
    signal = (signal - signal.mean(0)) / signal.std(0)
    means = 0.01 * noise
    means[:, :5] += signal
    means[:, 5:8] += (signal[:, 1:4] + signal[:, 2:5]) / math.sqrt(2)
    spread = torch.randn(IMAGES, LATENTS, generator=generator, dtype=torch.float64)
    typical = torch.tensor([0.5, 0.3, 0.3, 0.1, 0.1, 0.2, 0.1, 0.05, 1.0, 1.0]).double()
    width = torch.tensor([0.3] * 8 + [0.01] * 2).double()
    return means, typical * torch.exp(width * spread), factors


def log_density(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Log density of each draw under the mixture of all given components.

    Returns:
        Nats [draw].
    """
    parts = []
    for part in z.split(BATCH):
        u = (part[:, None] - mean) / scale
        parts.append((-0.5 * u * u - scale.log()).logsumexp(1))
    constant = 0.5 * math.log(2 * math.pi) + math.log(len(mean))
    return torch.cat(parts).double() - constant


def information_by_draws(means: Tensor, scales: Tensor, factors: Tensor) -> Tensor:
    """Monte-Carlo twin of `density_mutual_information`, with its standard errors.

    Returns:
        Nats [estimate or standard error, latent, factor].
    """
    means, scales = means.float(), scales.float()
    z = means + scales * torch.randn_like(means)
    result = torch.zeros(2, LATENTS, len(SIZES), dtype=torch.float64)
    for j in range(LATENTS):
        marginal = log_density(z[:, j], means[:, j], scales[:, j])
        for k, size in enumerate(SIZES.values()):
            conditional = torch.zeros_like(marginal)
            for value in range(size):
                same = factors[:, k] == value
                conditional[same] = log_density(z[same, j], means[same, j], scales[same, j])
            ratio = conditional - marginal
            result[:, j, k] = torch.stack([ratio.mean(), ratio.std() / math.sqrt(IMAGES)])
    return result


def timed(function: Callable[..., Tensor], *args: Tensor) -> tuple[Tensor, float, float]:
    """One call.

    Returns:
        The result, CPU seconds and wall seconds.
    """
    cpu, wall = time.process_time(), time.perf_counter()
    result = function(*args)
    return result, time.process_time() - cpu, time.perf_counter() - wall


def processor() -> str:
    """Model name of the processor.

    Returns:
        As the system gives it.
    """
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    """Time both, compare both, write the result."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    posteriors = make_posteriors()
    density_mutual_information(*posteriors)
    log_density(torch.zeros(BATCH), posteriors[0][:, 0].float(), posteriors[1][:, 0].float())
    values: dict[str, list[Tensor]] = {"density": [], "draws": []}
    cpu: dict[str, list[float]] = {"density": [], "draws": []}
    wall: dict[str, list[float]] = {"density": [], "draws": []}
    # In turn, so that a busy phase of the machine meets both.
    for _ in range(REPEATS):
        for name, function in (
            ("density", density_mutual_information),
            ("draws", information_by_draws),
        ):
            value, cpu_seconds, wall_seconds = timed(function, *posteriors)
            values[name].append(value)
            cpu[name].append(cpu_seconds)
            wall[name].append(wall_seconds)
    density = values["density"][0]
    estimates, errors = torch.stack(values["draws"]).unbind(1)
    difference = (estimates - density).abs()
    # Four times as many points as any latent needs here: the error of the grid alone.
    finer = density_mutual_information(*posteriors, grid=8192)
    result = {
        "question": "density form against 10,000-draw Monte Carlo: time and difference",
        "images": IMAGES,
        "latents": LATENTS,
        "factors": SIZES,
        "draws": IMAGES,
        "cpu_seconds": {name: summary(seconds) for name, seconds in cpu.items()},
        "wall_seconds": {name: summary(seconds) for name, seconds in wall.items()},
        "ratio": round(statistics.median(cpu["draws"]) / statistics.median(cpu["density"]), 1),
        "difference_nats": {
            "n": difference.numel(),
            "median": difference.median().item(),
            "largest": difference.max().item(),
            "largest_of_the_mean_over_repeats": (estimates.mean(0) - density).abs().max().item(),
            "largest_in_standard_errors": (difference / errors).max().item(),
        },
        "monte_carlo_standard_error_nats": {
            "median": errors.median().item(),
            "largest": errors.max().item(),
        },
        "density_error_nats": {
            "against_a_finer_grid": (density - finer).abs().max().item(),
            "between_repeats": (torch.stack(values["density"]) - density).abs().max().item(),
        },
        "largest_information_nats": density.max().item(),
        "environment": {
            "device": "cpu",
            "processor": processor(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "system": platform.system(),
            "dtype": {"density": "float64", "draws": "float32"},
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
