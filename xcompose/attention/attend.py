"""One softmax over reads: chooses an executor from shapes, types and flags, never from data.

sdpa       one read of everything: torch's own attention
fused      tiles through the fused CPU kernel, merged inside one operation
explicit   tiles with materialised scores: terms, dropped weights, chosen slots, other devices
cached     no plan: times differ from row to row, or there are few queries
clusters   a softmax in each cluster, and the mean of them
reference  dense, by the book

The kernels of the first two keep logits and sums in single precision themselves; all others work on an island of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from xcompose.attention.cached import attend_cached, nothing, on_island
from xcompose.attention.clusters import attend_clusters
from xcompose.attention.constant import constant
from xcompose.attention.explain import report
from xcompose.attention.explicit import attend_explicit
from xcompose.attention.fused import attend_tiles, handle
from xcompose.attention.reads import Read, Slots
from xcompose.attention.reference import attend_reference
from xcompose.attention.tiles import Layout, places_of

FEW = 8
"""Queries up to this number need no plan: their scores are small."""


def attend(reads: Sequence[Read], *, dropout: float = 0.0, training: bool = False, executor: str = "auto") -> Tensor:
    """Answer every query by one softmax over all slots that its reads allow.

    Args:
        reads: sources with queries of one shape (b n h d), slots of their own.
        dropout: probability of dropping a weight after normalisation, while `training`.
        executor: "auto", or the name of one executor: it is used whether it is the best or not.

    Returns:
        (b n h e); a query that may read nothing gives 0.

    Raises:
        ValueError: no reads, an unknown executor, or one that cannot do these reads.
    """
    if not reads:
        raise ValueError("attend needs at least one read")
    if executor not in ("auto", *EXECUTORS):
        raise ValueError(f"unknown executor {executor!r}; there are: auto, {', '.join(EXECUTORS)}")
    if len(reads) > 1 and any(read.pattern.merge == "mean" for read in reads):
        raise ValueError("a mean of several softmaxes shares none of them with another read")
    dropout = dropout if training else 0.0
    reads = [_placed(read) for read in reads]
    chosen, reason = choose(reads, dropout)
    if executor not in ("auto", chosen):
        refused = _refusal(executor, reads, dropout)
        if refused:
            raise ValueError(f"the executor {executor!r} cannot do this: {refused}")
        chosen, reason = executor, "asked for"
    if not torch.compiler.is_compiling():
        for read in reads:
            report(read.name, chosen, reason)
    filled = [read for read in reads if read.slots.k.shape[1]]
    if not filled or not reads[0].q.shape[:3].numel():
        return nothing(reads)
    if chosen == "sdpa" and reads[0].q.device.type == "meta":
        # There only counting matters, and torch's own attention would count every masked pair.
        chosen = "explicit" if _not_fused(reads, dropout) else "fused"
    return EXECUTORS[chosen](_alike(filled), dropout)


def _alike(reads: Sequence[Read]) -> list[Read]:
    """The reads with queries and keys of the type that values have."""
    dtype = reads[0].slots.v.dtype
    return [replace(read, q=read.q.to(dtype), slots=_cast(read.slots, dtype)) for read in reads]


def _cast(slots: Slots, dtype: torch.dtype) -> Slots:
    return replace(slots, k=slots.k.to(dtype), v=slots.v.to(dtype))


def _placed(read: Read) -> Read:
    """A read of everything, past and future, asks nobody for places: then any will do that a plan can be made from."""
    if read.causal or read.terms or not read.pattern.full:
        return read
    places = range(read.slots.k.shape[1])
    return replace(
        read,
        queries=replace(read.queries, at=range(read.q.shape[1])),
        slots=replace(read.slots, at=places, start=None, end=None),
    )


def choose(reads: Sequence[Read], dropout: float) -> tuple[str, str]:
    """The executor for these reads, and why."""
    if reads[0].pattern.merge == "mean":
        return "clusters", "each cluster has a softmax of its own"
    refused = _no_plan(reads)
    if refused:
        return "cached", refused
    n, refused = reads[0].q.shape[1], _not_whole(reads, dropout)
    if n <= FEW and (refused or reads[0].causal):
        return "cached", f"{n} {'query needs' if n == 1 else 'queries need'} no plan"
    if not refused:
        return "sdpa", "every pair counts, before the query where causal"
    refused = _not_fused(reads, dropout)
    if not refused:
        return "fused", "fixed tiles without trainable masks"
    return "explicit", refused


def _refusal(executor: str, reads: Sequence[Read], dropout: float) -> str:
    """Why an executor cannot do these reads; empty if it can."""
    if executor != "reference" and (executor == "clusters") != (reads[0].pattern.merge == "mean"):
        return "only the executor 'clusters' takes the mean of several softmaxes, and it does nothing else"
    if executor == "cached":
        return ""
    if executor == "reference":
        return "weights are dropped" if dropout else ""
    if executor == "sdpa":
        return _not_whole(reads, dropout)
    return _no_plan(reads) or (_not_fused(reads, dropout) if executor == "fused" else "")


def _no_plan(reads: Sequence[Read]) -> str:
    for read in reads:
        slots = read.slots
        if any(isinstance(place, Tensor) for place in (read.queries.at, slots.at, slots.start, slots.end)):
            return "positions differ from row to row"
        if not read.pattern.learned and (read.queries.tags or slots.tags):
            return "rows carry tags"
        if not read.pattern.learned and read.pattern.otherwise != "nothing":
            return "queries that may read nothing read themselves"
        if read.pattern.per_head:
            return "heads have patterns of their own"
        if read.pattern.learned and (slots.start is not None or slots.end is not None):
            return "contents choose the slots, and these stand for more than one position"
    return ""


def _not_whole(reads: Sequence[Read], dropout: float) -> str:
    if len(reads) > 1:
        return "several reads share the softmax"
    read = reads[0]
    if not read.pattern.full:
        return "not every pair counts"
    if read.causal and not _aligned(read):
        return "queries and slots do not start together"
    if read.slots.log_weight is not None:
        return "slots have log-weights"
    if read.q.device.type == "cpu" and read.q.shape[-1] != read.slots.v.shape[-1]:
        return "values are not as wide as keys, which torch's own attention answers without a kernel"
    return _bent(read, dropout)


def _not_fused(reads: Sequence[Read], dropout: float) -> str:
    for read in reads:
        if read.slots.log_weight is not None and read.slots.log_weight.requires_grad:
            return "log-weights are trained"
        if read.q.device.type not in ("cpu", "meta"):
            return f"the fused kernel of tiles is not there on {read.q.device.type}"
        if read.pattern.learned:
            return "contents choose the slots"
        bent = _bent(read, dropout)
        if bent:
            return bent
    return ""


def _bent(read: Read, dropout: float) -> str:
    """What the fused kernel does not know about the weights."""
    if dropout:
        return "weights are dropped"
    return "terms are added to the logits" if read.terms else ""


def _aligned(read: Read) -> bool:
    """Whether row i and slot i stand at one place, for all i."""
    slots = read.slots
    return slots.start is None and slots.end is None and _same(read.queries.at, slots.at)


def _same(a: range | Tensor, b: range | Tensor) -> bool:
    return isinstance(a, range) and isinstance(b, range) and (a.start, a.stop, a.step) == (b.start, b.stop, b.step)


def _sdpa(reads: Sequence[Read], dropout: float) -> Tensor:
    read = reads[0]
    q, k, v = (t.transpose(1, 2) for t in (read.q, read.slots.k, read.slots.v))
    out = functional.scaled_dot_product_attention(
        q, k, v, is_causal=read.causal, scale=read.scale, enable_gqa=q.shape[1] != k.shape[1]
    )
    return out.transpose(1, 2)


def _fused(reads: Sequence[Read], dropout: float) -> Tensor:
    width = reads[0].slots.v.shape[-1]
    same = len({read.slots.k.shape[2] for read in reads}) == 1
    sides = [_square(read, None if same else read.q.shape[2]) for read in reads]
    weights = [read.slots.log_weight for read in reads]
    plans = "\n".join(_plan(read) for read in reads)
    q, k, v = (list(side) for side in zip(*sides, strict=True))
    none = reads[0].q.new_zeros(0)
    weights = [none if weight is None else weight for weight in weights]
    out, _ = attend_tiles(q, k, v, weights, plans, [float(read.scale) for read in reads])
    return out[..., :width]


def _square(read: Read, heads: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys, values of one width: the narrower are filled up with zeros."""
    q, k, v = read.q, read.slots.k, read.slots.v
    if heads is not None:
        k, v = (t.repeat_interleave(heads // t.shape[2], 2) for t in (k, v))
    wider = v.shape[-1] - q.shape[-1]
    if wider > 0:
        q, k = functional.pad(q, (0, wider)), functional.pad(k, (0, wider))
    return q, k, functional.pad(v, (0, -wider)) if wider < 0 else v


def _plan(read: Read) -> str:
    places = places_of(read, triangles=read.slots.log_weight is None)
    if torch.compiler.is_compiling():
        return _written(read.pattern, *places)
    return handle(Layout(read.pattern, *places))


@constant
def _written(pattern: Any, *places: Any) -> str:
    """The whole plan as text; the compiler calls this once and keeps what it says."""
    return Layout(pattern, *places).plan().text()


EXECUTORS: dict[str, Callable[[Sequence[Read], float], Tensor]] = {
    "sdpa": _sdpa,
    "fused": _fused,
    "explicit": on_island(attend_explicit),
    "cached": attend_cached,
    "clusters": on_island(lambda reads, dropout: attend_clusters(reads[0], dropout)),
    "reference": on_island(lambda reads, dropout: attend_reference(reads)),
}
