"""Learned factors on keys, values and the inner rows of feed-forward networks; only they are trained.

Maths    y = l * (W x + b) for keys and values;  y = W (l * x) + b for the layer that ends a feed-forward network
         l = 1 at the start: the model begins as its base
Shapes   x (.. i);  y (.. o);  l (o), or (i) for what ends a feed-forward network
Cost     o, or i, parameters a layer; merged nothing
Limits   as lora: matrices that are no linear layers, or that others read, are left as they are; with shared_qk there
         are no keys; nothing is merged into weights that are stored in few bits
Paper    Liu et al., Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning,
         NeurIPS 2022, arXiv:2205.05638, s. 3.3
"""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from xcompose.api import Component, Context, Text, Tuner, ends_sublayer, extra, hookimpl, option, options

USUAL = ("k", "v", "ffn.down")


@options
class IA3Options:
    """Options of learned factors."""

    targets: tuple[Text, ...] = option(USUAL)
    """The linear layers, by words in their paths; of one that ends a sub-layer the input is scaled, else the output."""
    name: Text = option("ia3")
    """What it is called beside others on the same base."""
    per: Literal["weights", "application"] = option("weights")
    """Where layers share weights: one factor for all of them, or one for each application."""
    merge: bool = option(False)
    """Whether the factors become part of the weights when training ends, so that the model is plain again."""
    active: bool = option(True)
    """Whether it acts; one that does not waits for `use` and is not trained."""
    learns: bool = option(True)
    """Whether it is trained; one that is not acts as it was loaded."""


class IA3(Tuner):
    def __init__(self, options: IA3Options, context: Context):
        super().__init__(options, USUAL)

    def wrap(self, inner: nn.Module, name: str) -> Any:
        layer = extra("peft.tuners.ia3.layer", "adapters").Linear
        base: Any = inner
        while not isinstance(base, nn.Linear):
            base = base.base_layer
        config = extra("peft", "adapters").IA3Config()
        return layer(inner, name, config=config, is_feedforward=ends_sublayer(base))


@hookimpl
def components():
    return [
        Component(
            kind="addon", name="ia3", options=IA3Options, build=IA3, facts={"stage": "model"}, also=("(ia)3", "peft"),
        )
    ]  # fmt: skip
