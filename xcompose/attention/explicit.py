"""Tiles with materialised scores, for what the fused kernel does not know: terms, dropped weights, chosen slots.

Maths    tile t of a query: m_t = max(s_t), l_t = sum exp(s_t - m_t), o_t = sum exp(s_t - m_t) v
         m = max_t(m_t), o = sum_t exp(m_t - m) o_t / sum_t exp(m_t - m) l_t

Everything is plain operations that autograd follows; the maxima carry no gradient, because they cancel. Scores take
memory for the pairs of the tiles, not for all pairs; where that is much, they are computed again in the backward.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from xcompose.attention.cached import AREA, expanded, nothing, over_queries
from xcompose.attention.constant import constant
from xcompose.attention.learned import LearnedPattern, SortedTiles
from xcompose.attention.pattern import Point
from xcompose.attention.places import every
from xcompose.attention.reads import Read, Term
from xcompose.attention.stretches import Stretches
from xcompose.attention.terms import ChosenTerm, ReadTerms, TileTerm, ready_anywhere
from xcompose.attention.tiles import Layout, places_of, read_plan

PIECE = 2**18
"""Pairs of a tile without a mask at most; larger ones are cut into rows."""


KEPT_SCORES = 2**27
"""Scores that are kept for the backward at most, over batch and heads; more of them are computed again there."""


class Part(NamedTuple):
    """What one tile contributes to some queries."""

    rows: Tensor
    """(r), or (b h r) where every head has its own; into the rows of all queries."""
    top: Tensor
    """(b h r) the largest logit, -inf where there is none"""
    weight: Tensor
    """(b h r) the sum of weights"""
    value: Tensor
    """(b h r e) the weighted sum of values, after dropping"""


def attend_explicit(reads: Sequence[Read], dropout: float) -> Tensor:
    """One softmax over all reads: (b n h e)."""
    b, n, h, _ = reads[0].q.shape
    parts: list[Part] = []
    for read in reads:
        pattern = read.pattern
        parts += _chosen(read, pattern, dropout) if isinstance(pattern, LearnedPattern) else _fixed(read, dropout)
    if not parts:
        return nothing(reads)
    return _merged(parts, b, h, n)


def _merged(parts: Sequence[Part], b: int, h: int, n: int) -> Tensor:
    """Add up the parts of each query on one scale."""
    first = torch.arange(b * h, device=parts[0].top.device).view(b, h, 1) * n
    index = torch.cat([(first + part.rows).flatten() for part in parts])
    tops = torch.cat([part.top.flatten() for part in parts])
    top = tops.new_full((b * h * n,), -torch.inf).scatter_reduce(0, index, tops, "amax")
    top = top.masked_fill(top == -torch.inf, 0.0)
    share = torch.exp(tops - top[index])
    weights = torch.cat([part.weight.flatten() for part in parts]) * share
    values = torch.cat([part.value.flatten(0, 2) for part in parts]) * share[:, None]
    total = weights.new_zeros(b * h * n).index_add(0, index, weights)
    value = values.new_zeros(b * h * n, values.shape[-1]).index_add(0, index, values)
    value = value / torch.where(total == 0, 1.0, total)[:, None]
    return value.view(b, h, n, -1).transpose(1, 2)


def _part(rows: Tensor, logits: Tensor, v: Tensor, dropout: float, terms: Sequence[TileTerm | ChosenTerm] = ()) -> Part:
    """Weights from the logits (... r m) of a tile, and their sum over values (... m e)."""
    top = logits.detach().amax(-1)
    weights = torch.exp(logits - top.masked_fill(top == -torch.inf, 0.0)[..., None])
    kept = functional.dropout(weights, dropout) if dropout else weights
    value = kept @ v
    for term in terms:
        if term.term.adds_values:
            value = value + term.values(kept)
    return Part(rows, top, weights.sum(-1), value)


def _fixed(read: Read, dropout: float) -> Iterator[Part]:
    """The tiles of a pattern that knows its pairs beforehand."""
    device = read.q.device
    plan, masks = _plan(read), {}
    b, _, h, _ = read.q.shape
    scores = b * h * sum(len(rows) * len(cols) for rows, cols, _ in plan.tiles)
    again = scores > KEPT_SCORES and torch.is_grad_enabled()
    terms = ReadTerms(read, [(rows, cols) for rows, cols, _ in plan.tiles])
    sides = _Sides.of(read)
    for rows, cols, kind in plan.tiles:
        if kind >= 0 and kind not in masks:
            masks[kind] = tile_mask(plan.text, kind, len(rows), len(cols)).to(device)
        mask = masks.get(kind)
        if again:
            yield Part(*checkpoint(_tile, read, sides, terms, rows, cols, mask, dropout, use_reentrant=False))
        else:
            yield _tile(read, sides, terms, rows, cols, mask, dropout)


class _Sides(NamedTuple):
    """What the tiles of a read take rows of."""

    q: Stretches
    raw: Stretches
    k: Stretches
    v: Stretches

    @classmethod
    def of(cls, read: Read) -> _Sides:
        q = Stretches(read.q)
        raw = q if read.raw_q is None or read.raw_q is read.q else Stretches(read.raw_q)
        return cls(q, raw, Stretches(read.slots.k), Stretches(read.slots.v))


def _tile(
    read: Read, sides: _Sides, terms: ReadTerms, rows: Any, cols: Any, mask: Tensor | None, dropout: float
) -> Part:
    """What one tile of a fixed pattern contributes."""
    slots, heads, device = read.slots, read.q.shape[2], read.q.device
    asking, asked = _index(rows, device), _index(cols, device)
    k, v = expanded(sides.k.of(asked), heads), expanded(sides.v.of(asked), heads)
    logits = sides.q.of(asking).transpose(1, 2) @ k.transpose(-1, -2) * read.scale
    added = terms.of(rows, cols)
    for term in added:
        logits = logits + term.bias(sides.raw.of(asking))
    if slots.log_weight is not None:
        logits = logits + over_queries(slots.log_weight[..., asked])
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf)
    numbers = asking if isinstance(asking, Tensor) else every(rows, device)
    return _part(numbers, logits, v, dropout, added)


def _chosen(read: Read, pattern: LearnedPattern, dropout: float) -> list[Part]:
    """The tiles of a pattern that contents choose, another choice for each sequence and head."""
    slots, heads = read.slots, read.q.shape[2]
    q_tags, k_tags = pattern.tags(read.q, slots.k, read.queries)
    at, own = read.queries.at, slots.at
    assert isinstance(at, range)
    assert isinstance(own, range)
    k, v = expanded(slots.k, heads), expanded(slots.v, heads)
    raw = read.q if read.raw_q is None else read.raw_q
    terms = ready_anywhere(read)
    side = _Chosen(read, terms, at, own, q_tags, k_tags, read.q.transpose(1, 2), k, v, raw.transpose(1, 2))
    covers = pattern.sorted_cover(q_tags, k_tags)
    scores = sum(tiles.queries.numel() * tiles.keys.shape[3] for tiles in covers)
    again = scores > KEPT_SCORES and torch.is_grad_enabled()
    found = []
    for tiles in (piece for cover in covers for piece in _pieces(cover)):
        made = checkpoint(side.part, tiles, dropout, use_reentrant=False) if again else side.part(tiles, dropout)
        found.append(Part(*made))
    if pattern.otherwise == "self":
        found.append(side.lonely(found, dropout))
    return found


def _pieces(tiles: SortedTiles) -> Iterator[SortedTiles]:
    """Some tiles at a time, so that the scores of a piece stay few; all where they take no room."""
    b, h, count, rows = tiles.queries.shape
    if tiles.queries.is_meta:
        yield tiles
        return
    some = max(1, AREA // max(1, b * h * rows * tiles.keys.shape[3]))
    for low in range(0, count, some):
        here = slice(low, low + some)
        yield SortedTiles(tiles.queries[:, :, here], tiles.keys[:, :, here], tiles.allows)


class _Chosen(NamedTuple):
    """A read with chosen slots; q, k, v and raw queries are (b h n d), tags (b h n)."""

    read: Read
    ready: Sequence[Term]
    queries: range
    slots: range
    q_tags: Any
    k_tags: Any
    q: Tensor
    k: Tensor
    v: Tensor
    raw: Tensor

    def part(self, tiles: SortedTiles, dropout: float) -> Part:
        """Tiles of one cover at once: they have one shape."""
        rows, cols = tiles.queries.clamp(min=0), tiles.keys.clamp(min=0)
        query, slot = self._query(rows), self._slot(cols)
        logits = _picked(self.q, rows) @ _picked(self.k, cols).transpose(-1, -2) * self.read.scale
        terms = [ChosenTerm(term, torch.as_tensor(term.label(query, slot))) for term in self.ready]
        for term in terms:
            logits = logits + term.bias(_picked(self.raw, rows))
        readable = (tiles.queries >= 0)[..., None] & (tiles.keys >= 0)[..., None, :]
        readable = readable & tiles.allows(query, slot)
        if self.read.causal:
            readable = readable & (slot.last <= query.at)
        weight = self.read.slots.log_weight
        if weight is not None:
            logits = logits + self._of_slots(weight, cols)[..., None, :]
        logits = logits.masked_fill(~readable, -torch.inf)
        part = _part(rows, logits, _picked(self.v, cols), dropout, terms)
        return Part(rows.flatten(2), part.top.flatten(2), part.weight.flatten(2), part.value.flatten(2, 3))

    def lonely(self, others: Sequence[Part], dropout: float) -> Part:
        """Queries that read nothing in the other parts read the slot that stands where they do."""
        b, h, n, _ = self.q.shape
        rows = torch.arange(n, device=self.q.device)
        at, first = self.queries, self.slots
        own = (every(at, rows.device) - first.start) // first.step
        there = (own >= 0) & (own < self.k.shape[2])
        own = own.clamp(0, self.k.shape[2] - 1)
        logits = (self.q * self.k[:, :, own]).sum(-1, keepdim=True) * self.read.scale
        each, mine = rows.expand(b, h, n)[..., None], own.expand(b, h, n)[..., None]
        labelled = self._query(each), self._slot(mine)
        terms = [ChosenTerm(term, torch.as_tensor(term.label(*labelled))) for term in self.ready]
        for term in terms:
            logits = logits + term.bias(self.raw[..., None, :])[..., 0]
        weight = self.read.slots.log_weight
        if weight is not None:
            logits = logits + self._of_slots(weight, own.expand(b, h, n))[..., None]
        read = self.q.new_full((b, h, n), -torch.inf)
        for part in others:
            read = read.scatter_reduce(2, part.rows, part.top, "amax")
        logits = logits.masked_fill(~(there & (read == -torch.inf))[..., None], -torch.inf)
        top = logits.detach()[..., 0]
        weights = torch.exp(logits - top.masked_fill(top == -torch.inf, 0.0)[..., None])
        kept = functional.dropout(weights, dropout) if dropout else weights
        value = kept * self.v[:, :, own]
        for term in terms:
            if term.term.adds_values:
                value = value + term.values(kept[..., None])[..., 0, :]
        return Part(rows.expand(b, h, n), top, weights[..., 0], value)

    def _query(self, rows: Tensor) -> Point:
        at, heads = self.queries, self.q.shape[1]
        return Point(
            at=(at.start + rows * at.step)[..., None],
            head=torch.arange(heads, device=rows.device).view(heads, 1, 1, 1),
            tags={name: _numbers(tag, rows)[..., None] for name, tag in self.q_tags.items()},
            total=self.read.queries.total,
        )

    def _slot(self, cols: Tensor) -> Point:
        at = self.slots
        tags = {name: _numbers(tag, cols)[..., None, :] for name, tag in self.k_tags.items()}
        return Point(at=(at.start + cols * at.step)[..., None, :], tags=tags)

    def _of_slots(self, weight: Tensor, cols: Tensor) -> Tensor:
        b, h = self.q.shape[:2]
        weight = weight[:, None].expand(b, h, -1) if weight.ndim == 2 else weight
        return _numbers(weight, cols)


def _picked(t: Tensor, where: Tensor) -> Tensor:
    """Rows of t (b h n d) at (b h t r): (b h t r d)."""
    b, h, _, d = t.shape
    return t.gather(2, where.flatten(2)[..., None].expand(b, h, -1, d)).unflatten(2, where.shape[2:])


def _numbers(t: Tensor, where: Tensor) -> Tensor:
    """Numbers of t (b h n) at (b h ...)."""
    return t.gather(2, where.flatten(2)).view(where.shape)


class _Tiles(NamedTuple):
    """A plan as plain numbers, which the compiler follows, and as text, from which masks are read."""

    tiles: Sequence[tuple[Any, Any, int]]
    text: str


def _plan(read: Read) -> _Tiles:
    places = places_of(read, triangles=False)
    if torch.compiler.is_compiling():
        return _Tiles(_spelt_tiles(read.pattern, *places), _spelt_plan(read.pattern, *places))
    layout = Layout(read.pattern, *places)
    return _Tiles(_cut(layout), layout.plan().text())


@constant
def _spelt_tiles(pattern: Any, *places: Any) -> tuple[tuple[Any, Any, int], ...]:
    return _cut(Layout(pattern, *places))


@constant
def _spelt_plan(pattern: Any, *places: Any) -> str:
    return Layout(pattern, *places).plan().text()


def _cut(layout: Layout) -> tuple[tuple[Any, Any, int], ...]:
    """Rows, columns and kind of each tile, large ones without a mask in pieces."""
    found = []
    for tile in layout.plan().tiles:
        height = len(tile.rows) if tile.kind >= 0 else max(1, PIECE // len(tile.cols))
        found += [(tile.rows[low : low + height], tile.cols, tile.kind) for low in range(0, len(tile.rows), height)]
    return tuple(found)


@torch.library.custom_op("xcompose::tile_mask", mutates_args=())
def tile_mask(plan: str, kind: int, rows: int, cols: int) -> Tensor:
    """(rows cols) bool: one mask of a plan."""
    return torch.from_numpy(read_plan(plan).masks[kind].copy())


@tile_mask.register_fake
def _(plan, kind, rows, cols):
    return torch.empty(rows, cols, dtype=torch.bool)


def _index(places: Any, device: torch.device) -> slice | Tensor:
    if isinstance(places, range):
        return slice(places.start, places.stop, places.step)
    return torch.tensor(places, device=device)
