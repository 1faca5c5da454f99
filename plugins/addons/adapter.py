"""Small networks behind every sub-layer; only they are trained, the base is frozen.

Maths    y = x + W2 act(W1 x + b1) + b2, behind each sub-layer, before its dropout and its addition to the stream
         W2 = 0 and b2 = 0 at the start: the model begins as its base
Shapes   x, y (b n c);  W1 (r c);  W2 (c r)
Cost     2 c r + c + r parameters a sub-layer
Limits   what comes from the base is frozen with its norms and its output; put it behind `share` for one adapter for
         each application
Paper    Houlsby et al., Parameter-Efficient Transfer Learning for NLP, ICML 2019, arXiv:1902.00751, s. 2.1
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from xcompose.api import (
    Activation,
    Addon,
    Component,
    Context,
    Count,
    Model,
    PartError,
    activation,
    hookimpl,
    option,
    options,
)


@options
class AdapterOptions:
    """Options of bottleneck adapters."""

    bottleneck: Count = option(main=True, at_least=1)
    """Inner width r."""
    behind: tuple[Literal["mixer", "cross", "ffn"], ...] = option(("mixer", "cross", "ffn"))
    """The sub-layers that get one, where a layer has them."""
    act: Activation = option("gelu")
    """What is applied between the two layers."""


class Bottleneck(nn.Module):
    def __init__(self, options: AdapterOptions, dim: int):
        super().__init__()
        self.down = nn.Linear(dim, options.bottleneck)
        self.up = nn.Linear(options.bottleneck, dim)
        self.act = activation(options.act)
        nn.init.normal_(self.down.weight, std=0.01)  # the paper's near-identity start, s. 3.6
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(self.act(self.down(x)))


class Adapter(Addon):
    freezes = True

    def __init__(self, options: AdapterOptions, context: Context):
        self.options, self.dim = options, context.dim

    def apply(self, model: Model) -> None:  # type: ignore[override]
        model.requires_grad_(False)
        there = {role for block in model.layers for role in block.roles}
        if not there & set(self.options.behind):
            raise PartError(
                "no layer has a sub-layer that an adapter could stand behind", option="behind",
                label=f"layers of this model have {' and '.join(sorted(there))}", fixes=("behind=mixer",),
            )  # fmt: skip
        for block in model.layers:
            for role in block.roles:
                if role in block.behind:
                    raise PartError("there is an adapter already", fixes=("list one adapter in `addons`",))
                if role in self.options.behind:
                    block.behind[role] = Bottleneck(self.options, self.dim).to(model.like(1))


@hookimpl
def components():
    return [
        Component(
            kind="addon", name="adapter", options=AdapterOptions, build=Adapter, facts={"stage": "model"},
            also=("houlsby", "bottleneck"),
        )
    ]  # fmt: skip
