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

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from xcompose.api import (
    Addon,
    Component,
    Context,
    Model,
    Text,
    Tuning,
    ends_sublayer,
    extra,
    finish_tuning,
    hookimpl,
    left_by_tuning,
    option,
    options,
    refuse_merging,
    tune,
)

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


class IA3(Addon):
    freezes = True

    def __init__(self, options: IA3Options, context: Context):
        self.trains = options.merge  # what is merged changes the base, for which a later freeze comes too soon
        self.tuning = Tuning(
            name=options.name, targets=options.targets, per=options.per, acts=options.active, learns=options.learns,
            merge=options.merge, usual=options.targets == USUAL,
        )  # fmt: skip

    def apply(self, model: Model) -> None:  # type: ignore[override]
        """What the spec says: of factors that are merged the plain model."""
        if self.tuning.merge:
            self.chosen = refuse_merging(model, self.tuning)
        else:
            self.chosen = tune(model, self.tuning, self._wrap)

    def begin(self, model: Model) -> None:  # type: ignore[override]
        if self.tuning.merge:
            refuse_merging(model, self.tuning)
        self.chosen = tune(model, self.tuning, self._wrap)

    def finish(self, model: Model) -> None:  # type: ignore[override]
        finish_tuning(model, self.tuning)

    def _wrap(self, inner: nn.Module, name: str) -> Any:
        layer = extra("peft.tuners.ia3.layer", "adapters").Linear
        base: Any = inner
        while not isinstance(base, nn.Linear):
            base = base.base_layer
        config = extra("peft", "adapters").IA3Config()
        return layer(inner, name, config=config, is_feedforward=ends_sublayer(base))

    def describe(self, model: nn.Module) -> Sequence[str]:
        assert isinstance(model, Model)
        return left_by_tuning(model, self.tuning, self.chosen)


@hookimpl
def components():
    return [
        Component(
            kind="addon", name="ia3", options=IA3Options, build=IA3, facts={"stage": "model"}, also=("(ia)3", "peft"),
        )
    ]  # fmt: skip
