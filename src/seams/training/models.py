"""Trained models of one shape, run as one: their parameters have a leading model axis."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from seams.networks import by_products
from seams.vae import VAE

__all__ = ["Models"]


@dataclass(frozen=True)
class Models:
    """Models that share their shapes and differ in their parameters.

    Attributes:
        template: One of them, in evaluation mode; its own parameters are unused.
        params: Name to `[model, *shape]`.
        count: How many there are.
    """

    template: VAE
    params: Mapping[str, Tensor]
    count: int

    @classmethod
    def of(cls, vae: VAE, *params: Mapping[str, Tensor]) -> "Models":
        """Models from the parameters of each.

        Args:
            vae: Their template, left as it is.
            *params: Of each, by name; none for those of the template.

        Returns:
            The models, without gradients, on the device of their parameters.
        """
        every = params or (dict(vae.named_parameters()),)
        stacked = {name: torch.stack([p[name].detach() for p in every]) for name in every[0]}
        device = next(iter(stacked.values())).device if stacked else torch.device("cpu")
        return cls(_template(vae, device), stacked, len(every))

    @property
    def device(self) -> torch.device:
        """Where the parameters are; the CPU if there are none."""
        return next((p.device for p in self.params.values()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters; torch's default if there are none."""
        return next((p.dtype for p in self.params.values()), torch.get_default_dtype())

    def double(self) -> "Models":
        """The same in float64.

        Returns:
            A copy.
        """
        params = {name: p.double() for name, p in self.params.items()}
        return Models(copy.deepcopy(self.template).double(), params, self.count)

    def groups(self, most: int) -> Iterator["Models"]:
        """The same, a few at a time.

        Args:
            most: Models in each group at most; at least one is.

        Yields:
            Models that share memory with these.
        """
        most = max(1, most)
        for first in range(0, self.count, most):
            some = slice(first, min(first + most, self.count))
            params = {name: p[some] for name, p in self.params.items()}
            yield Models(self.template, params, some.stop - some.start)

    def map(
        self, function: Callable[..., Any], *arrays: Tensor, shared: tuple[Any, ...] = ()
    ) -> Any:
        """A function of every model.

        Args:
            function: Of a model and of a row of each array; returns a tensor, or several. The
                model is the template, with the parameters of each model in turn.
            *arrays: With a leading model axis.
            shared: Further arguments, the same for all models.

        Returns:
            What the function returns, with a leading model axis.
        """
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


def _template(vae: VAE, device: torch.device) -> VAE:
    template = copy.deepcopy(vae).to(device).eval().requires_grad_(False)
    by_products(template, device.type == "cuda")
    return template
