"""Convolved memory: blocks of keys and values are summed up into one slot each, by a convolution that never overlaps.

Maths    K_c = W_K [k_{cf} .. k_{cf+f-1}] + b_K, V_c likewise;  slot c may be read from position cf + f - 1 on
         an encoder fills the last block with zeros;  a decoder has no slot for a block that is not complete
Shapes   k (b n g d);  v (b n g e);  K (b m g d), m = n / f;  W_K (g d, f g d)
Cost     time f (g d)^2 for each slot, n (n / f) pairs a head;  a decoder keeps n / f slots and less than f tokens
Limits   before the first block ends there is nothing to read but `null`;  its pattern counts in tokens, by the last of
         a block;  a null slot stands at position 0 for rotary and has distance 0 for alibi
Paper    Liu et al., Generating Wikipedia by Summarizing Long Sequences, ICLR 2018, arXiv:1801.10198, s. 4.2.4;
         projected keys and values are convolved, separately, with biases, as the paper's figure has it
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from xcompose.api import (
    BEFORE_TIME,
    NEVER,
    Axis,
    Component,
    Context,
    Count,
    Everything,
    Memory,
    Part,
    Slots,
    Spans,
    append,
    drop,
    empty_cache,
    fill_rows,
    hookimpl,
    kept,
    option,
    options,
    pack,
)


@options
class ConvOptions:
    """Convolved memory."""

    factor: Count = option(main=True, at_least=1)
    """Tokens f in a slot: width and step of the convolution."""
    null: Literal["none", "learned", "zero"] = option("none")
    """A slot that every query may read: a learned one, or logit 0 with value 0."""
    pattern: Part.pattern = option("dense")
    """Which slots a query may read."""


class Conv(Memory):
    """One slot for each block of tokens."""

    def __init__(self, options: ConvOptions, context: Context):
        super().__init__()
        assert context.kv_heads is not None, "a memory is built inside an attention"
        assert context.head_dim is not None, "a memory is built inside an attention"
        self.factor, self.causal = options.factor, context.causal != "none"
        self.pattern = context.build(options.pattern)
        widths = [context.kv_heads * one for one in (context.head_dim, context.value_dim or context.head_dim)]
        self.k, self.v = (nn.Linear(self.factor * width, width) for width in widths)

    def spans(self, n: int) -> Spans:
        f, m = self.factor, self._count(n)
        at = range(f - 1, f - 1 + m * f, f)
        return Spans(range(0, m * f, f), [min(last, n - 1) for last in at], at)

    def slots(self, k: Tensor, v: Tensor, axis: Axis) -> tuple[Slots, Mapping[str, Tensor]]:
        f, m = self.factor, self._count(k.shape[1])
        there = axis.valid
        if there is not None:
            k, v = fill_rows(k, there), fill_rows(v, there)
        missing = m * f - k.shape[1]
        if missing > 0:
            k, v = (torch.cat([t, t.new_zeros(t.shape[0], missing, *t.shape[2:])], 1) for t in (k, v))
        k, v = self._summed(k[:, : m * f], v[:, : m * f])
        weight = None if there is None or self.causal else self._absent(there, m, k)
        return Slots(k, v, range(f - 1, f - 1 + m * f, f), start=range(0, m * f, f), log_weight=weight), {}

    def start(self, batch: int, k: Tensor, v: Tensor) -> Any:
        blank = empty_cache(batch, k.shape[2], k.shape[3], v.shape[3], k)
        return {"slots": blank, "tail": dict(blank)}

    def extend(self, state: Any, k: Tensor, v: Tensor, axis: Axis) -> tuple[Slots, Any, Mapping[str, Tensor]]:
        """Blocks start at multiples of f in each sequence, so what waits for the end of its block stands in front."""
        f = self.factor
        waiting = append(state["tail"], {"k": k, "v": v}, axis)
        waiting = pack(waiting["at"] < NEVER, waiting, {"at": NEVER})
        at = waiting["at"]
        m = at.shape[1] // f
        new_k, new_v = self._summed(waiting["k"][:, : m * f], waiting["v"][:, : m * f])
        new = {"k": new_k, "v": new_v, "at": at[:, f - 1 : m * f : f]}
        slots = {name: torch.cat([t, new[name]], 1) for name, t in state["slots"].items()}
        complete = (at < NEVER).sum(1, keepdim=True) // f * f
        open_block = (at < NEVER) & (torch.arange(at.shape[1], device=at.device) >= complete)
        last, first = self._places(state, slots["at"], axis)
        after = {
            "slots": drop(slots, self.pattern.last_reader, axis),
            "tail": pack(open_block, waiting, {"at": NEVER}),
        }
        return Slots(slots["k"], slots["v"], last, start=first), after, {}

    def state_shape(self, n: int, groups: int, width: int, value_width: int) -> Mapping[str, tuple[int, ...]]:
        sizes = {"slots": kept(self.pattern, self.spans(n).at, n), "tail": n % self.factor}
        shapes = {"k": (groups, width), "v": (groups, value_width), "at": ()}
        return {f"{part}.{name}": (m, *shape) for part, m in sizes.items() for name, shape in shapes.items()}

    def _places(self, state: Any, at: Tensor, axis: Axis) -> tuple[range | Tensor, range | Tensor]:
        """Last and first position of each slot: ranges, which plans are made from, where nothing came before."""
        f, m = self.factor, at.shape[1]
        anew = state["slots"]["at"].shape[1] == 0 and state["tail"]["at"].shape[1] == 0
        if anew and isinstance(axis.at, range) and axis.valid is None:
            begin = axis.at.start
            return range(begin + f - 1, begin + f - 1 + m * f, f), range(begin, begin + m * f, f)
        return at, at - (f - 1)

    def _count(self, n: int) -> int:
        return n // self.factor if self.causal else -(-n // self.factor)

    def _summed(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Whole blocks (b (m f) g d) to slots (b m g d)."""
        g = k.shape[2]
        k, v = (rearrange(t, "b (m f) g d -> b m (f g d)", f=self.factor) for t in (k, v))
        return tuple(rearrange(one, "b m (g d) -> b m g d", g=g) for one in (self.k(k), self.v(v)))  # type: ignore[return-value]

    def _absent(self, there: Tensor, m: int, like: Tensor) -> Tensor:
        """(b m) log-weights: a slot is there if any of its tokens is, and tokens stand in front."""
        some = there[:, :: self.factor][:, :m]
        return torch.zeros_like(some, dtype=like.dtype).masked_fill(~some, -torch.inf)


class Null(Memory):
    """One slot that belongs to no position."""

    pattern = Everything()

    def __init__(self, options: ConvOptions, context: Context):
        super().__init__()
        assert context.kv_heads is not None, "a memory is built inside an attention"
        assert context.head_dim is not None, "a memory is built inside an attention"
        g, d, e = context.kv_heads, context.head_dim, context.value_dim or context.head_dim
        self.k = nn.Parameter(torch.zeros(1, g, d)) if options.null == "learned" else None
        self.v = nn.Parameter(torch.zeros(1, g, e)) if options.null == "learned" else None

    def spans(self, n: int) -> Spans:
        return Spans([BEFORE_TIME], [BEFORE_TIME], [0])

    def slots(self, k: Tensor, v: Tensor, axis: Axis) -> tuple[Slots, Mapping[str, Tensor]]:
        own_k, own_v = (
            t.new_zeros(t.shape[0], 1, *t.shape[2:]) if own is None else repeat(own.to(t), "m g d -> b m g d", b=len(t))
            for t, own in ((k, self.k), (v, self.v))
        )
        before = range(BEFORE_TIME, BEFORE_TIME + 1)
        return Slots(own_k, own_v, range(1), start=before, end=before), {}

    def start(self, batch: int, k: Tensor, v: Tensor) -> Any:
        return {}

    def extend(self, state: Any, k: Tensor, v: Tensor, axis: Axis) -> tuple[Slots, Any, Mapping[str, Tensor]]:
        slots, losses = self.slots(k, v, axis)
        return slots, state, losses

    def state_shape(self, n: int, groups: int, width: int, value_width: int) -> Mapping[str, tuple[int, ...]]:
        return {}


def build(options: ConvOptions, context: Context) -> Memory | tuple[Memory, ...]:
    """The blocks, and the null slot beside them."""
    blocks = Conv(options, context)
    return blocks if options.null == "none" else (blocks, Null(options, context))


@hookimpl
def components():
    return [Component(kind="memory", name="conv", options=ConvOptions, build=build, also=("compressed", "dmca"))]
