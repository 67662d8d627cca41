"""A stack of models: networks of one shape whose parameters have a leading axis, one a model."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from seams.data import Data
from seams.networks import compute_by
from seams.training.config import TrainConfig, stack_key
from seams.training.initial import build, mean_of
from seams.vae import VAE

__all__ = ["Models", "Stack", "build", "data_of"]


@dataclass
class Models:
    """Models that share their shapes and differ in their parameters."""

    template: VAE  # one of them; its own parameters are unused
    params: dict[str, Tensor]  # name to `[model, *shape]`

    @classmethod
    def of(cls, vae: VAE, *params: Mapping[str, Tensor]) -> "Models":
        """Models from a template, left as it is, and the parameters of each; default its own."""
        every = params or (dict(vae.named_parameters()),)
        stacked = {name: torch.stack([p[name].detach() for p in every]) for name in every[0]}
        device = next((p.device for p in stacked.values()), torch.device("cpu"))
        template = copy.deepcopy(vae).to(device).eval().requires_grad_(False)
        compute_by(template, "product" if device.type == "cuda" else "convolution")
        return Models(template, stacked)

    @property
    def count(self) -> int:
        """How many there are; one if they have no parameters."""
        return next((len(p) for p in self.params.values()), 1)

    @property
    def device(self) -> torch.device:
        """Where the parameters are; the CPU if there are none."""
        return next((p.device for p in self.params.values()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters; torch's default if there are none."""
        return next((p.dtype for p in self.params.values()), torch.get_default_dtype())

    def double(self) -> "Models":
        """The same in float64, copied."""
        params = {name: p.double() for name, p in self.params.items()}
        return Models(copy.deepcopy(self.template).double(), params)

    def groups(self, most: int) -> Iterator["Models"]:
        """The same, at most so many at a time (but at least one), without a copy."""
        for first in range(0, self.count, max(1, most)):
            some = slice(first, first + max(1, most))
            yield Models(self.template, {name: p[some] for name, p in self.params.items()})

    def map(
        self, function: Callable[..., Any], *arrays: Tensor, shared: tuple[Any, ...] = ()
    ) -> Any:
        """A function of each model, a row of each array and `shared`; a model axis comes first."""
        template = _Applied(self.template, function)
        named = {f"vae.{name}": p for name, p in self.params.items()}

        def one(params: Mapping[str, Tensor], *rows: Tensor) -> Any:
            return functional_call(template, dict(params), (*rows, *shared))

        with torch.no_grad():
            if self.count > 1:
                return vmap(one)(named, *arrays)
            # A single model runs without vmap, under which convolutions take another way.
            result = one({name: p[0] for name, p in named.items()}, *(a[0] for a in arrays))
        if isinstance(result, Tensor):
            return result[None]
        return tuple(part[None] for part in result)


class _Applied(nn.Module):
    """A function of a model as a module, whose parameters can be exchanged while it runs."""

    def __init__(self, vae: VAE, function: Callable[..., Any]) -> None:
        super().__init__()
        self.vae = vae
        self.function = function

    def forward(self, *arguments: Any) -> Any:
        return self.function(self.vae, *arguments)


@dataclass
class Stack(Models):
    """Runs that train as one: their models, with Adam's moments and history beside them."""

    configs: list[TrainConfig]
    moments: dict[str, tuple[Tensor, Tensor]]  # Adam's first and second, as `params`
    step: int = 0  # steps done
    history: dict[str, list[Tensor]] = field(default_factory=dict)  # `Progress`, `[chunk, run]`
    snapshots: dict[int, dict[str, Tensor]] = field(default_factory=dict)  # by step, as `params`
    way: str = ""  # how its last steps were computed, in words

    @property
    def model(self) -> VAE:
        """The template."""
        return self.template

    @classmethod
    def start(
        cls,
        configs: Sequence[TrainConfig],
        data: Data | Mapping[str, Any],
        device: torch.device | str = "cpu",
    ) -> "Stack":
        """Runs of one `stack_key` at step 0; `data` is what they train on, by name if several."""
        configs = list(configs)
        if not configs or any(stack_key(c) != stack_key(configs[0]) for c in configs):
            raise ValueError(
                "A stack needs one run or more that differ only in beta, its schedule and seed."
            )
        means = {
            c.dataset: mean_of(data_of(data, c)) for c in {c.dataset: c for c in configs}.values()
        }
        built = [build(c, means[c.dataset].numel(), means[c.dataset]) for c in configs]
        weights = [{k: p.to(device) for k, p in vae.named_parameters()} for vae in built]
        models = Models.of(built[0], *weights)
        moments = {k: (torch.zeros_like(p), torch.zeros_like(p)) for k, p in models.params.items()}
        return cls(built[0].to(device), models.params, configs, moments)

    @classmethod
    def resume(
        cls,
        configs: Sequence[TrainConfig],
        states: Sequence[dict[str, Tensor]],
        data: Data | Mapping[str, Any],
        device: torch.device | str = "cpu",
    ) -> "Stack":
        """A stack from the `state` of each run, where they were taken: all at the same step."""
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

    def state(self, run: int) -> dict[str, Tensor]:
        """Everything needed to go on with one run, as named CPU tensors; see `resume`."""
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

    def keep(self, runs: Sequence[int]) -> None:
        """Drop all runs but those at these positions in `configs`."""
        index = torch.as_tensor(list(runs), dtype=torch.long)
        pick = lambda t: t[index.to(t.device)]
        self.configs = [self.configs[i] for i in runs]
        self.params = {k: pick(p) for k, p in self.params.items()}
        self.moments = {k: (pick(a), pick(b)) for k, (a, b) in self.moments.items()}
        self.history = {k: [pick(row) for row in rows] for k, rows in self.history.items()}
        self.snapshots = {
            s: {k: pick(p) for k, p in params.items()} for s, params in self.snapshots.items()
        }


def data_of(data: Data | Mapping[str, Any], config: TrainConfig) -> Data:
    """What one run of a stack trains on: the data set itself, or the one of the run's name."""
    return data[config.dataset] if isinstance(data, Mapping) else data
