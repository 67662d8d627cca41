"""A stack: runs of one shape whose parameters, moments and history have a leading run axis."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from seams.data import Data
from seams.networks import GaussianEncoder, LinearEncoder, burgess_decoder, burgess_features, mlp
from seams.training.config import TrainConfig, stack_key
from seams.vae import VAE

__all__ = ["Stack", "build", "data_of", "seed_of"]

_EVALUATION_BATCH = 4096  # images at a time where no gradient is kept


def build(config: TrainConfig, data: int, mean: Tensor | None = None) -> VAE:
    """A model with the initial weights that the run's seed gives.

    Args:
        config: The run.
        data: Size of one flat datum.
        mean: Mean of the data `[data]`. The decoder's last bias starts there, one of the things
            that keep a run off the collapsed plateau.

    Returns:
        The model, on the CPU, float32.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config.seed, "weights"))
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            vae = _untrained(config, data)
        finally:
            torch.set_default_dtype(default)
    if mean is not None:
        _start_at_mean(vae, mean)
    return vae


def _untrained(config: TrainConfig, data: int) -> VAE:
    """Decoder first, so that it starts the same whatever heads the encoder's covariance needs."""
    encoder: nn.Module
    if config.network == "linear":
        network = mlp(config.latent, 0, 0, data)
        encoder = LinearEncoder(data, config.latent, config.covariance)
    elif config.network == "mlp":
        network = mlp(config.latent, config.width, config.depth, data, config.activation)
        features = mlp(data, config.width, config.depth, None, config.activation)
        size = config.width if config.depth else data
        encoder = GaussianEncoder(features, size, config.latent, config.covariance)
    else:
        channels = data // config.resolution**2
        if channels * config.resolution**2 != data:
            raise ValueError(
                f"'burgess' needs square images of side {config.resolution}; got {data} values."
            )
        network = burgess_decoder(config.latent, config.resolution, channels, config.activation)
        features = burgess_features(config.resolution, channels, config.activation)
        encoder = GaussianEncoder(features, 256, config.latent, config.covariance)
    return VAE(encoder, network, config.sigma, config.likelihood)


def _start_at_mean(vae: VAE, mean: Tensor) -> None:
    """Set the last bias of the decoder to the data's mean (its logit for a Bernoulli)."""
    *_, bias = (p for name, p in vae.network.named_parameters() if name.endswith("bias"))
    mean = mean.float().unflatten(0, (bias.numel(), -1)).mean(1)  # a convolution: one a channel
    if vae.likelihood == "bernoulli":
        mean = mean.clamp(1e-3, 1 - 1e-3).logit()  # finite where a pixel is always off
    with torch.no_grad():
        bias.copy_(mean)


def seed_of(seed: int, *what: object) -> int:
    """63 bits that depend on the run's seed and on the purpose, unrelated for different ones.

    Args:
        seed: The run's.
        *what: The purpose.

    Returns:
        A seed for a generator of torch.
    """
    text = "/".join(str(part) for part in (seed, *what))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@dataclass
class Stack:
    """Runs that train as one: parameters, Adam's moments and history with a leading run axis.

    Attributes:
        configs: One a run.
        model: A template; its own weights are unused.
        params: Name to `[run, *shape]`.
        moments: Adam's first and second moment of each parameter, as `params`.
        step: Steps done.
        history: Rows of `Progress`, as tensors `[chunk, run]` by name.
        snapshots: Step to parameters `[run, *shape]`.
    """

    configs: list[TrainConfig]
    model: VAE
    params: dict[str, Tensor]
    moments: dict[str, tuple[Tensor, Tensor]]
    step: int = 0
    history: dict[str, list[Tensor]] = field(default_factory=dict)
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    @classmethod
    def start(
        cls,
        configs: Sequence[TrainConfig],
        data: Data | Mapping[str, Any],
        device: torch.device | str = "cpu",
    ) -> "Stack":
        """Initial weights of every run.

        Args:
            configs: Runs with equal `stack_key`.
            data: What they train on, or by name what each does; its mean is taken from at most
                65,536 data, evenly spaced.
            device: Where to train.

        Returns:
            The stack at step 0.

        Raises:
            ValueError: No run, or runs that cannot be stacked.
        """
        configs = list(configs)
        if not configs or any(stack_key(c) != stack_key(configs[0]) for c in configs):
            raise ValueError(
                "A stack needs one run or more that differ only in beta, its schedule and seed."
            )
        means = {
            c.dataset: _mean(data_of(data, c)) for c in {c.dataset: c for c in configs}.values()
        }
        models = [build(c, means[c.dataset].numel(), means[c.dataset]) for c in configs]
        params = {
            name: torch.stack([dict(m.named_parameters())[name].detach() for m in models]).to(
                device
            )
            for name, _ in models[0].named_parameters()
        }
        moments = {k: (torch.zeros_like(p), torch.zeros_like(p)) for k, p in params.items()}
        return cls(configs, models[0].to(device), params, moments)

    def keep(self, runs: Sequence[int]) -> None:
        """Drop all runs but these.

        Args:
            runs: Positions in `configs`.
        """
        index = torch.as_tensor(list(runs), dtype=torch.long)
        pick = lambda t: t[index.to(t.device)]
        self.configs = [self.configs[i] for i in runs]
        self.params = {k: pick(p) for k, p in self.params.items()}
        self.moments = {k: (pick(a), pick(b)) for k, (a, b) in self.moments.items()}
        self.history = {k: [pick(row) for row in rows] for k, rows in self.history.items()}
        self.snapshots = {
            s: {k: pick(p) for k, p in params.items()} for s, params in self.snapshots.items()
        }

    def state(self, run: int) -> dict[str, Tensor]:
        """Everything needed to go on with one run, as named CPU tensors.

        Args:
            run: Position in `configs`.

        Returns:
            Tensors by name; `Stack.resume` takes them back.
        """
        state = {"step": torch.tensor(self.step)}
        for name, param in self.params.items():
            first, second = self.moments[name]
            state |= {f"params/{name}": param[run]}
            state |= {f"first/{name}": first[run], f"second/{name}": second[run]}
        for name, rows in self.history.items():
            state[f"history/{name}"] = torch.stack([row[run] for row in rows])
        for step, params in self.snapshots.items():
            state |= {f"snapshot/{step}/{name}": p[run] for name, p in params.items()}
        return {k: v.detach().cpu().clone().contiguous() for k, v in state.items()}

    @classmethod
    def resume(
        cls,
        configs: Sequence[TrainConfig],
        states: Sequence[dict[str, Tensor]],
        data: Data | Mapping[str, Any],
        device: torch.device | str = "cpu",
    ) -> "Stack":
        """A stack from the states of its runs, all at the same step.

        Args:
            configs: One a run.
            states: What `state` returned for each.
            data: What they train on.
            device: Where to go on.

        Returns:
            The stack, at the step where the states were taken.

        Raises:
            ValueError: The states are not all of one step.
        """
        steps = {int(state["step"]) for state in states}
        if len(steps) != 1:
            raise ValueError(f"Runs of a stack must be at one step; got {sorted(steps)}.")
        stack = cls.start(configs, data, device)
        stack.step = steps.pop()
        gather = lambda key: torch.stack([state[key] for state in states]).to(device)
        stack.params = {k: gather(f"params/{k}") for k in stack.params}
        stack.moments = {k: (gather(f"first/{k}"), gather(f"second/{k}")) for k in stack.params}
        for key in states[0]:
            kind, _, rest = key.partition("/")
            if kind == "history":
                stack.history[rest] = list(gather(key).cpu().T)
            elif kind == "snapshot":
                step, _, name = rest.partition("/")
                stack.snapshots.setdefault(int(step), {})[name] = gather(key)
        return stack


def data_of(data: Data | Mapping[str, Any], config: TrainConfig) -> Data:
    """What one run of a stack trains on.

    Args:
        data: As given to `train`.
        config: The run.

    Returns:
        The data set itself, or the one of the run's name.
    """
    return data[config.dataset] if isinstance(data, Mapping) else data


def _mean(data: Data) -> Tensor:
    """Mean of at most 65,536 data, evenly spaced."""
    indices = torch.arange(0, len(data), math.ceil(len(data) / 65_536))
    total = sum(data.batch(part).double().sum(0) for part in indices.split(_EVALUATION_BATCH))
    assert isinstance(total, Tensor)
    return total / len(indices)
