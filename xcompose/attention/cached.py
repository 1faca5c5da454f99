"""Attention from the predicate alone, without a plan: decoding, and queries whose times differ from row to row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from xcompose.attention.pattern import Point
from xcompose.attention.reads import Axis, Read, Slots


def attend_cached(reads: Sequence[Read], dropout: float = 0.0) -> Tensor:
    """One softmax over every slot of every read; scores are materialised whole.

    Returns:
        (b n h e); a query that may read nothing gives 0.
    """
    logits = torch.cat([masked_logits(read) for read in reads], -1)
    top = logits.detach().amax(-1, keepdim=True)
    weights = torch.exp(logits - top.masked_fill(top.isneginf(), 0.0))
    total = weights.sum(-1, keepdim=True)
    weights = weights / torch.where(total == 0, 1.0, total)
    if dropout:
        weights = torch.nn.functional.dropout(weights, dropout)
    heads = reads[0].q.shape[2]
    values = torch.cat([expanded(read.slots.v, heads) for read in reads], 2)
    return (weights @ values).transpose(1, 2)


def masked_logits(read: Read) -> Tensor:
    """(b h n m) logits with terms and log-weights, -inf where a query may not read."""
    keys = expanded(read.slots.k, read.q.shape[2])
    logits = read.q.transpose(1, 2) @ keys.transpose(-1, -2) * read.scale
    query, slot = query_point(read.queries, logits.device), slot_point(read.slots, logits.device)
    raw = read.q if read.raw_q is None else read.raw_q
    for term in read.terms:
        logits = logits + term.bias(raw, torch.as_tensor(term.label(query, slot), device=logits.device))
    if read.slots.log_weight is not None:
        logits = logits + over_queries(read.slots.log_weight)
    return logits.masked_fill(~visible(read, query, slot, logits.device), -torch.inf)


def visible(read: Read, query: Point, slot: Point, device: torch.device) -> Tensor:
    """Which slots a query may read, broadcastable to (b h n m)."""
    if read.pattern.per_head:
        query = with_heads(query, read.q.shape[2], device)
    allowed = torch.as_tensor(read.pattern.allows(query, slot), device=device)
    if read.causal:
        allowed = allowed & (slot.last <= query.at)
    return allowed


def with_heads(query: Point, heads: int, device: torch.device) -> Point:
    """The same query, asked by every head at once."""
    asked = torch.arange(heads, device=device)[:, None, None]
    return Point(query.at, query.start, query.end, asked, query.tags, query.total)


def query_point(axis: Axis, device: torch.device) -> Point:
    """The rows of an axis as the asking side: positions (n 1) or (b 1 n 1)."""
    return Point(
        at=_asking(axis.positions(device)),
        tags={name: _asking(tag) for name, tag in axis.tags.items()},
        total=axis.total,
    )


def slot_point(slots: Slots, device: torch.device) -> Point:
    """Slots as the asked side: positions (m) or (b 1 1 m)."""
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


def _asked(at: range | Tensor | int | None, device: torch.device) -> Tensor | int | None:
    if isinstance(at, range):
        return torch.arange(at.start, at.stop, at.step, device=device)
    if isinstance(at, Tensor) and at.ndim == 2:
        return at[:, None, None]
    return at


def _asked_tags(tags: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: over_queries(tag) for name, tag in tags.items()}
