r"""Training: one loop for one model or for many that share their shapes.

Runs that differ only in beta, its schedule and the seed are trained as one *stack*: each
parameter gets a leading `run` axis, and one step of Adam on the stack is one step of each run. So
are runs on several small data sets of one size (`seams.data.families`).
The randomness of a run depends on its seed and on the step alone, so a run gives the same result
alone, in any stack, and after an interruption.
"""

import ctypes
import hashlib
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, Literal, get_args, get_origin, no_type_check

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from seams.data import Data, Samples, alike
from seams.networks import (
    Activation,
    Covariance,
    GaussianEncoder,
    LinearEncoder,
    burgess_decoder,
    burgess_features,
    by_products,
    has_convolutions,
    mlp,
)
from seams.vae import VAE, Likelihood

__all__ = [
    "CHUNK",
    "Progress",
    "Stack",
    "TrainConfig",
    "beta_at",
    "build",
    "data_of",
    "stack_key",
    "train",
]

CHUNK = 128
"""Steps whose random draws are made at once; also the grain of logs, checkpoints and stops. Part
of the protocol: another value gives other draws."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGEST_KEPT = 2**30  # bytes

_EVALUATION_BATCH = 4096  # images at a time where no gradient is kept


@no_type_check  # by the shape hook, which would refuse an int for a float before we can convert it
@dataclass(frozen=True)
class TrainConfig:
    """One run, whole: what is trained, on what, how. Equal configurations give equal results.

    Attributes:
        dataset: Name of the data set, see `seams.data.load`.
        resolution: Side of the images in pixels; block averages of 64 for dSprites.
        network: Architecture; "burgess" is the paper's.
        width: Units of each hidden layer of "mlp".
        depth: Hidden layers of "mlp".
        activation: Smooth by default, since Eq. 6 needs Hessians; the paper's net has ReLU.
        latent: Latents d; 10 on dSprites as in Section 7.
        covariance: Of the posterior.
        likelihood: Gaussian in the paper; App. B speaks of any.
        sigma: Standard deviation of x given z in the unit of x; the paper states none. 1 with SSE
            summed over 64 x 64 pixels fits its Figure 11; averages of 4 x 4 pixels need 1/4.
        beta: Weight of the KL term, at the end if it changes.
        beta_start: None for a constant beta; else the value from which beta moves exponentially to
            `beta` over the run (Appendix G).
        hold: Fraction of the run in which beta stays at `beta_start` before it moves; 0 in the
            paper.
        warmup: Fraction of the run in which the KL term's weight rises linearly from zero.
            Without it a net can stay on the plateau where all latents are collapsed.
        images: Training images shown in all, with repetition.
        batch: Images a step; 64 in Burgess et al. 2018.
        learning_rate: Of Adam; 5e-4 in the public versions of Burgess et al. 2018.
        seed: Of initial weights, order of data and draws.
        precision: Of the training arithmetic; weights stay float32.
        snapshots: Points of training, equally spaced in the logarithm, whose weights are kept.
    """

    dataset: str = "dsprites"
    resolution: int = 64
    network: Literal["linear", "mlp", "burgess"] = "burgess"
    width: int = 128
    depth: int = 2
    activation: Activation = "silu"
    latent: int = 10
    covariance: Covariance = "diagonal"
    likelihood: Likelihood = "gaussian"
    sigma: float = 1.0
    beta: float = 1.0
    beta_start: float | None = None
    hold: float = 0.0
    warmup: float = 0.05
    images: int = 512_000
    batch: int = 64
    learning_rate: float = 5e-4
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    snapshots: int = 0

    def __post_init__(self) -> None:
        """Refuse values of a wrong type, and numbers that no run can have."""
        for item in fields(self):
            object.__setattr__(self, item.name, _checked(item.name, item.type, self[item.name]))
        for name in ("beta", "beta_start", "sigma", "learning_rate"):
            value = self[name]
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"`{name}` must be a positive number; got {value!r}.")
        for name in ("images", "batch", "latent", "width", "resolution"):
            if self[name] < 1:
                raise ValueError(f"`{name}` must be 1 or more; got {self[name]}.")
        for name in ("depth", "snapshots", "seed"):
            if self[name] < 0:
                raise ValueError(f"`{name}` must not be negative; got {self[name]}.")
        for name in ("hold", "warmup"):
            if not 0 <= self[name] < 1:
                raise ValueError(
                    f"`{name}` is a fraction of the run, 0 <= {name} < 1; got {self[name]}."
                )
        if self.hold and self.beta_start is None:
            raise ValueError(
                f"`hold` needs a `beta_start` at which to hold beta; got hold={self.hold} alone."
            )

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    @property
    def steps(self) -> int:
        """Optimiser steps: enough batches to show `images`."""
        return math.ceil(self.images / self.batch)

    @property
    def effective_variance(self) -> float:
        """Effective noise variance beta sigma^2, all that matters for the optimum (App. B)."""
        return self.beta * self.sigma**2


def _checked(name: str, kind: Any, value: Any) -> Any:
    """`value` as the field's type: ints become floats where one is due, nothing else changes."""
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ValueError(f"`{name}` must be one of {get_args(kind)}; got {value!r}.")
        return value
    allowed = get_args(kind) or (kind,)
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        names = " or ".join(part.__name__ for part in allowed)
        raise ValueError(f"`{name}` must be of type {names}; got {value!r}.")
    return value


def beta_at(config: TrainConfig, step: int | Tensor) -> Tensor:
    """Weight of the KL term at a step, warm-up included.

    Args:
        config: The run.
        step: Steps done, 0 to `config.steps`; a tensor gives one weight each.

    Returns:
        The weight, float64.

    Source: Appendix G for the exponential schedule; to hold beta first is ours.
    """
    progress = torch.as_tensor(step, dtype=torch.float64) / max(config.steps - 1, 1)
    beta = torch.full_like(progress, config.beta)
    if config.beta_start is not None:
        moved = (progress - config.hold) / (1 - config.hold)
        beta = config.beta_start * (config.beta / config.beta_start) ** moved.clamp(0, 1)
    if config.warmup:
        beta = beta * (progress / config.warmup).clamp(max=1)
    return beta


def stack_key(config: TrainConfig) -> TrainConfig:
    """What the runs of a stack must share: all but beta, its schedule and the seed.

    Args:
        config: A run.

    Returns:
        The configuration with those at their defaults, and with `data.alike` for the data set;
        equal keys can be stacked.
    """
    shared = alike(config.dataset, config.resolution)
    return replace(config, beta=1.0, beta_start=None, hold=0.0, seed=0, dataset=shared)


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
        torch.manual_seed(_seed(config.seed, "weights"))
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


def _seed(seed: int, *what: object) -> int:
    """63 bits that depend on the run's seed and on the purpose, unrelated for different ones."""
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


@dataclass(frozen=True)
class Progress:
    """Where a stack stands after a chunk of steps.

    Attributes:
        step: Steps done.
        distortion: Mean over the chunk of the negative log-likelihood, nats a datum `[run]`.
        rate: Mean over the chunk of the KL divergence, nats a datum `[run]`.
        beta: Weight of the KL term at the end of the chunk `[run]`.
        diverged: Positions of runs whose loss, or whose weights, are no longer finite.
    """

    step: int
    distortion: Tensor
    rate: Tensor
    beta: Tensor
    diverged: list[int]


def train(stack: Stack, data: Data | Mapping[str, Any]) -> Iterator[Progress]:
    """Train a stack to its end, yielding after every `CHUNK` steps.

    Stop by leaving the iteration; `stack.state` then holds all that is needed to go on. Runs that
    diverge are named in the progress; drop them with `stack.keep` before going on.

    Args:
        stack: Runs at any step; changed in place.
        data: What they train on, on the stack's device; by name if they differ in it.

    Yields:
        Progress after each chunk.
    """
    stepper = _Stepper(stack, data)
    while stack.step < stack.configs[0].steps:
        if stepper.configs is not stack.configs:  # some runs were dropped
            stepper = _Stepper(stack, data)
        yield _chunk(stack, data, stepper)


def _chunk(stack: Stack, data: Data | Mapping[str, Any], stepper: "_Stepper") -> Progress:
    """One chunk of steps: schedule, draws, steps, log."""
    config = stack.configs[0]
    first, last = stack.step, min(stack.step + CHUNK, config.steps)
    device = stepper.sums.device
    indices, noise = _draws(stack, [len(data_of(data, c)) for c in stack.configs], device)
    steps = torch.arange(first, last)
    betas = torch.stack([beta_at(c, steps) for c in stack.configs], dim=1).float().to(device)
    keep = _snapshot_steps(config)
    stepper.sums.zero_()
    for i in range(last - first):
        stepper(indices[:, i], noise[:, i], betas[i])
        if first + i + 1 in keep:
            stack.snapshots[first + i + 1] = {k: p.clone() for k, p in stack.params.items()}

    stack.step = last
    distortion, rate = (stepper.sums / (last - first)).cpu()
    finite = torch.isfinite(distortion + rate)
    for param in stack.params.values():  # the last step's update is in no loss yet
        finite &= param.isfinite().flatten(1).all(1).cpu()
    diverged = (~finite).nonzero().flatten().tolist()
    progress = Progress(last, distortion, rate, betas[-1].double().cpu(), diverged)
    row = {"step": torch.full_like(rate, last), "beta": progress.beta}
    for name, value in (row | {"distortion": distortion, "rate": rate}).items():
        stack.history.setdefault(name, []).append(value)
    return progress


class _Stepper:
    """One optimiser step of a stack: batch, loss, gradient, Adam.

    On a GPU the whole step is captured once as a graph and replayed, since at these sizes the time
    to launch its kernels one by one would exceed the time they run.
    """

    def __init__(self, stack: Stack, data: Data | Mapping[str, Any]) -> None:
        stack.moments = {k: (_laid_out(a), _laid_out(b)) for k, (a, b) in stack.moments.items()}
        leaves = {k: _laid_out(p).requires_grad_() for k, p in stack.params.items()}
        stack.params = {k: p.detach() for k, p in leaves.items()}  # the same memory
        self.configs, self.model, self.leaves = stack.configs, stack.model, leaves
        device = next(iter(leaves.values())).device
        self.data, self.first = _joined(stack.configs, data)
        self.first = self.first.to(device)
        self.sums = torch.zeros(2, len(self.configs), device=device, dtype=torch.float64)
        self.optimizer = _adam(stack, leaves)
        if device.type == "cpu":
            _keep_freed_memory()
        stacked_on_gpu = device.type == "cuda" and len(self.configs) > 1
        alone_on_cpu = device.type == "cpu" and len(self.configs) == 1
        # A CPU's transposed convolution is slow with few channels.
        by_products(self.model, stacked_on_gpu, to_images=stacked_on_gpu or alone_on_cpu)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: tuple[Tensor, ...] = ()

    def __call__(self, indices: Tensor, noise: Tensor, betas: Tensor) -> None:
        """Take one step; `[run, batch]`, `[run, batch, latent]` and `[run]`."""
        if not self.sums.is_cuda:
            return self._step(indices, noise, betas)
        if self.graph is None:
            self._capture(indices, noise, betas)
        assert self.graph is not None
        for buffer, value in zip(self.inputs, (indices, noise, betas), strict=True):
            buffer.copy_(value)
        self.graph.replay()

    def _step(self, indices: Tensor, noise: Tensor, betas: Tensor) -> None:
        half = self.configs[0].precision == "bfloat16"
        x = self.data.batch(indices + self.first).float()
        with torch.autocast(self.sums.device.type, torch.bfloat16, half):
            distortion, rate = _losses(self.model, self.leaves, x, noise)
        (distortion + betas * rate).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.sums += torch.stack([distortion, rate]).detach()

    def _capture(self, *inputs: Tensor) -> None:
        """Record one step as a graph; what the steps before it change is put back."""
        self.inputs = tuple(value.clone() for value in inputs)
        states = [s for p in self.leaves.values() for s in self.optimizer.state[p].values()]
        changed = [p.detach() for p in self.leaves.values()] + states + [self.sums]
        before = [value.clone() for value in changed]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):  # libraries choose and initialise what capture must not
                self._step(*self.inputs)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self._step(*self.inputs)
        for value, old in zip(changed, before, strict=True):
            value.copy_(old)


def _losses(model: VAE, params: dict[str, Tensor], x: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
    """Mean distortion and rate of each run; `x` and `noise` are `[run, batch, ...]`."""

    def one(params: dict[str, Tensor], x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        distortion, rate = functional_call(model, params, (x, noise))
        return distortion.mean(-1), rate.mean(-1)

    if len(x) == 1:  # a convolution with one set of weights is faster than a stack of one
        terms = one({k: p[0] for k, p in params.items()}, x[0], noise[0])
        return terms[0][None], terms[1][None]
    if has_convolutions(model):
        return vmap(one)(params, x, noise)
    return one(params, x, noise)  # its layers take a stack as it is, in fewer and cheaper calls


@cache
def _keep_freed_memory() -> None:
    """Let glibc reuse large blocks: it returns them, and each new one costs its page faults.

    The activations of a step are such blocks; on a virtual machine a fifth of its time went there.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_TRIM_THRESHOLD, _LARGEST_KEPT)


def _laid_out(stacked: Tensor) -> Tensor:
    """A single run's convolution weights with channels last, which is faster on a CPU."""
    if stacked.dim() != 5 or len(stacked) > 1:
        return stacked
    return stacked[0].contiguous(memory_format=torch.channels_last)[None]


def _joined(configs: Sequence[TrainConfig], data: Data | Mapping[str, Any]) -> tuple[Any, Tensor]:
    """One data set that holds those of all runs, and where each run's begins in it `[run, 1]`."""
    if not isinstance(data, Mapping):
        return data, torch.zeros(1, 1, dtype=torch.long)
    names = list(dict.fromkeys(c.dataset for c in configs))
    ends = torch.tensor([len(data[name]) for name in names]).cumsum(0)
    first = dict(zip(names, [0, *ends[:-1].tolist()], strict=True))
    joined = Samples(torch.cat([data[name].x for name in names]))
    return joined, torch.tensor([[first[c.dataset]] for c in configs])


def _draws(stack: Stack, data: int | Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Indices `[run, step, batch]` and noise `[run, step, batch, latent]` of the coming chunk."""
    config = stack.configs[0]
    shape = (CHUNK, config.batch)
    sizes = [data] * len(stack.configs) if isinstance(data, int) else data
    kinds = [(c.seed, size) for c, size in zip(stack.configs, sizes, strict=True)]
    draws: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    for seed, size in set(kinds):
        generator = torch.Generator(device).manual_seed(_seed(seed, "draws", stack.step // CHUNK))
        indices = torch.randint(size, shape, generator=generator, device=device)
        noise = torch.randn(
            (*shape, config.latent), generator=generator, device=device, dtype=torch.float32
        )
        draws[seed, size] = indices, noise
    pairs = [draws[kind] for kind in kinds]
    return torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])


def _adam(stack: Stack, leaves: dict[str, Tensor]) -> torch.optim.Adam:
    """Adam with the stack's own moments, so that they can be saved run by run."""
    on_gpu = next(iter(leaves.values())).is_cuda
    rate = stack.configs[0].learning_rate
    optimizer = torch.optim.Adam(list(leaves.values()), rate, fused=True, capturable=on_gpu)
    for name, param in leaves.items():
        first, second = stack.moments[name]
        step = torch.tensor(float(stack.step), device=param.device, dtype=torch.float32)
        optimizer.state[param] = {"step": step, "exp_avg": first, "exp_avg_sq": second}
    return optimizer


def _snapshot_steps(config: TrainConfig) -> set[int]:
    """Steps, equally spaced in the logarithm, whose weights are kept: the last one, the first."""
    if config.snapshots < 2:
        return {config.steps} if config.snapshots else set()
    points = torch.logspace(0, math.log10(config.steps), config.snapshots, dtype=torch.float64)
    return {round(float(p)) for p in points}
