"""Memories of blocks: `factor` tokens that follow each other become one slot, by whatever means a plugin has.

A slot stands `at` the last token of its block, so that a decoder may read it from there on. A decoder has no slot for a
block that is not complete; an encoder does, and what is missing in it is said to be absent.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from xcompose.attention.algebra import Everything
from xcompose.attention.checks import between_clocks
from xcompose.attention.pattern import NEVER
from xcompose.attention.reads import BEFORE_TIME, Axis, Slots
from xcompose.compose.parts import Context, Memory, Spans
from xcompose.decode.cache import append, drop, kept
from xcompose.decode.pack import fill_rows, pack
from xcompose.diagnostics import PartError

Null = Literal["none", "learned", "zero"]
Of = Literal["keys", "rows"]


class BlockMemory(Memory):
    """One slot for each block of tokens. A plugin says in `summed` how a block becomes a slot.

    Args:
        factor: tokens in a block.
        pattern: options of the pattern of its slots, which counts in tokens, by the last of a block.
        of: what is summed up: projected keys and values, or the rows before the projection.
        context: of an attention.

    Raises:
        PartError: in cross-attention the pattern compares positions of two sequences.
    """

    def __init__(self, factor: int, pattern: Any, of: Of, context: Context):
        super().__init__()
        self.factor, self.level, self.dim = factor, of, context.dim
        self.causal = context.causal != "none"
        self.pattern = context.build(pattern)
        reason = between_clocks(self.pattern, context.heads or 1) if context.role == "cross" else None
        if reason:
            raise PartError(
                f"cross-attention cannot use pattern '{context.name(pattern)}'", label=reason, option="pattern",
                fixes=("pattern=dense",),
            )  # fmt: skip

    @abstractmethod
    def summed(self, blocks: Tensor, name: str, there: Tensor | None) -> Tensor:
        """The slots of whole blocks.

        Args:
            blocks: keys (b m f g d), values (b m f g e) or rows (b m f c), zeros where nothing is there.
            name: which of them: `k`, `v` or `x`.
            there: (b m f) or (1 m f) bool; None: every token is there.

        Returns:
            (b m g d), (b m g e) or (b m c); of a block without any token it is not read.
        """

    def spans(self, n: int) -> Spans:
        f, m = self.factor, self._count(n)
        at = range(f - 1, f - 1 + m * f, f)
        return Spans(range(0, m * f, f), [min(last, n - 1) for last in at], at)

    def slots(self, k: Tensor, v: Tensor, axis: Axis) -> tuple[Slots, Mapping[str, Tensor]]:
        f, n = self.factor, k.shape[1]
        m = self._count(n)
        rows, there = self._named(k, v), axis.valid
        if there is not None:
            rows = {name: fill_rows(t, there) for name, t in rows.items()}
        if m * f > n:
            there = torch.ones(1, n, dtype=torch.bool, device=k.device) if there is None else there
            rows, there = {name: longer(t, m * f) for name, t in rows.items()}, longer(there, m * f)
        here = None if there is None else in_blocks(there[:, : m * f], f)
        found = {name: self.summed(in_blocks(t[:, : m * f], f), name, here) for name, t in rows.items()}
        weight = None
        if here is not None and axis.valid is not None and not self.causal:
            some = here.any(2)
            weight = torch.zeros_like(some, dtype=k.dtype).masked_fill(~some, -torch.inf)
        places = range(f - 1, f - 1 + m * f, f), range(0, m * f, f)
        return self._slots(found, *places, weight), {}

    def start(self, batch: int, k: Tensor, v: Tensor) -> Any:
        blank = {**self._named(k, v), "at": torch.zeros(batch, 0, dtype=torch.long, device=k.device)}
        return {"slots": blank, "tail": dict(blank)}

    def extend(self, state: Any, k: Tensor, v: Tensor, axis: Axis) -> tuple[Slots, Any, Mapping[str, Tensor]]:
        """Blocks start at multiples of f in each sequence, so what waits for the end of its block stands in front."""
        f = self.factor
        waiting = append(state["tail"], self._named(k, v), axis)
        waiting = pack(waiting["at"] < NEVER, waiting, {"at": NEVER})
        at = waiting["at"]
        m = at.shape[1] // f
        new = {
            name: self.summed(in_blocks(t[:, : m * f], f), name, None) for name, t in waiting.items() if name != "at"
        }
        new["at"] = at[:, f - 1 : m * f : f]
        slots = {name: torch.cat([t, new[name].to(t.dtype)], 1) for name, t in state["slots"].items()}
        complete = (at < NEVER).sum(1, keepdim=True) // f * f
        open_block = (at < NEVER) & (torch.arange(at.shape[1], device=at.device) >= complete)
        after = {
            "slots": drop(slots, self.pattern.last_reader, axis),
            "tail": pack(open_block, waiting, {"at": NEVER}),
        }
        return self._slots(slots, *self._places(state, slots["at"], axis)), after, {}

    def state_shape(self, n: int, groups: int, width: int, value_width: int) -> Mapping[str, tuple[int, ...]]:
        sizes = {"slots": kept(self.pattern, self.spans(n).at, n), "tail": n % self.factor}
        shapes: dict[str, tuple[int, ...]] = {"k": (groups, width), "v": (groups, value_width)}
        if self.level == "rows":
            shapes = {"x": (self.dim,)}
        shapes["at"] = ()
        return {f"{part}.{name}": (m, *shape) for part, m in sizes.items() for name, shape in shapes.items()}

    def _named(self, k: Tensor, v: Tensor) -> dict[str, Tensor]:
        return {"x": k} if self.level == "rows" else {"k": k, "v": v}

    def _slots(
        self, found: Mapping[str, Tensor], at: range | Tensor, start: range | Tensor, weight: Tensor | None = None
    ) -> Slots:
        if self.level == "rows":
            rows = rearrange(found["x"], "b m c -> b m 1 c")
            return Slots(rows, rows, at, start=start, log_weight=weight)
        return Slots(found["k"], found["v"], at, start=start, log_weight=weight)

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


class NullSlot(Memory):
    """One slot that belongs to no position and is always there.

    Args:
        learned: its key and value are parameters that start at 0; else they are 0.
        context: of an attention.
    """

    pattern = Everything()

    def __init__(self, learned: bool, context: Context):
        super().__init__()
        assert context.kv_heads is not None, "a memory is built inside an attention"
        assert context.head_dim is not None, "a memory is built inside an attention"
        g, d, e = context.kv_heads, context.head_dim, context.value_dim or context.head_dim
        self.k = nn.Parameter(torch.zeros(1, g, d)) if learned else None
        self.v = nn.Parameter(torch.zeros(1, g, e)) if learned else None

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


def with_null(blocks: Memory, null: Null, context: Context) -> Memory | tuple[Memory, ...]:
    """A memory, and beside it a null slot where one is wanted: what a build function may return."""
    return blocks if null == "none" else (blocks, NullSlot(null == "learned", context))


def in_blocks(t: Tensor, factor: int) -> Tensor:
    """(b n ...) as (b n/f f ...), zeros behind the end."""
    m = -(-t.shape[1] // factor)
    return (t if m * factor == t.shape[1] else longer(t, m * factor)).unflatten(1, (m, factor))


def longer(t: Tensor, n: int) -> Tensor:
    """t (b m ...) with zeros behind, n rows."""
    return torch.cat([t, t.new_zeros(t.shape[0], n - t.shape[1], *t.shape[2:])], 1)
