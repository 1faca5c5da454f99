"""One block, applied again and again, with coordinates added before each application.

Maths    for t = 1 .. T: x <- block(x + P_t);  all T blocks have one set of weights
         P_t,i,2j = sin(i w_j) + sin(t w_j), P_t,i,2j+1 = cos(i w_j) + cos(t w_j);  w_j = 10000^(-2 j / c)
         i = 1 .. n the position, t the step, j = 0 .. c/2 - 1;  without positions: the terms of t alone
         gradient of a parameter = the sum over the applications
Shapes   x (b n c), c even
Cost     parameters of one block; n c waves for each application; the rest as T blocks
Limits   every position takes T steps: there is no halting (ACT) by position;  residuals that carry one stream;
         positions are added T times, so the model must have none of its own, or `positions=false`;
         rows before the tokens are at positions i = 1 - g .. 0;  states and caches as for T layers
Paper    Dehghani et al., Universal Transformers, ICLR 2019, arXiv:1807.03819, s. 2.1, eq. 4 to 7
"""

from __future__ import annotations

import torch
from torch import Tensor

from xcompose.api import (
    Addon,
    Axis,
    Before,
    Component,
    Context,
    Count,
    Model,
    PartError,
    Position,
    Stack,
    Text,
    called,
    hookimpl,
    option,
    options,
    share_layers,
    stacks_named,
)

BASE = 10000.0
"""The slowest wave has a length of 2 pi times this many positions or steps."""


@options
class UniversalOptions:
    """Options of a universal transformer."""

    times: Count | None = option(None, main=True, at_least=2)
    """How often the block is applied, T; the layers that are written are those T applications, so 6 layers and
    `universal(3)` are a block of 2 layers, applied 3 times. As often as there are layers if not written."""
    positions: bool = option(True)
    """Whether the position is added, too; else the step alone."""
    stacks: tuple[Text, ...] | None = option(None)
    """The stacks that it is for, by name; each stack of the model if not written."""


class Coordinates(Before):
    """Adds P_t.

    Args:
        step: t, from 1.
        positions: whether the terms of i are there.
    """

    def __init__(self, step: int, positions: bool):
        super().__init__()
        self.step, self.positions = step, positions

    def forward(self, x: Tensor, axis: Axis) -> Tensor:
        half = x.shape[-1] // 2
        turns = BASE ** -(torch.arange(half, device=x.device, dtype=torch.float64) / half)
        waves = side_by_side(self.step * turns)
        if self.positions:
            waves = waves + side_by_side((axis.positions(x.device) + 1)[..., None] * turns)
        return x + waves.to(x.dtype)

    def extra_repr(self) -> str:
        return "waves of position and step" if self.positions else "waves of the step"


def side_by_side(angles: Tensor) -> Tensor:
    """From angles (... c/2) to sines and cosines in turns (... c)."""
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)


class Universal(Addon):
    rung = "weights"

    def __init__(self, options: UniversalOptions, context: Context):
        if context.dim % 2:
            raise PartError(f"universal needs an even 'dim', found {context.dim}")
        self.options = options

    def apply(self, model: Model) -> None:  # type: ignore[override]
        for name, stack in stacks_named(model, self.options.stacks).items():
            block = self._block(name, stack)
            self._refuse_what_does_not_fit(model, name, stack)
            share_layers(stack, [layer % block for layer in range(len(stack.blocks))], name=name)
            for first in range(0, len(stack.blocks), block):
                stack.blocks[first].before = Coordinates(first // block + 1, self.options.positions)

    def _block(self, name: str, stack: Stack) -> int:
        """How many layers the block has."""
        layers = len(stack.blocks)
        times = self.options.times or max(layers, 2)
        if layers % times:
            count = f"{layers} layers" if layers > 1 else "1 layer"
            raise PartError(
                f"{count}{called(name)} cannot be a block that is applied {times} times", code="XC032",
                label="the layers that a spec writes are those that are applied",
                fixes=(f"layers: {times}, which is one layer applied {times} times",),
            )  # fmt: skip
        return layers // times

    def _refuse_what_does_not_fit(self, model: Model, name: str, stack: Stack) -> None:
        carry = stack.blocks[0].residual.carry
        if carry != "one stream":
            raise PartError(
                f"universal adds to one stream, and the residual{called(name)} carries {carry}",
                fixes=("residual: post-norm", "share(all), which adds nothing"),
            )  # fmt: skip
        side = model.get_submodule(name) if name else model
        own = [module for module in side.modules() if isinstance(module, Position) and says(module)]
        if self.options.positions and own:
            owner = f"the stack '{name}'" if name else "the model"
            raise PartError(
                f"universal adds positions before each step, and {owner} has positions of its own",
                label=f"{type(own[0]).__name__}: each token would be told twice where it is",
                fixes=("position: none", "universal(positions=false)"),
            )  # fmt: skip


def says(position: Position) -> bool:
    """Whether a position does anything."""
    kind = type(position)
    return any(getattr(kind, name) is not getattr(Position, name) for name in ("embed", "turn", "terms"))


@hookimpl
def components():
    return [
        Component(
            kind="addon", name="universal", options=UniversalOptions, build=Universal, facts={"stage": "model"},
            also=("universal-transformer",),
        )
    ]  # fmt: skip
