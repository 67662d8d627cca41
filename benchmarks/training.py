"""How many images a second do we train, alone and stacked, and how do others fare?

Questions, each a word on the command line; without one, all of them:

* `one`: one model, the network of Burgess 2018 at 64 x 64, batch 64, float32. Ours against the
  trainer of disentangling-vae (`--peer FOLDER`, a checkout) and that of pythae, if they are there:
  *compute* is one optimiser step on a batch at hand, *end to end* includes drawing the batch.
* `stack`: images a second against the number of models in a stack, beside training the same models
  one after another; small fully connected nets at 16 x 16, and with a GPU the 64 x 64 net too.
* `growth`: the cost of a step as data, latents and pixels grow.

Run as `python benchmarks/training.py [QUESTION ...] [--peer FOLDER] [--device cuda]`; each writes
`benchmarks/results/training_QUESTION.json` with its environment. Contestants take turns, so that a
machine that speeds up or slows down does so for all; ratios are medians over the turns.
"""

import argparse
import importlib
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from seams.data import Samples
from seams.sweep.cost import measure
from seams.training import Stack, TrainConfig, loop, train
from seams.training.provenance import environment

RESULTS = Path(__file__).parent / "results"
TURNS = 7
STEPS = 20  # of a call of ours; 1 of the network of Burgess, whose steps are long
IMAGES = (
    8192  # of noise, as many pixels on as in dSprites: the cost of a step is that of real ones
)


def noise_images(pixels: int, images: int = IMAGES, device: str = "cpu") -> Samples:
    """Random black and white images.

    Returns:
        A data set.
    """
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(images, pixels, generator=generator) < 0.043).float()
    return Samples(x).to(torch.device(device))


def stepper(
    configs: list[TrainConfig], data: Samples, device: str = "cpu", steps: int = STEPS
) -> Callable[[], Any]:
    """A call that trains a stack for some steps, draws, batches and log included.

    Returns:
        The call.
    """
    loop.CHUNK = steps
    long = [replace(config, images=10**9) for config in configs]
    chunks = train(Stack.start(long, data, device), data)
    return lambda: next(chunks)


def rates(
    contestants: dict[str, tuple[Callable[[], None], int]], device: str, steps: int
) -> dict[str, Any]:
    """Images a second of each contestant, in turns after one turn that does not count.

    Returns:
        For each its rates, their median and spread.
    """
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(TURNS + 1):
        for name, (call, images) in contestants.items():
            start = time.perf_counter()
            for _ in range(steps):
                call()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn:
                found[name].append(steps * images / (time.perf_counter() - start))
    return {
        name: {
            "images_per_second": [round(v) for v in values],
            "median": round(statistics.median(values)),
            "spread": [round(min(values)), round(max(values))],
            "n": len(values),
        }
        for name, values in found.items()
    }


def disentangling_vae(folder: Path, x: Tensor) -> dict[str, Callable[[], None]]:
    """Its own `Trainer._train_iteration` on its own Burgess network, without and with its loader.

    Returns:
        Calls by name.
    """
    sys.path.insert(0, str(folder))
    if not hasattr(numpy, "product"):
        numpy.product = numpy.prod  # type: ignore[attr-defined]  # it was written for numpy 1
    models = importlib.import_module("disvae.models.vae")
    losses = importlib.import_module("disvae.models.losses")
    training = importlib.import_module("disvae.training")
    model = models.init_specific_model("Burgess", (1, 64, 64), 10).to(x.device)
    trainer = training.Trainer.__new__(training.Trainer)  # its __init__ opens a log file
    trainer.device, trainer.model = x.device, model
    trainer.loss_f = losses.BetaHLoss(beta=4, rec_dist="gaussian", steps_anneal=0)
    trainer.optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    images = x.unflatten(1, (1, 64, 64))
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images, images[:, 0, 0, 0]), batch_size=64, shuffle=True
    )
    batches = iter([])

    def from_loader() -> None:
        nonlocal batches
        batch = next(batches, None)
        if batch is None:
            batches = iter(loader)
            batch = next(batches)
        trainer._train_iteration(batch[0], None)

    return {
        "compute": lambda: trainer._train_iteration(images[:64], None),
        "end to end": from_loader,
    }


def pythae(x: Tensor) -> dict[str, Callable[[], None]]:
    """The loop body of pythae's BaseTrainer on the same architecture with ReLU.

    Returns:
        Calls by name.
    """
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    from seams.networks import burgess_decoder, burgess_features

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.features = burgess_features(64, activation="relu")
            self.mean, self.log_variance = torch.nn.Linear(256, 10), torch.nn.Linear(256, 10)

        def forward(self, x: Tensor) -> ModelOutput:
            hidden = self.features(x.flatten(1))
            return ModelOutput(
                embedding=self.mean(hidden), log_covariance=self.log_variance(hidden)
            )

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = burgess_decoder(10, 64, activation="relu")

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.network(z).unflatten(1, (1, 64, 64)))

    settings = VAEConfig(input_dim=(1, 64, 64), latent_dim=10)
    model = VAE(settings, encoder=Encoder(), decoder=Decoder())
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    images = x.unflatten(1, (1, 64, 64))
    data = BaseDataset(images, torch.zeros(len(images)))
    loader = torch.utils.data.DataLoader(data, batch_size=64, shuffle=True)
    batches = iter([])

    def step(inputs: Any) -> None:
        output = model(inputs, epoch=1, dataset_size=len(data), uses_ddp=False)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        output.loss.item()

    def from_loader() -> None:
        nonlocal batches
        batch = next(batches, None)
        if batch is None:
            batches = iter(loader)
            batch = next(batches)
        step(batch)

    first = next(iter(loader))
    return {"compute": lambda: step(first), "end to end": from_loader}


def contestant(name: str, peer: Path | None, connection: Any) -> None:
    """Body of a process: make what one contestant calls, then take steps when asked to.

    Contestants are processes because some of what makes ours fast, the reuse of freed memory, is a
    setting of the whole process.
    """
    x = noise_images(64 * 64)
    if name.startswith("seams"):
        activation: Any = "relu" if "ReLU" in name else "silu"
        call = stepper([TrainConfig(activation=activation)], x, steps=1)
    else:
        trainer, _, kind = name.partition(", ")
        calls = pythae(x.x) if trainer == "pythae" else disentangling_vae(peer or Path(), x.x)
        call = calls[kind]
    while steps := connection.recv():
        start = time.perf_counter()
        for _ in range(steps):
            call()
        connection.send(time.perf_counter() - start)


def elsewhere(name: str, peer: Path | None) -> tuple[Callable[[], None], int]:
    """A call that takes one step of a contestant in its own process, and the images in it.

    Returns:
        Call and images.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    context.Process(target=contestant, args=(name, peer, there), daemon=True).start()

    def call() -> None:
        here.send(1)
        here.recv()

    return call, 64


def floors() -> dict[str, Any]:
    """Images a second that arithmetic alone, or memory traffic alone, would allow one model.

    Arithmetic at the rate of a product of two matrices of 1,024 x 1,024, traffic at that of a
    copy of 256 MB, both measured here with the threads that train.

    Returns:
        Both rates, what a step needs, and images a second.
    """
    config = TrainConfig()
    cost = measure([config], noise_images(64 * 64), "cpu")
    a, b = torch.randn(2, 1024, 1024)
    source, target = torch.randn(2, 2**26)

    def best(call: Callable[[], Any]) -> float:
        times = []
        for _ in range(20):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return min(times)

    arithmetic = 2 * 1024**3 / best(lambda: a @ b)
    traffic = 2 * source.nbytes / best(lambda: target.copy_(source))
    return {
        "operations a second": arithmetic,
        "bytes a second": traffic,
        "operations an image": cost.step_flops / config.batch,
        "bytes an image": cost.step_traffic / config.batch,
        "images a second, arithmetic": round(config.batch * arithmetic / cost.step_flops),
        "images a second, memory traffic": round(config.batch * traffic / cost.step_traffic),
    }


def one(peer: Path | None, device: str) -> dict[str, Any]:
    """One model against others, on a CPU.

    Returns:
        Rates, and our ratio to each, with their spread over the turns.
    """
    names = ["seams, end to end", "seams with ReLU, end to end"]
    if peer:
        names += ["disentangling-vae, compute", "disentangling-vae, end to end"]
    if importlib.util.find_spec("pythae"):
        names += ["pythae, compute", "pythae, end to end"]
    found = rates({name: elsewhere(name, peer) for name in names}, "cpu", steps=6)
    ratios = {
        f"{own} / {name}": ratio(found[f"{own}, end to end"], found[name])
        for own in ("seams", "seams with ReLU")
        for name in names
        if "seams" not in name
    }
    limits = floors()
    own = found["seams, end to end"]["median"]
    shares = {
        kind: round(own / limits[f"images a second, {kind}"], 2)
        for kind in ("arithmetic", "memory traffic")
    }
    return {
        "rates": found,
        "ratios": ratios,
        "floors": limits,
        "share of the floor": shares,
        "threads": torch.get_num_threads(),
    }


def ratio(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Our rate over theirs, turn by turn.

    Returns:
        Median, spread and number of turns.
    """
    turns = zip(ours["images_per_second"], theirs["images_per_second"], strict=True)
    values = sorted(a / b for a, b in turns)
    return {
        "median": round(statistics.median(values), 2),
        "spread": [round(values[0], 2), round(values[-1], 2)],
        "n": len(values),
    }


def stack(peer: Path | None, device: str) -> dict[str, Any]:
    """Rates against the number of stacked models.

    Returns:
        Rates by network and number, and the ratio to one at a time.
    """
    networks = {"mlp at 16 x 16": TrainConfig(network="mlp", resolution=16, sigma=0.25, batch=128)}
    if device == "cuda":
        networks["burgess at 64 x 64"] = TrainConfig(precision="bfloat16")
    report: dict[str, Any] = {"threads": torch.get_num_threads()}
    for label, base in networks.items():
        data = noise_images(base.resolution**2, device=device)
        contestants = {}
        for models in (1, 2, 4, 8, 16, 32, 64, 128):
            fields = {f: base[f] for f in ("network", "resolution", "sigma", "batch", "precision")}
            configs = [TrainConfig(**fields, seed=s) for s in range(models)]
            call = stepper(configs, data, device)
            contestants[str(models)] = (call, models * base.batch * STEPS)
        found = rates(contestants, device, steps=1 if device == "cpu" else 5)
        alone = found["1"]["median"]
        gains = {n: round(r["median"] / alone, 2) for n, r in found.items()}
        report[label] = {"rates": found, "gain over one at a time": gains}
    return report


def growth(peer: Path | None, device: str) -> dict[str, Any]:
    """Rates as the data set, the latents and the pixels grow.

    Returns:
        Rates by what grows.
    """
    base = {"network": "mlp", "sigma": 0.25, "batch": 128}
    small = [TrainConfig(**base, resolution=16, seed=s) for s in range(8)]
    report: dict[str, Any] = {"threads": torch.get_num_threads(), "models": len(small)}
    report["images in the data set"] = rates(
        {
            str(n): (stepper(small, noise_images(256, n, device), device), 8 * 128 * STEPS)
            for n in (1024, 16_384, 262_144)
        },
        device,
        1,
    )
    data = noise_images(256, device=device)
    report["latents, full posterior"] = rates(
        {
            str(d): (
                stepper(
                    [
                        TrainConfig(**base, resolution=16, latent=d, covariance="full", seed=s)
                        for s in range(8)
                    ],
                    data,
                    device,
                ),
                8 * 128 * STEPS,
            )
            for d in (2, 10, 32, 64)
        },
        device,
        1,
    )
    report["pixels along an edge"] = rates(
        {
            str(side): (
                stepper(
                    [TrainConfig(**base, resolution=side, seed=s) for s in range(8)],
                    noise_images(side * side, device=device),
                    device,
                ),
                8 * 128 * STEPS,
            )
            for side in (8, 16, 32, 64)
        },
        device,
        1,
    )
    return report


def main() -> None:
    """Answer the questions asked and write the results."""
    questions = {"one": one, "stack": stack, "growth": growth}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("questions", nargs="*", choices=[*questions, []], default=[*questions])
    parser.add_argument("--peer", type=Path, help="folder of a checkout of disentangling-vae")
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    for name in chosen.questions:
        report = questions[name](chosen.peer, chosen.device)
        content = {"question": name, "environment": environment()} | report
        suffix = "_gpu" if chosen.device == "cuda" else ""
        path = RESULTS / f"training_{name}{suffix}.json"
        path.write_text(json.dumps(content, indent=1) + "\n")
        print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
