"""Faults of caches and of time: what decoding has, and the parallel pass has not."""

from __future__ import annotations

from typing import Any

import torch
from planting import Bed, decoder, fault
from torch import Tensor

from xcompose.attention import buckets, kernel, layer
from xcompose.attention.pattern import NEVER

LAYER = "model.layers.1.mixer"
DECODES = ("XC074", LAYER, "layer 1: mixer 'attention' decodes something else than it computes in parallel")


@fault(
    "a cache one step short",
    seen="lucidrains/x-transformers #187: four bugs in cache and padding; fla-org/flash-linear-attention #431",
    spec=decoder("attention(pattern=window(3))", "attention(score=linear)", "attention"),
    finds=DECODES,
)
def one_short(bed: Bed) -> None:
    def extend(self: Any, q: Tensor, k: Tensor, v: Tensor, view: Any, axis: Any, state: Any, asking: Any = None) -> Any:
        answer = real(self, q, k, v, view, axis, state, asking)
        return answer._replace(state=state) if k.shape[1] == 1 else answer

    real = bed.replace(kernel.KernelSums, "extend", extend)


@fault(
    "a key that is evicted one step early",
    seen="a class of fla-org/flash-linear-attention #431: mask, window and cache disagree",
    spec=decoder("attention(score=linear)", "attention(pattern=window(4))", "attention"),
    finds=DECODES,
)
def evicted(bed: Bed) -> None:
    bed.pattern("window", last_reader=lambda self, at: at + self.size - 1)


@fault(
    "positions that start again after a cache step",
    seen="a class of lucidrains/x-transformers #187: positions counted from the rows of the call",
    spec=decoder("attention(score=linear)", "attention(position=rotary)", "attention(score=linear)", position="none"),
    finds=DECODES,
)
def restarted(bed: Bed) -> None:
    rotary = bed.class_of("position", "rotary")
    real = rotary.turn
    bed.replace(
        rotary, "turn", lambda self, t, at, side: real(self, t, torch.arange(t.shape[1], device=t.device), side)
    )


@fault(
    "a relative distance that is off by one in decoding",
    seen="a class of lucidrains/x-transformers #64; the last row of a shifted matrix",
    spec=decoder("attention(score=linear)", "attention(position=relative(5))", "attention", position="none"),
    finds=DECODES,
)
def off_by_one(bed: Bed) -> None:
    labels = bed.class_of("position", "relative").terms.__globals__["Labels"]
    real = labels.bias

    def bias(self: Any, q: Tensor, which: Tensor) -> Tensor:
        return real(self, q, (which + 1).clamp(max=5) if q.shape[1] == 1 else which)

    bed.replace(labels, "bias", bias)


@fault(
    "the time of one row taken for that of all",
    seen="lucidrains/x-transformers #187, huggingface/transformers PR #46773: padding and continued prefill",
    spec=decoder("attention(score=linear)", "attention(position=rotary)", "attention(score=linear)", position="none"),
    finds=(
        "XC074", LAYER, "rows at different times do not decode what layer 1: mixer 'attention' computes in parallel"
    ),
)  # fmt: skip
def one_time(bed: Bed) -> None:
    rotary = bed.class_of("position", "rotary")
    real = rotary.turn
    bed.replace(
        rotary, "turn", lambda self, t, at, side: real(self, t, at[:1].expand_as(at) if at.ndim > 1 else at, side)
    )


@fault(
    "a state that two requests share",
    seen="a mutable default, or a cache that the module keeps; no thread known",
    spec=decoder("attention(pattern=window(3))", "attention(score=linear)", "attention"),
    finds=("XC065", LAYER, "layer 1: mixer 'attention' shares what it remembers between two requests"),
)
def shared_state(bed: Bed) -> None:
    kept: dict[int, Any] = {}

    def extend(self: Any, q: Tensor, k: Tensor, v: Tensor, view: Any, axis: Any, state: Any, asking: Any = None) -> Any:
        answer = real(self, q, k, v, view, axis, kept.get(id(self), state) if axis.at[0] else state, asking)
        kept[id(self)] = answer.state
        return answer

    real = bed.replace(kernel.KernelSums, "extend", extend)


@fault(
    "a state that a beam cannot reorder",
    seen="a class of lucidrains/x-transformers #187: caches whose first axis is not the batch",
    spec=decoder("attention(pattern=window(3))", "attention(score=linear)", "attention"),
    finds=("XC065", LAYER, "layer 1: mixer 'attention' keeps a state that cannot be reordered"),
)
def not_batch_first(bed: Bed) -> None:
    def turned(state: Any) -> Any:
        return {**state, "z": state["z"].transpose(0, 1).contiguous()}

    def extend(self: Any, q: Tensor, k: Tensor, v: Tensor, view: Any, axis: Any, state: Any, asking: Any = None) -> Any:
        answer = real(self, q, k, v, view, axis, turned(state), asking)
        return answer._replace(state=turned(answer.state))

    begin = kernel.KernelSums.start
    real = bed.replace(kernel.KernelSums, "extend", extend)
    bed.replace(kernel.KernelSums, "start", lambda self, batch, like: turned(begin(self, batch, like)))


@fault(
    "a cache that drops nothing",
    seen="a class of huggingface/transformers PR #48510: one layout of caches for windows and full attention",
    spec=decoder("attention(score=linear)", "attention(pattern=window(3))", "attention(score=linear)"),
    finds=("XC078", LAYER, "layer 1: mixer 'attention' keeps more than it says"),
)
def drops_nothing(bed: Bed) -> None:
    bed.replace(layer.cache, "drop", lambda cache, last_reader, axis: dict(cache))


@fault(
    "cached values that are not permuted with their keys",
    seen="keys move, values stay; no thread known",
    spec=decoder(
        "attention(pattern=window(3))",
        "attention(pattern=lsh(buckets=2, chunk=2, back=1, form=strict), shared_qk=true)",
        "attention(score=linear)",
    ),
    finds=DECODES,
)
def cached_values(bed: Bed) -> None:
    def first(keep: Tensor, rows: Any, width: int) -> Any:
        return {**real(keep, rows, width), "v": rows["v"][:, :width]}

    real = bed.replace(buckets, "_first", first)


@fault(
    "a pattern that says a key is read for ever when it is not",
    seen="a class of lucidrains/performer-pytorch #64: a state that grows where it need not",
    spec=decoder("attention(score=linear)", "attention(pattern=window(3))", length=None) + "expect: {state: O(1)}\n",
    finds=("XC061", "expect.state", "expected state O(1), found O(n)"),
    names="layer 1 keeps more with every token",
)
def for_ever(bed: Bed) -> None:
    bed.pattern("window", last_reader=lambda self, at: at * 0 + NEVER)
