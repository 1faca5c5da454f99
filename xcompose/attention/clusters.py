"""Patterns that put rows into clusters, and attention in clusters: a softmax in each, and the mean of them.

Maths    o_i(c) = softmax over the slots j of cluster c that query i may read, for every cluster c with i
         o_i = the mean of o_i(c) over the clusters in which i may read something;  0 where there is none

A cluster is a tile: its rows and columns are gathered, whatever their places are, so that work and memory grow with the
pairs inside clusters. `attention/reference.py` has the definition.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from xcompose.attention.learned import LearnedPattern, SortedTiles, Tags
from xcompose.attention.pattern import Point
from xcompose.attention.places import every
from xcompose.attention.reads import Axis, Read, Term
from xcompose.attention.terms import by_tile, ready_anywhere

WORD = 32
"""Clusters in one integer."""
KEPT_SCORES = 2**27
"""Scores that are kept for the backward at most, over batch and heads; more of them are computed again there."""


class ClusterPattern(LearnedPattern):
    """A pattern that puts queries and slots into clusters, each into as many as it likes.

    With `otherwise = "self"` a query reads itself only in clusters where it may read nothing else.
    """

    merge = "mean"
    clusters: int
    """How many clusters k there are."""

    @abstractmethod
    def members(self, q: Tensor, k: Tensor, queries: Axis, there: Tensor | None) -> tuple[Tensor, Tensor]:
        """Which queries and which slots stand in each cluster: (b h k n) and (b h k m) bool.

        Args:
            q: (b n h d) queries, turned by the position already.
            k: (b m g d) keys; g divides h.
            queries: their place in time; those that are not valid stand nowhere.
            there: (b m) bool, which slots exist; the others stand nowhere. None: all of them.
        """

    @abstractmethod
    def room(self, rows: int) -> int:
        """How many of so many queries or slots a cluster has at most."""

    def null(self) -> tuple[Tensor, Tensor] | None:
        """A slot in each cluster that all of its queries may read, keys (h k d) and values (h k e); None: no such."""
        return None

    def tags(self, q: Tensor, k: Tensor, queries: Axis, there: Tensor | None = None) -> tuple[Tags, Tags]:
        asking, asked = self.members(q, k, queries, there)
        return _packed(asking), _packed(asked)

    def stands(self, cluster: int, row: Point) -> Any:
        """Whether a query or a slot stands in a cluster."""
        word, bit = divmod(cluster, WORD)
        return (row.tags[f"clusters.{word}"] >> bit) & 1 == 1

    def apart(self, q: Point, k: Point) -> Any:
        """Whether a pair counts where both stand in one cluster: all do, but for a query and itself."""
        same = q.at == k.at
        return ~same if self.otherwise == "self" else same | ~same

    def allows(self, q: Point, k: Point) -> Any:
        found = q.tags["clusters.0"] & k.tags["clusters.0"] != 0
        for word in range(1, -(-self.clusters // WORD)):
            found = found | (q.tags[f"clusters.{word}"] & k.tags[f"clusters.{word}"] != 0)
        return found & self.apart(q, k)

    def sorted_cover(self, q_tags: Tags, k_tags: Tags) -> tuple[SortedTiles, ...]:
        """One tile for each cluster; unlike elsewhere a pair stands in as many of them as it has clusters."""
        return (self.tiles(_unpacked(q_tags, self.clusters), _unpacked(k_tags, self.clusters)),)

    def tiles(self, asking: Tensor, asked: Tensor) -> SortedTiles:
        """One tile for each cluster, from what `members` gives."""
        rows = self._listed(asking)
        return SortedTiles(rows, rows if asked is asking else self._listed(asked), self.apart)

    def _listed(self, member: Tensor) -> Tensor:
        """(b h k r) which rows each cluster has, in the order of time; -1 behind the last."""
        n = member.shape[-1]
        size = self.room(n)
        place = torch.where(member, member.cumsum(-1) - 1, size)
        rows = torch.arange(n, device=member.device).expand_as(place)
        return rows.new_full((*member.shape[:3], size + 1), -1).scatter(-1, place, rows)[..., :size]


def slots_there(read: Read) -> Tensor | None:
    """(b m) bool: which slots a read has; a causal one has those of its queries."""
    weight = read.slots.log_weight
    if read.causal or weight is None:
        return read.queries.valid if read.causal else None
    return weight > -torch.inf


def attend_clusters(read: Read, dropout: float) -> Tensor:
    """The answers (b n h e) to a read whose pattern is a `ClusterPattern`, which shares its softmax with nobody."""
    pattern = read.pattern
    assert isinstance(pattern, ClusterPattern)
    tiles = pattern.tiles(*pattern.members(read.q, read.slots.k, read.queries, slots_there(read)))
    b, h, t, r = tiles.queries.shape
    scores = tiles.queries.numel() * tiles.keys.shape[-1]
    if scores > KEPT_SCORES and torch.is_grad_enabled():
        answers, some = checkpoint(_answered, read, tiles, dropout, use_reentrant=False)  # type: ignore[misc]
    else:
        answers, some = _answered(read, tiles, dropout)
    n = read.q.shape[1]
    first = torch.arange(b * h, device=read.q.device).view(b, h, 1, 1) * n
    index = (first + tiles.queries.clamp(min=0)).transpose(1, 2).flatten()
    count = some.new_zeros(b * h * n).index_add(0, index, some.flatten())
    total = answers.new_zeros(b * h * n, answers.shape[-1]).index_add(0, index, answers.flatten(0, 2))
    return (total / count.clamp(min=1)[:, None]).view(b, h, n, -1).transpose(1, 2)


def _answered(read: Read, tiles: SortedTiles, dropout: float) -> tuple[Tensor, Tensor]:
    """For each cluster (x = b t) the answers (x h r e) of its rows, 0 where there is none, and 1 where there is one
    (x h r)."""
    asked = _Asked.of(read, tiles)
    terms = ready_anywhere(read)
    labels = [term.label(asked.query, asked.slot) for term in terms]
    logits = asked.q.transpose(1, 2) @ asked.k.permute(0, 2, 3, 1) * read.scale
    for term, label in zip(terms, labels, strict=True):
        logits = logits + term.bias(asked.raw, label)
    if asked.weight is not None:
        logits = logits + asked.weight[:, :, None]
    readable, values = asked.readable(read), asked.v.transpose(1, 2)
    pattern: ClusterPattern = read.pattern  # type: ignore[assignment]
    null = pattern.null()
    if pattern.otherwise == "self" and null is None:
        alone = ~readable.any(-1, keepdim=True)
        readable = readable | (alone & asked.there & (asked.query.at == asked.slot.at))
    if null is not None:
        k, v = (_of_tiles(t, len(asked.q)).to(asked.q.dtype) for t in null)
        logits = torch.cat([logits, (asked.q.transpose(1, 2) * k).sum(-1, keepdim=True) * read.scale], -1)
        readable, values = torch.cat([readable, asked.rows[..., None]], -1), torch.cat([values, v], 2)
    logits = logits.masked_fill(~readable, -torch.inf)
    some = readable.any(-1)
    weights = torch.softmax(logits.masked_fill(~some[..., None], 0.0), -1) * some[..., None]
    if dropout:
        weights = functional.dropout(weights, dropout)
    return _summed(weights, values, terms, labels), some.to(weights.dtype)


def _summed(weights: Tensor, values: Tensor, terms: Sequence[Term], labels: Sequence[Tensor]) -> Tensor:
    """(x h r e) the values with these weights, and what terms add to them."""
    found = weights @ values
    for term, label in zip(terms, labels, strict=True):
        if term.adds_values:
            found = found + term.values(weights[..., : label.shape[-1]], label)
    return found


class _Asked(NamedTuple):
    """The gathered rows and slots of all clusters, x of them in all sequences together."""

    q: Tensor
    """(x r h d)"""
    raw: Tensor
    """(x r h d) before the turn"""
    k: Tensor
    """(x m h d)"""
    v: Tensor
    """(x m h e)"""
    weight: Tensor | None
    """(x h m)"""
    query: Point
    slot: Point
    rows: Tensor
    """(x h r) bool: whether there is a row"""
    there: Tensor
    """(x h r m) bool: whether there is a pair, allowed or not"""

    @classmethod
    def of(cls, read: Read, tiles: SortedTiles) -> _Asked:
        slots, heads, device = read.slots, read.q.shape[2], read.q.device
        asking, asked = tiles.queries.clamp(min=0), tiles.keys.clamp(min=0)
        k, v = (t.repeat_interleave(heads // t.shape[2], 2) for t in (slots.k, slots.v))
        at_q = _numbers(read.queries.positions(device), asking)
        at_k = _numbers(slots.at if isinstance(slots.at, Tensor) else every(slots.at, device), asked)
        head = torch.arange(heads, device=device)[:, None, None]
        rows, cols = (by_tile(side >= 0) for side in (tiles.queries, tiles.keys))
        q = _rows(read.q, asking)
        return cls(
            q, q if read.raw_q is None else _rows(read.raw_q, asking), _rows(k, asked), _rows(v, asked),
            None if slots.log_weight is None else _numbers(slots.log_weight, asked),
            Point(at=at_q[..., None], head=head, total=read.queries.total), Point(at=at_k[..., None, :]),
            rows, rows[..., None] & cols[..., None, :],
        )  # fmt: skip

    def readable(self, read: Read) -> Tensor:
        """(x h r m) bool: which pairs count."""
        pattern: ClusterPattern = read.pattern  # type: ignore[assignment]
        found = self.there & pattern.apart(self.query, self.slot)
        return found & (self.slot.at <= self.query.at) if read.causal else found


def _rows(t: Tensor, where: Tensor) -> Tensor:
    """Rows of t (b n h d) at (b h t r): (b t, r h d)."""
    index = where.permute(0, 2, 3, 1).flatten(1, 2)
    found = t.gather(1, index[..., None].expand(-1, -1, -1, t.shape[-1]))
    return found.unflatten(1, where.shape[2:]).flatten(0, 1)


def _numbers(t: Tensor, where: Tensor) -> Tensor:
    """Numbers of t (n), (b n) or (b h n) at (b h t r): (b t, h r)."""
    b, h = where.shape[:2]
    t = t[:, None] if t.ndim == 2 else t
    return by_tile(t.expand(b, h, -1).gather(2, where.flatten(2)).view(where.shape))


def _of_tiles(t: Tensor, count: int) -> Tensor:
    """A vector for each head and cluster (h t d) as one of every sequence (b t, h 1 d)."""
    return t.transpose(0, 1).repeat(count // t.shape[1], 1, 1)[:, :, None]


def _packed(member: Tensor) -> dict[str, Tensor]:
    """Membership (b h k n) as the bits of integers (b h n)."""
    found = {}
    for word, some in enumerate(member.split(WORD, 2)):
        bits = torch.arange(some.shape[2], device=member.device)
        found[f"clusters.{word}"] = (some.long() << bits[:, None]).sum(2)
    return found


def _unpacked(tags: Tags, clusters: int) -> Tensor:
    """The same backwards."""
    words = torch.stack([tags[f"clusters.{word}"] for word in range(len(tags))], 2)
    bits = torch.arange(min(clusters, WORD), device=words.device)
    return (words[:, :, :, None] >> bits[:, None] & 1).flatten(2, 3)[:, :, :clusters] == 1
