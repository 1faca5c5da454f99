"""Modules that learn from what they count, not from gradients: centroids that follow the vectors they stand for.

A forward pass changes nothing. It gives back statistics, each under a key that ends with the label of the module it is
for; whoever trains adds them up over the calls of one optimizer step, and over the processes that take it together,
and then lets the modules learn from the sums.
So a layer that is used twice counts twice and learns once, and what is computed again for a gradient is not counted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch.distributed as dist
from torch import Tensor, nn

from xcompose.compose.parts import ModelOut

MARK = "@"
"""Stands before the label of a module in the key of a statistic, and nowhere else."""


class Observer(ABC):
    """A module of the model, of any kind, that learns from statistics; also derive from `nn.Module`."""

    label: str = ""
    """Its own in a model, which sets it when it is built."""

    def labelled(self, stats: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Statistics of one call, by names of its own, as they have to leave the forward pass. While training only."""
        return {f"{MARK}{self.label}{MARK}{name}": value for name, value in stats.items()}

    @abstractmethod
    def learn(self, stats: Mapping[str, Tensor]) -> None:
        """Learn from one optimizer step, without gradients: each statistic summed over all calls that gave it."""


def label_observers(model: nn.Module) -> None:
    """Give each observer of a model its own label."""
    for name, module in model.named_modules():
        if isinstance(module, Observer):
            module.label = name


class Tally:
    """Sums of statistics since the last step, and what the model added to the loss."""

    def __init__(self):
        self.sums: dict[tuple[str, str], Tensor] = {}
        self.losses: dict[str, Tensor] = {}
        """By name, summed over layers: of the forward passes that were watched last."""

    def add(self, stats: Mapping[str, Tensor]) -> None:
        """Add what one forward pass of the model gave."""
        for key, value in stats.items():
            _, label, name = key.rsplit(MARK, 2)
            seen = self.sums.get((label, name))
            self.sums[label, name] = value.detach() if seen is None else seen + value.detach()

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Add what every forward pass of the model gives in between."""
        self.losses = {}

        def note(module: nn.Module, args: object, out: object) -> None:
            if isinstance(out, ModelOut):
                self.add(out.stats)
                for key, value in out.losses.items():
                    name = key.rpartition(".")[2]
                    self.losses[name] = self.losses.get(name, 0.0) + value.detach()

        hook = model.register_forward_hook(note)
        try:
            yield
        finally:
            hook.remove()

    def teach(self, model: nn.Module) -> None:
        """Let every observer learn from its sums, and start from nothing. Call it without gradients.

        Where several processes train replicas of the model, in all of them: sums are then those of all processes.
        """
        sums, self.sums = over_processes(self.sums), {}
        for module in model.modules():
            if isinstance(module, Observer):
                own = {name: value for (label, name), value in sums.items() if label == module.label}
                if own:
                    module.learn(own)


def over_processes(sums: dict[tuple[str, str], Tensor]) -> dict[tuple[str, str], Tensor]:
    """Statistics summed over the processes that train one model; as they are where there is one."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return sums
    summed = {}
    for key in sorted(sums):  # every process must ask in one order
        summed[key] = sums[key].clone()
        dist.all_reduce(summed[key])
    return summed
