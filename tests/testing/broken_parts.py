"""Components of layers with one fault each, which the kit must find: no card, for a start."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xcompose.api import (
    FFN,
    NEVER,
    Axis,
    CarriedRows,
    Component,
    Context,
    Count,
    Memory,
    Mixed,
    Mixer,
    Norm,
    Pattern,
    Point,
    Position,
    Residual,
    Run,
    Score,
    Slots,
    Spans,
    option,
    options,
)
from xcompose.attention.reads import BEFORE_TIME as BEFORE_TIME  # what no plugin may import


@options
class Plain:
    """None of them has options."""


class Near(Pattern):
    """A window of three keys on each side."""

    def allows(self, q: Point, k: Point) -> Any:
        return abs(q.at - k.at) <= 3


@options
class ShortCover(Near):
    """Its tiles end one key early."""

    def cover(self, queries: range, keys: range, causal: bool):
        return tuple(
            Run(count=1, rows=1, cols=6, q_start=q, q_step=0, k_start=q - 3, k_step=0, allows=self.allows).clipped(
                queries, keys
            )
            for q in queries
        )


@options
class EarlyReader(Near):
    """A cache drops a key one step too early."""

    def last_reader(self, at: Any) -> Any:
        return at + 2


@options
class LogSparse(Pattern):
    """Keys at distances that are powers of two, of which a cache drops those that are far away."""

    def allows(self, q: Point, k: Point) -> Any:
        apart = q.at - k.at
        return (apart & (apart - 1)) == 0

    def last_reader(self, at: Any) -> Any:
        return at + 128


@options
class Lonely(Near):
    """An option that nothing explains, with a default that a spec may not write."""

    size: Count = option(0, main=True, at_least=1)

    def last_reader(self, at: Any) -> Any:
        return at * 0 + NEVER


class LooksAround(Score):
    """A kernel relative to the largest number of the whole sequence."""

    kernel = True

    def __init__(self, options: Plain, context: Context):
        super().__init__()

    def features(self, t: Tensor, side: Any) -> tuple[Tensor, Tensor | None]:
        return (t - t.amax((1, 3), keepdim=True)).exp(), None


class TwoKernels(Score):
    """One feature map in a decoder, another one in an encoder."""

    kernel = True

    def __init__(self, options: Plain, context: Context):
        super().__init__()
        self.added = 1.0 if context.causal == "none" else 2.0

    def features(self, t: Tensor, side: Any) -> tuple[Tensor, Tensor | None]:
        return t.relu() + self.added, None


class Means(Memory):
    """Blocks of four, as their mean."""

    width = 4
    claimed = 0

    def __init__(self, options: Plain, context: Context):
        super().__init__()
        self.pattern = context.build(Everyone())

    def spans(self, n: int) -> Spans:
        start = np.arange(n // 4 + self.claimed) * 4
        return Spans(start, start + 3, start + 3)

    def slots(self, k: Tensor, v: Tensor, axis: Axis):
        m, n = k.shape[1] // 4, k.shape[1]
        ends = [(4 * c, min(4 * c + self.width, n)) for c in range(m)]
        means = [torch.stack([t[:, a:b].mean(1) for a, b in ends], 1) if m else t[:, :0] for t in (k, v)]
        at = torch.arange(m, device=k.device) * 4 + 3
        return Slots(*means, at=at, start=at - 3, end=at), {}


@options
class Everyone(Pattern):
    """All of them."""

    def allows(self, q: Point, k: Point) -> Any:
        return (q.at == q.at) & (k.at == k.at)


class WideMeans(Means):
    """A pooling window one wider than its stride."""

    width = 5


class MoreSpans(Means):
    """One span more than slots."""

    claimed = 1


class Attached(CarriedRows):
    """Earlier rows, with their gradient."""

    def __init__(self, options: Plain, context: Context):
        super().__init__("attached", 8, 8, context)

    def slots(self, k: Tensor, v: Tensor, axis: Axis):
        return self._slots(k, axis.at), {}


class KeepsMore(CarriedRows):
    """A state that is larger than it says."""

    def __init__(self, options: Plain, context: Context):
        super().__init__("more", 8, 8, context)

    def state_shape(self, n: int, groups: int, width: int, value_width: int):
        return {name: (max(0, size[0] - 1), *size[1:]) for name, size in super().state_shape(n, 1, 1, 1).items()}


class ByRow(Position):
    """Waves that start again in every call."""

    def __init__(self, options: Plain, context: Context):
        super().__init__()

    def embed(self, x: Tensor, axis: Axis) -> Tensor:
        return x + torch.arange(x.shape[1], device=x.device, dtype=x.dtype)[:, None].sin()


class TurnsByRow(Position):
    """Turns that start again in every call."""

    def __init__(self, options: Plain, context: Context):
        super().__init__()

    def turn(self, t: Tensor, at: Tensor, side: Any) -> Tensor:
        return t * (1 + torch.arange(t.shape[1], device=t.device, dtype=t.dtype)[:, None, None])


class ShortTable(Position):
    """A table with a row for each of forty places, and no word about the limit."""

    def __init__(self, options: Plain, context: Context):
        super().__init__()
        self.rows = nn.Embedding(40, context.dim)

    def embed(self, x: Tensor, axis: Axis) -> Tensor:
        return x + self.rows(axis.positions(x.device))


class RunningMean(Mixer):
    """The mean of all rows so far, with at most one fault."""

    ahead = padding = False

    def __init__(self, options: Plain, context: Context):
        super().__init__()
        self.dim, self.out = context.dim, nn.Linear(context.dim, context.dim)

    def mix(self, x: Tensor, axis: Axis, source: Any = None) -> Mixed:
        there = torch.ones_like(x[..., :1]) if axis.valid is None or self.padding else axis.valid[..., None].to(x)
        if self.ahead or axis.total is not None:
            mean = (x * there).sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp(min=1) + 0 * x
        else:
            mean = (x * there).cumsum(1) / there.cumsum(1).clamp(min=1)
        return Mixed(self.out(mean))

    def visible(self, n: int):
        from xcompose.api import Visible

        return (Visible("mean", 1, np.ones((n, n), dtype=bool), False),)


class SeesAll(RunningMean):
    ahead = True


class CountsPadding(RunningMean):
    padding = True


class MixesRows(FFN):
    """A statistic over rows."""

    def __init__(self, options: Plain, context: Context):
        super().__init__()
        self.linear = nn.Linear(context.dim, context.dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x - x.mean(1, keepdim=True))


class DeadWeight(FFN):
    """A layer that nothing uses."""

    def __init__(self, options: Plain, context: Context):
        super().__init__()
        self.linear, self.unused = nn.Linear(context.dim, context.dim), nn.Linear(context.dim, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class OverTime(Norm):
    """Its statistic is of a whole sequence."""

    def __init__(self, options: Plain, context: Context):
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x / (1e-6 + x.square().mean()).sqrt()


class Cuts(Norm):
    """It needs three axes."""

    def __init__(self, options: Plain, context: Context):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(context.dim))

    def forward(self, x: Tensor) -> Tensor:
        return torch.nn.functional.normalize(x, dim=-1)[..., :, : x.shape[-1]] * self.weight.detach()


class Backwards(Residual):
    """The last branch first."""

    def __init__(self, options: Plain, context: Context):
        super().__init__()
        self.norms = nn.ModuleList(context.norms())

    def forward(self, carry: Any, branches: Any):
        beside = []
        for norm, branch in reversed(list(zip(self.norms, branches, strict=True))):
            x, more = branch(norm(carry))
            carry, _ = carry + x, beside.append(more)
        return carry, beside


class OnlyFirst(Backwards):
    """The first branch alone."""

    def forward(self, carry: Any, branches: Any):
        x, more = branches[0](self.norms[0](carry))
        return carry + x, [more]


def made(kind: str, name: str, build: Any) -> Component:
    return Component(kind=kind, name=name, options=Plain, build=build)


COMPONENTS = [
    *(Component(kind="pattern", name=name, options=cls) for name, cls in
      {"short-cover": ShortCover, "early-reader": EarlyReader, "log-sparse": LogSparse, "lonely": Lonely,
       "everyone": Everyone}.items()),
    made("score", "looks-around", LooksAround), made("score", "two-kernels", TwoKernels),
    made("memory", "wide-means", WideMeans), made("memory", "more-spans", MoreSpans),
    made("recurrence", "attached", Attached), made("recurrence", "keeps-more", KeepsMore),
    made("position", "by-row", ByRow), made("position", "turns-by-row", TurnsByRow),
    made("position", "short-table", ShortTable),
    made("mixer", "sees-all", SeesAll), made("mixer", "counts-padding", CountsPadding),
    made("ffn", "mixes-rows", MixesRows), made("ffn", "dead-weight", DeadWeight),
    made("norm", "over-time", OverTime), made("norm", "cuts", Cuts),
    made("residual", "backwards", Backwards), made("residual", "only-first", OnlyFirst),
]  # fmt: skip
