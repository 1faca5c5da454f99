"""Attention by the book: dense, slow, and right. Every executor must give what this gives.

All logits of all reads stand in one matrix (b h n m); what a query may not read is -inf; one softmax. The only inputs
are the predicates and the slots: no cover, no plan, no cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from xcompose.attention.clusters import ClusterPattern, slots_there
from xcompose.attention.learned import LearnedPattern
from xcompose.attention.pattern import Pattern, Point
from xcompose.attention.places import Stairs, every
from xcompose.attention.reads import BEFORE_TIME, Axis, Read, Slots


def attend_reference(reads: Sequence[Read]) -> Tensor:
    """One softmax over all slots that the reads allow.

    Args:
        reads: sources with queries of one shape (b n h d) and slots of their own, (b m g d) and (b m g e).

    Returns:
        (b n h e); a query that may read nothing gives 0.
    """
    if isinstance(reads[0].pattern, ClusterPattern):
        return _mean_of_clusters(reads[0], reads[0].pattern)
    heads = reads[0].q.shape[2]
    logits = torch.cat([logits_of(read) for read in reads], dim=-1)
    values = torch.cat([_per_head(read.slots.v, heads) for read in reads], dim=1)
    top = logits.detach().amax(dim=-1, keepdim=True)
    weights = torch.exp(logits - torch.where(top == -torch.inf, 0.0, top))
    total = weights.sum(dim=-1, keepdim=True)
    weights = weights / torch.where(total == 0, 1.0, total)
    answer = torch.einsum("b h n m, b m h e -> b n h e", weights, values)
    for read, own in zip(reads, weights.split([read.slots.k.shape[1] for read in reads], -1), strict=True):
        query, slot = _query(read, 0, heads, {}), _slot(read, 0, heads, {})
        for term in read.terms:
            if term.adds_values:
                answer = answer + term.values(own, term.label(query, slot)).transpose(1, 2)
    return answer


class InCluster(Pattern):
    """What one cluster lets its queries read: other rows of it, the query itself, or a slot that all of them read."""

    def __init__(self, pattern: ClusterPattern, cluster: int, what: Literal["rows", "self", "null"]):
        self.pattern, self.cluster, self.what = pattern, cluster, what

    def allows(self, q: Point, k: Point) -> Any:
        stands = self.pattern.stands(self.cluster, q)
        if self.what == "null":
            return stands
        wanted = self.pattern.apart(q, k) if self.what == "rows" else q.at == k.at
        return stands & self.pattern.stands(self.cluster, k) & wanted


def _mean_of_clusters(read: Read, pattern: ClusterPattern) -> Tensor:
    """The mean of the softmaxes of all clusters in which a query may read something."""
    q_tags, k_tags = pattern.tags(read.q, read.slots.k, read.queries, slots_there(read))
    read = replace(read, queries=replace(read.queries, tags=q_tags), slots=replace(read.slots, tags=k_tags))
    total, count = torch.zeros((), device=read.q.device), torch.zeros((), device=read.q.device)
    for cluster in range(pattern.clusters):
        reads = [replace(read, pattern=InCluster(pattern, cluster, "rows")), *_null(read, pattern, cluster)]
        answer, some = attend_reference(reads), _reads_any(reads)
        if pattern.otherwise == "self":
            own = [replace(read, pattern=InCluster(pattern, cluster, "self"))]
            answer, some = torch.where(some, answer, attend_reference(own)), some | _reads_any(own)
        total, count = total + answer, count + some.to(answer.dtype)
    return total / torch.where(count == 0, 1.0, count)


def _null(read: Read, pattern: ClusterPattern, cluster: int) -> list[Read]:
    """The slot that belongs to a cluster, if there is one."""
    null = pattern.null()
    if null is None:
        return []
    k, v = (t[None, None, :, cluster].expand(len(read.q), -1, -1, -1) for t in null)
    slots = Slots(k, v, range(1), end=BEFORE_TIME)
    return [replace(read, slots=slots, pattern=InCluster(pattern, cluster, "null"), terms=())]


def _reads_any(reads: Sequence[Read]) -> Tensor:
    """(b n h 1) bool: whether a query may read something in some of the reads."""
    return torch.cat([allowed(read) for read in reads], -1).any(-1).transpose(1, 2)[..., None]


def allowed(read: Read) -> Tensor:
    """(b h n m) bool: which slots each query may read, causality, absent slots and lonely queries included."""
    heads, first, found = read.q.shape[2], 0, []
    for count, pattern in read.pattern.groups(heads):
        found.append(_allowed_group(read, pattern, first, count))
        first += count
    return torch.cat(found, dim=1)


def logits_of(read: Read) -> Tensor:
    """(b h n m), -inf where a query may not read."""
    heads = read.q.shape[2]
    found = torch.einsum("b n h d, b m h d -> b h n m", read.q, _per_head(read.slots.k, heads)) * read.scale
    query, slot = _query(read, 0, heads, {}), _slot(read, 0, heads, {})
    for term in read.terms:
        labels = term.label(query, slot)
        found = found + term.bias(read.q if read.raw_q is None else read.raw_q, labels)
    if read.slots.log_weight is not None:
        found = found + _over_slots(read.slots.log_weight)
    return torch.where(allowed(read), found + _often(read), -torch.inf)


def _allowed_group(read: Read, pattern: Pattern, first: int, count: int) -> Tensor:
    """(b count n m) for the heads from `first` on, which share a pattern."""
    b, n, _, _ = read.q.shape
    query, slot = _points(read, pattern, first, count)
    readable = torch.ones(b, count, n, read.slots.k.shape[1], dtype=torch.bool, device=read.q.device)
    if read.causal:
        readable = readable & (slot.last <= query.at)
    if read.slots.log_weight is not None:
        readable = readable & (_of_heads(_over_slots(read.slots.log_weight), first, count) > -torch.inf)
    found = readable & pattern.allows(query, slot)
    if pattern.otherwise == "self":
        lonely = ~found.any(dim=-1, keepdim=True)
        found = found | (lonely & readable & (slot.at == query.at))
    return found


def _often(read: Read) -> Tensor | float:
    """The logarithm of how often a key counts, (b h n m) where it may count more than once."""
    pattern = read.pattern
    if pattern.merge == "set":
        return 0.0
    assert isinstance(pattern, LearnedPattern), "only contents find a key several times"
    query, slot = _points(read, pattern, 0, read.q.shape[2])
    return pattern.times(query, slot).clamp(min=1).to(read.q.dtype).log()


def _points(read: Read, pattern: Pattern, first: int, count: int) -> tuple[Point, Point]:
    """Queries and slots of some heads, with what contents chose for them."""
    q_tags, k_tags = {}, {}
    if isinstance(pattern, LearnedPattern):
        here = slice(first, first + count)
        keys = _per_head(read.slots.k, read.q.shape[2])[:, :, here]
        q_tags, k_tags = pattern.tags(read.q[:, :, here], keys, read.queries)
    return _query(read, first, count, q_tags), _slot(read, first, count, k_tags)


def _query(read: Read, first: int, count: int, tags: Mapping[str, Tensor]) -> Point:
    """All queries as (b h n 1)."""
    device = read.q.device
    known = {name: _over_slots(tag).mT for name, tag in {**read.queries.tags, **tags}.items()}
    head = torch.arange(first, first + count, device=device)[:, None, None]
    at = _place(read.queries.at, device)
    return Point(at=at.mT, head=head, tags=known, total=_length(read.queries))


def _slot(read: Read, first: int, count: int, tags: Mapping[str, Tensor]) -> Point:
    """All slots as (b h 1 m)."""
    device, slots = read.q.device, read.slots
    start = None if slots.start is None else _place(slots.start, device)
    end = None if slots.end is None else _place(slots.end, device)
    known = {name: _of_heads(_over_slots(tag), first, count) for name, tag in slots.tags.items()}
    known |= {name: _over_slots(tag) for name, tag in tags.items()}
    at = _of_heads(_place(slots.at, device), first, count)
    return Point(at=at, start=start, end=end, tags=known, total=_length(read.queries))


def _length(queries: Axis) -> int | Tensor | None:
    """The length of every sequence: rows that are not valid stand at its end and do not count."""
    if queries.total is None or queries.valid is None:
        return queries.total
    return queries.lengths()[:, None, None, None]


def _place(at: range | Stairs | Tensor | int, device: torch.device) -> Tensor:
    """Positions as (b 1 1 m) or (1 1 1 m)."""
    if isinstance(at, int):
        return torch.full((1, 1, 1, 1), at, device=device)
    return _over_slots(at if isinstance(at, Tensor) else every(at, device))


def _over_slots(t: Tensor) -> Tensor:
    """(m), (b m) or (b h m) as (b h 1 m)."""
    if t.dim() == 1:
        return t[None, None, None]
    return t[:, None, None] if t.dim() == 2 else t[:, :, None]


def _of_heads(t: Tensor, first: int, count: int) -> Tensor:
    """The part of (b h 1 m) that a group of heads has; (b 1 1 m) is common to all."""
    return t if t.shape[1] == 1 else t[:, first : first + count]


def _per_head(t: Tensor, heads: int) -> Tensor:
    """Keys or values (b m g d) repeated to (b m h d); head h has the key of group h // (heads / g)."""
    return t.repeat_interleave(heads // t.shape[2], dim=2)
