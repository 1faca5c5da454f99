"""A mixer and a position that need nothing else, and nodes written by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from xcompose.api import (
    Axis,
    Component,
    Context,
    Lesson,
    Mixed,
    Mixer,
    PartError,
    Position,
    Source,
    TrainingAddon,
    option,
    options,
)
from xcompose.diagnostics import Span
from xcompose.registry import Registry, load
from xcompose.spec.model import Layer, Node, Spec


@options
class MeanOptions:
    refuse: bool = option(False)
    loss: bool = option(False)


class Mean(Mixer):
    """The mean of all rows so far, through a linear layer; of all rows where it is not causal."""

    def __init__(self, options: MeanOptions, context: Context):
        super().__init__()
        if options.refuse:
            fixes = ("take another",)
            raise PartError("a decoder cannot use this mean", label="it looks ahead", fixes=fixes, option="refuse")
        self.dim, self.causal, self.loss = context.dim, context.causal, options.loss
        self.linear = nn.Linear(context.dim, context.dim)

    def mix(self, x: Tensor, axis: Axis, source: Source | None = None) -> Mixed:
        return self.extend(x, axis, self.start(x.shape[0], x), source)._replace(state=None)

    def extend(self, x: Tensor, axis: Axis, state: Any, source: Source | None = None) -> Mixed:
        if source is not None:
            return Mixed(x + _mean_of(source.x, source.axis), state)
        valid = torch.ones_like(x[..., :1]) if axis.valid is None else axis.valid[..., None].to(x.dtype)
        losses = {"size": (x * valid).square().mean()} if self.loss else {}
        if self.causal == "none":
            return Mixed(self.linear(_mean_of(x, axis) + 0 * x), losses=losses)
        sums, counts = state["sum"] + (x * valid).cumsum(1), state["count"] + valid.cumsum(1)
        new = {"sum": sums[:, -1:], "count": counts[:, -1:]}
        return Mixed(self.linear(sums / counts.clamp(min=1)), new, losses)

    def start(self, batch: int, like: Tensor) -> Any:
        return {"sum": like.new_zeros(batch, 1, like.shape[-1]), "count": like.new_zeros(batch, 1, 1)}

    def state_shape(self, n: int):
        return {"sum": (1, self.dim), "count": (1, 1)}


def _mean_of(x: Tensor, axis: Axis) -> Tensor:
    valid = torch.ones_like(x[..., :1]) if axis.valid is None else axis.valid[..., None].to(x.dtype)
    return (x * valid).sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp(min=1)


@options
class NowhereOptions:
    pass


class Nowhere(Position):
    def __init__(self, options: NowhereOptions, context: Context):
        super().__init__()


@options
class CarriedOptions:
    length: int | None = option(None, main=True)


MEAN = Component(kind="mixer", name="mean", options=MeanOptions, build=Mean)
NOWHERE = Component(kind="position", name="nowhere", options=NowhereOptions, build=Nowhere)
CARRIED = Component(kind="recurrence", name="carried", options=CarriedOptions)


@options
class LateOptions:
    pass


class Late(TrainingAddon):
    def __init__(self, options: LateOptions, context: Context):
        super().__init__()

    def begin(self, lesson: Lesson) -> None:
        pass


LATE = Component(kind="addon", name="late", options=LateOptions, build=Late, facts={"stage": "train"})


def registry() -> Registry:
    """What is installed, and the fakes."""
    return Registry({**load().by_name, **Registry.of([MEAN, NOWHERE, CARRIED, LATE]).by_name})


def node(kind: str, name: str, /, line: int = 0, path: str = "", **options: Any) -> Node:
    """A component with plain defaults filled in, on its own line of a file that is not there."""
    schema = registry().component(kind, name).schema
    plain = {o.name: o.default for o in schema.options if not o.required}
    place = Span("made.xc.yaml", line, 1, line, 9) if line else None
    spans = {name: Span("made.xc.yaml", line, 20, line, 29) for name in options} if line else {}
    return Node(kind, name, {**plain, **options}, span=place, path=path, option_spans=spans)


def layer(line: int = 0, number: int = 0, **options: Any) -> Layer:
    """A layer of a mean and an MLP of width 24, unless `options` say otherwise."""
    path = f"model.layers.{number}"
    parts: dict[str, Any] = {
        "mixer": node("mixer", "mean", line, f"{path}.mixer"),
        "cross": node("mixer", "mean"),
        "ffn": node("ffn", "mlp", width=24),
        "norm": node("norm", "layer"),
        "residual": node("residual", "pre-norm"),
        "position": node("position", "nowhere"),
        "recurrence": node("recurrence", "carried"),
        "heads": None, "kv_heads": None, "head_dim": None, "bias": True, "dropout": 0.0,
    }  # fmt: skip
    return Layer({**parts, **options}, path=path)


def model(kind: str = "decoder", layers: int | tuple[Layer, ...] = 2, **changes: Any) -> Node:
    """A model of width 12 and 17 tokens."""
    made = tuple(layer(number=i) for i in range(layers)) if isinstance(layers, int) else layers
    one = layer().options
    options = {
        **{name: one[name] for name in one if name != "cross"}, "dim": 12, "vocab": 17,
        "length": None, "grid": None, "grid_block": None,
        "embedding": node("embedding", "tokens"), "init": node("init", "normal", std=0.3), "causal": "strict",
        "layers": made, "blocks": None,
        "output": node("output", "lm") if kind == "decoder" else node("output", "none"),
    }  # fmt: skip
    place = Span("made.xc.yaml", 3, 9, 3, 16)
    return Node("model", kind, {**options, **changes}, span=place, path="model")


def spec(made: Node, *addons: Node) -> Spec:
    return Spec("made", "made.xc.yaml", model=made, addons=addons)
