"""Attention from the predicate alone, without a plan: decoding, and queries whose times differ from row to row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from xcompose.attention.island import exact, island
from xcompose.attention.learned import LearnedPattern
from xcompose.attention.pattern import Point
from xcompose.attention.places import Stairs, every
from xcompose.attention.reads import Axis, Read, Slots

AREA = 2**24
"""Logits at once, over batch and heads; longer queries are answered in pieces."""


def attend_cached(reads: Sequence[Read], dropout: float = 0.0) -> Tensor:
    """One softmax over every slot of every read; scores are materialised for some queries at a time.

    Returns:
        (b n h e); a query that may read nothing gives 0.
    """
    b, n, heads, _ = reads[0].q.shape
    reads = [_tagged(read) for read in reads]
    height = max(1, AREA // max(1, b * heads * sum(read.slots.k.shape[1] for read in reads)))
    pieces = [slice(low, low + height) for low in range(0, n, height)]
    if len(reads) == 1 and not reads[0].terms and not dropout and reads[0].pattern.merge == "set":
        return torch.cat([_masked(_some(reads[0], rows)) for rows in pieces], 1)
    return on_island(partial(_in_pieces, pieces))(reads, dropout)


def on_island(attend: Callable[[Sequence[Read], float], Tensor]) -> Callable[[Sequence[Read], float], Tensor]:
    """The same with logits, weights and sums in single precision at least; the answer is of the type of values."""

    def answer(reads: Sequence[Read], dropout: float) -> Tensor:
        v = reads[0].slots.v
        with island(v):
            return attend([_promoted(read) for read in reads], dropout).to(v.dtype)

    return answer


def _promoted(read: Read) -> Read:
    slots, raw = read.slots, read.raw_q
    weight = None if slots.log_weight is None else exact(slots.log_weight)
    slots = replace(slots, k=exact(slots.k), v=exact(slots.v), log_weight=weight)
    return replace(read, q=exact(read.q), raw_q=None if raw is None else exact(raw), slots=slots)


def _in_pieces(pieces: Sequence[slice], reads: Sequence[Read], dropout: float) -> Tensor:
    values = torch.cat([expanded(read.slots.v, reads[0].q.shape[2]) for read in reads], 2)
    return torch.cat([_answers(reads, rows, values, dropout) for rows in pieces], 1)


def _masked(read: Read) -> Tensor:
    """The answers (b n h e) of one read without terms, by torch's own attention."""
    mask = visible(read, query_point(read.queries, read.q.device), slot_point(read.slots, read.q.device))
    mask = mask.expand(*[1] * (4 - mask.ndim), *mask.shape[:-2], read.q.shape[1], read.slots.k.shape[1])
    if read.slots.log_weight is not None:
        mask = over_queries(read.slots.log_weight).to(read.q.dtype).masked_fill(~mask, -torch.inf)
    q, k, v = (t.transpose(1, 2) for t in (read.q, read.slots.k, read.slots.v))
    out = functional.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, scale=read.scale, enable_gqa=q.shape[1] != k.shape[1]
    )
    return out.transpose(1, 2)


def _tagged(read: Read) -> Read:
    """A learned pattern decides about all queries before they are divided."""
    if not isinstance(read.pattern, LearnedPattern):
        return read
    asking, asked = read.pattern.tags(read.q, read.slots.k, read.queries)
    queries = replace(read.queries, tags={**read.queries.tags, **asking})
    return replace(read, queries=queries, slots=replace(read.slots, tags={**read.slots.tags, **asked}))


def _answers(reads: Sequence[Read], rows: slice, values: Tensor, dropout: float) -> Tensor:
    """The answers (b r h e) of some queries; values (b h m e) of all slots."""
    some = [_some(read, rows) for read in reads]
    labels = [_labels(read) for read in some]
    logits = torch.cat([masked_logits(*one) for one in zip(some, labels, strict=True)], -1)
    top = logits.detach().amax(-1, keepdim=True)
    weights = torch.exp(logits - top.masked_fill(top == -torch.inf, 0.0))
    total = weights.sum(-1, keepdim=True)
    weights = weights / torch.where(total == 0, 1.0, total)
    if dropout:
        weights = functional.dropout(weights, dropout)
    return (weights @ values + _added(some, labels, weights)).transpose(1, 2)


def _added(reads: Sequence[Read], labels: Sequence[Sequence[Tensor]], weights: Tensor) -> Tensor | float:
    """What terms add to the answers (b h r e), from the weights (b h r m) of all slots."""
    found, each = 0.0, weights.split([read.slots.k.shape[1] for read in reads], -1)
    for read, known, own in zip(reads, labels, each, strict=True):
        for term, label in zip(read.terms, known, strict=True):
            if term.adds_values:
                found = found + term.values(own, label)
    return found


def _labels(read: Read) -> list[Tensor]:
    """Of each term, for all pairs."""
    if not read.terms:
        return []
    device = read.q.device
    query, slot = query_point(read.queries, device), slot_point(read.slots, device)
    return [torch.as_tensor(term.label(query, slot), device=device) for term in read.terms]


def _some(read: Read, rows: slice) -> Read:
    """The same read, asked by some of the queries."""
    axis = read.queries
    if rows.start == 0 and rows.stop >= axis.n:
        return read
    at = axis.at[rows] if isinstance(axis.at, range) else axis.at[:, rows]
    tags = {name: tag[..., rows] for name, tag in axis.tags.items()}
    valid = None if axis.valid is None else axis.valid[:, rows]
    raw = None if read.raw_q is None else read.raw_q[:, rows]
    return replace(read, q=read.q[:, rows], raw_q=raw, queries=Axis(at, valid, tags, axis.total, axis.clock))


def nothing(reads: Sequence[Read]) -> Tensor:
    """The answers (b n h e) of queries that may read no slot: zeros that still depend on the queries."""
    width = reads[0].slots.v.shape[-1]
    return reads[0].q.sum(-1, keepdim=True) * 0 + reads[0].q.new_zeros(width)


def masked_logits(read: Read, labels: Sequence[Tensor]) -> Tensor:
    """(b h n m) logits with terms and log-weights, -inf where a query may not read.

    Args:
        labels: of each term.
    """
    keys = expanded(read.slots.k, read.q.shape[2])
    logits = read.q.transpose(1, 2) @ keys.transpose(-1, -2) * read.scale
    query, slot = query_point(read.queries, logits.device), slot_point(read.slots, logits.device)
    raw = read.q if read.raw_q is None else read.raw_q
    for term, label in zip(read.terms, labels, strict=True):
        logits = logits + term.bias(raw, label)
    if read.slots.log_weight is not None:
        logits = logits + over_queries(read.slots.log_weight)
    if read.pattern.merge == "multiset":
        assert isinstance(read.pattern, LearnedPattern), "only contents find a key several times"
        logits = logits + read.pattern.times(query, slot).clamp(min=1).to(logits.dtype).log()
    return logits.masked_fill(~visible(read, query, slot), -torch.inf)


def visible(read: Read, query: Point, slot: Point) -> Tensor:
    """Which slots a query may read, broadcastable to (b h n m)."""
    device, weight = read.q.device, read.slots.log_weight
    if read.pattern.per_head:
        query = replace(query, head=torch.arange(read.q.shape[2], device=device)[:, None, None])
    readable = (slot.last <= query.at) if read.causal else torch.ones((), dtype=torch.bool, device=device)
    allowed = torch.as_tensor(read.pattern.allows(query, slot), device=device) & readable
    if read.pattern.otherwise == "self":
        there = allowed if weight is None else allowed & (over_queries(weight) > -torch.inf)
        allowed = allowed | (~there.any(-1, keepdim=True) & readable & (slot.at == query.at))
    return allowed


def query_point(axis: Axis, device: torch.device) -> Point:
    """The rows of an axis as the asking side: positions (n 1) or (b 1 n 1)."""
    return Point(
        at=_asking(axis.positions(device)),
        tags={name: _asking(tag) for name, tag in axis.tags.items()},
        total=axis.total,
    )


def slot_point(slots: Slots, device: torch.device) -> Point:
    """Slots as the asked side: positions (m), (b 1 1 m) or (b h 1 m)."""
    return Point(
        at=_asked(slots.at, device),
        start=_asked(slots.start, device),
        end=_asked(slots.end, device),
        tags=_asked_tags(slots.tags),
    )


def over_queries(weights: Tensor) -> Tensor:
    """(b m) or (b h m) to (b 1|h 1 m)."""
    return weights[:, None, None] if weights.ndim == 2 else weights[:, :, None]


def expanded(t: Tensor, heads: int) -> Tensor:
    """(b m g d) to (b h m d): every key/value group serves `h / g` heads."""
    groups = t.shape[2]
    t = t.transpose(1, 2)
    return t if groups == heads else t.repeat_interleave(heads // groups, 1)


def _asking(t: Tensor) -> Tensor:
    if t.ndim == 1:
        return t[:, None]
    return t[:, None, :, None] if t.ndim == 2 else t[..., None]


def _asked(at: range | Stairs | Tensor | int | None, device: torch.device) -> Tensor | int | None:
    if isinstance(at, range | Stairs):
        return every(at, device)
    return over_queries(at) if isinstance(at, Tensor) and at.ndim > 1 else at


def _asked_tags(tags: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: over_queries(tag) for name, tag in tags.items()}
