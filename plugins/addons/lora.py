"""Changes of weights of low rank, around any linear layer; only they are trained, the base is frozen.

Maths    y = W x + b + s B A drop(x), s = alpha / r, or alpha / sqrt(r) with `rslora`
         dora: y = (m / |W + s B A|) (W + s B A) x + b, row by row of W, |.| taken as a constant by the gradient
         A uniform in +-1/sqrt(i), B = 0 and m = |W| at the start: the model begins as its base
Shapes   x (.. i);  y (.. o);  W (o i);  A (r i);  B (o r);  m (o)
Cost     r (i + o) parameters a layer, o more with dora; merged nothing
Limits   matrices that are no linear layers, or that others read, are left as they are; a kernel score sees adapted
         queries and keys before its features; with shared_qk an adapter of queries is one of keys; dora acts alone,
         and not on weights that are stored in few bits; nothing is merged into such
Paper    Hu et al., LoRA, ICLR 2022, arXiv:2106.09685, s. 4.1; rslora: Kalajdzievski, arXiv:2312.03732, s. 3;
         dora: Liu et al., ICML 2024, arXiv:2402.09353, s. 4
"""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from xcompose.api import (
    Chosen,
    Component,
    Context,
    Count,
    PartError,
    Real,
    Text,
    Tuner,
    extra,
    hookimpl,
    is_stored,
    option,
    options,
)

USUAL = ("q", "v")


@options
class LoraOptions:
    """Options of changes of low rank."""

    rank: Count = option(8, main=True, at_least=1)
    """Rank r of the change."""
    targets: tuple[Text, ...] = option(USUAL)
    """The linear layers, by words in their paths: q, ffn, output, and in double quotes "mixer.out", "layers.0"."""
    alpha: Real | None = option(None, above=0)
    """What scales the change; the rank if not written, so that it is not scaled."""
    dropout: Real = option(0.0, at_least=0, at_most=0.9)
    """How much of x is dropped before A while training."""
    rslora: bool = option(False)
    """Whether alpha is divided by the root of the rank, so that high ranks learn as fast as low ones."""
    dora: bool = option(False)
    """Whether the length of each row of the weight is learned apart from its direction."""
    name: Text = option("lora")
    """What it is called beside others on the same base."""
    per: Literal["weights", "application"] = option("weights")
    """Where layers share weights: one change for all of them, or one for each application."""
    merge: bool = option(False)
    """Whether the change becomes part of the weights when training ends, so that the model is plain again."""
    active: bool = option(True)
    """Whether it acts; one that does not waits for `use` and is not trained."""
    learns: bool = option(True)
    """Whether it is trained; one that is not acts as it was loaded."""


class Lora(Tuner):
    def __init__(self, options: LoraOptions, context: Context):
        super().__init__(options, USUAL)
        self.options = options

    def refuse(self, chosen: Chosen) -> None:
        if self.options.dora and any(is_stored(site.module) for site in chosen.sites):
            raise PartError(
                "dora cannot stand beside a weight that is stored in few bits", option="dora",
                label="it measures the rows of the weight in every step", fixes=("dora=false",),
            )  # fmt: skip

    def wrap(self, inner: nn.Module, name: str) -> Any:
        own = self.options
        alpha: Any = own.rank if own.alpha is None else own.alpha
        config = extra("peft", "adapters").LoraConfig(
            r=own.rank, lora_alpha=alpha, lora_dropout=own.dropout, use_rslora=own.rslora, use_dora=own.dora
        )
        layer = extra("peft.tuners.lora.layer", "adapters").Linear
        return layer(inner, name, config=config, r=own.rank, lora_alpha=alpha)


@hookimpl
def components():
    return [
        Component(
            kind="addon", name="lora", options=LoraOptions, build=Lora, facts={"stage": "model"},
            also=("dora", "rslora", "peft", "low-rank"),
        )
    ]  # fmt: skip
