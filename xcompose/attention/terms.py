"""Terms by label: queries that ask vectors of labels, weights summed up by label, and what a tile asks of a term.

Maths    asked(q, L)_ij = q_i a_{L_ij};  weighed(w, L)_i = sum_j w_ij a_{L_ij}

In a tile of even steps the distance of a pair depends on column minus row alone. Then one number for each row and
distance, (r, r + m - 1), holds those of all pairs: row x begins r - 1 - x columns further left, which is a view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xcompose.attention.constant import constant
from xcompose.attention.groups import OnClock
from xcompose.attention.pattern import Point
from xcompose.attention.places import Stairs, every, numbers
from xcompose.attention.reads import Clock, Read, Term

Vectors = Callable[[Tensor], Tensor]
"""From labels (l) to their vectors (l h d), or (l 1 d) where heads share them."""


def asked(q: Tensor, labels: Tensor, vectors: Vectors, count: int | None = None) -> Tensor:
    """What queries (t n h d) get from the vectors of labels, broadcastable to (t 1 n m): (t h n m).

    Args:
        count: all labels lie below it, where that is known.
    """
    if labels.shape[-1] == labels.numel():
        return _product(q, vectors(labels.flatten()))
    low, high = _range(labels, count)
    scores = _product(q, vectors(torch.arange(low, high, device=q.device)))
    return scores.gather(-1, _each(labels - low, q.shape[0], q.shape[2], q.shape[1]))


def weighed(weights: Tensor, labels: Tensor, vectors: Vectors, count: int | None = None) -> Tensor:
    """The vectors of labels, summed with weights (t h n m): (t h n e). Arguments as for `asked`."""
    t, h, n, _ = weights.shape
    if labels.shape[-1] == labels.numel():
        return _sum(weights, vectors(labels.flatten()))
    low, high = _range(labels, count)
    summed = weights.new_zeros(t, h, n, high - low).scatter_add(-1, _each(labels - low, t, h, n), weights)
    return _sum(summed, vectors(torch.arange(low, high, device=weights.device)))


def looked_up(table: Tensor, which: Tensor) -> Tensor:
    """Rows `which` (l) of a table (L ...): a slice where these go up or down one by one, whose gradient is cheap."""
    if which.device.type != "cpu" or torch.compiler.is_compiling() or len(which) < 2:
        return table[which]
    first, last = int(which[0]), int(which[-1])
    step = 1 if last > first else -1
    if abs(last - first) != len(which) - 1 or not bool((which.diff() == step).all()):
        return table[which]
    return table[first : last + 1] if step == 1 else table[last : first + 1].flip(0)


def _product(q: Tensor, vectors: Tensor) -> Tensor:
    if vectors.shape[1] == 1:
        return q.transpose(1, 2) @ vectors[:, 0].T
    return torch.einsum("t n h d, l h d -> t h n l", q, vectors)


def _sum(weights: Tensor, vectors: Tensor) -> Tensor:
    if vectors.shape[1] == 1:
        return weights @ vectors[:, 0]
    return torch.einsum("t h n l, l h e -> t h n e", weights, vectors)


def _each(labels: Tensor, t: int, h: int, n: int) -> Tensor:
    return labels.expand(t, h, n, labels.shape[-1])


def _range(labels: Tensor, count: int | None) -> tuple[int, int]:
    """Which labels there can be: of few all, as of pairs that stand anywhere (t h n m), else from the smallest to the
    largest. Without data, as many as a tile of neighbours has."""
    most = sum(labels.shape[-2:])
    if count is not None and (count <= most or labels.ndim == 4):
        return 0, count
    return (0, most - 1) if labels.is_meta else (int(labels.min()), int(labels.max()) + 1)


class TileTerm(NamedTuple):
    """A term, as one tile of rows and columns asks it."""

    term: Term
    labels: Tensor
    """Of pairs, or (1 distances), or (1 1) where all pairs have the same."""
    skewed: bool = False
    """Whether labels are those of distances."""
    more: tuple[int, int] = (0, 0)
    """How many more distances, before the first and behind the last, have the same label as these."""
    index: Tensor | None = None
    """(r m) which of the labels (1 l) each pair has, where pairs stand anywhere."""

    def bias(self, q: Tensor) -> Tensor:
        """What is added to the logits, broadcastable to (t h n m)."""
        found = self.term.bias(q, self.labels)
        if self.index is not None:
            found = found.expand(*found.shape[:-2], len(self.index), found.shape[-1])
            return found.gather(-1, self.index.expand(*found.shape[:-2], *self.index.shape))
        if not self.skewed:
            return found
        if any(self.more):
            before, behind = self.more
            ends = found[..., :1].expand(*found.shape[:-1], before), found[..., -1:].expand(*found.shape[:-1], behind)
            found = torch.cat([ends[0], found, ends[1]], -1)
        return skewed(found.expand(*found.shape[:-2], q.shape[1], found.shape[-1]))

    def values(self, weights: Tensor) -> Tensor:
        """What is added to the values (t h n e), from weights (t h n m)."""
        if self.index is not None:
            summed = weights.new_zeros(*weights.shape[:-1], self.labels.shape[-1])
            return self.term.values(summed.scatter_add(-1, self.index.expand(weights.shape), weights), self.labels)
        if self.skewed:
            summed = unskewed(weights)
            if any(self.more):
                first, last = self.more[0] + 1, summed.shape[-1] - self.more[1] - 1
                ends = summed[..., :first].sum(-1, keepdim=True), summed[..., last:].sum(-1, keepdim=True)
                summed = torch.cat([ends[0], summed[..., first:last], ends[1]], -1)
            return self.term.values(summed, self.labels)
        if self.labels.numel() == 1:
            return self.term.values(weights.sum(-1, keepdim=True), self.labels)
        return self.term.values(weights, self.labels)


class ChosenTerm(NamedTuple):
    """A term, as tiles ask it that contents chose, others for each sequence and head."""

    term: Term
    labels: Tensor
    """(b h t r m)"""

    def bias(self, q: Tensor) -> Tensor:
        """What is added to the logits (b h t r m), from queries (b h t r d)."""
        b, h, t, r, m = self.labels.shape
        found = self.term.bias(by_tile(q).transpose(1, 2), by_tile(self.labels))
        return found.expand(b * t, h, r, m).unflatten(0, (b, t)).transpose(1, 2)

    def values(self, weights: Tensor) -> Tensor:
        """What is added to the values (b h t r e), from weights (b h t r m)."""
        found = self.term.values(by_tile(weights), by_tile(self.labels))
        return found.unflatten(0, (weights.shape[0], weights.shape[2])).transpose(1, 2)


def by_tile(t: Tensor) -> Tensor:
    """(b h t ...) as (b t, h ...): each tile for itself."""
    return t.transpose(1, 2).flatten(0, 1)


class ReadTerms:
    """The terms of a read whose queries and slots stand at places known beforehand.

    Args:
        tiles: rows and columns of every tile that will ask.
    """

    def __init__(self, read: Read, tiles: Sequence[tuple[Any, Any]]):
        self.read = read
        terms = read.terms if tiles else ()
        self.parts = [_Distances(read, term, tiles) if term.by_distance else term.ready(None) for term in terms]

    def of(self, rows: Any, cols: Any) -> list[TileTerm]:
        """What the terms do to the tile of these rows and columns."""
        found: list[TileTerm] = []
        points = None
        for part in self.parts:
            own = part.of(rows, cols) if isinstance(part, _Distances) else None
            if own is None:
                term, points = part.ready if isinstance(part, _Distances) else part, points or self._points(rows, cols)
                own = TileTerm(term, torch.as_tensor(term.label(*points), device=self.read.q.device))
            found.append(own)
        return found

    def _points(self, rows: Any, cols: Any) -> tuple[Point, Point]:
        device, slots = self.read.q.device, self.read.slots
        query = Point(at=_places(self.read.queries.at, rows, device)[:, None], total=self.read.queries.total)
        at, start, end = (_places(place, cols, device) for place in (slots.at, slots.start, slots.end))
        return query, Point(at=at, start=start, end=end)


def ready_anywhere(read: Read) -> list[Term]:
    """The terms of a read whose pairs may stand anywhere: what all of them share is made once, where places are known
    beforehand."""
    if isinstance(read.queries.at, range) and isinstance(read.slots.at, range):
        whole = range(len(read.queries.at)), range(len(read.slots.at))
        return [term.ready(_Stand.of(read, term).apart([whole]) if term.by_distance else None) for term in read.terms]
    return [term if term.by_distance else term.ready(None) for term in read.terms]


class _Distances:
    """A term that looks at distances only: the labels of all that the tiles of a read have, made once."""

    def __init__(self, read: Read, term: Term, tiles: Sequence[tuple[Any, Any]]):
        self.stand, self.device = _Stand.of(read, term), read.q.device
        apart = self.stand.apart(tiles)
        self.ready = term.ready(apart)
        self.term = self.ready.term if isinstance(self.ready, OnClock) else self.ready
        # Labels are looked at, so they have data even where all else is blank.
        far = every(apart, torch.device("cpu"))
        self.low, self.labels = apart.start, self.term.label(Point(at=far), Point(at=torch.zeros_like(far)))
        self.made: dict[tuple[int, int, int, int], TileTerm] = {}

    def of(self, rows: Any, cols: Any) -> TileTerm | None:
        """What a tile asks; None: where its pairs stand anywhere, in a graph that is traced."""
        first, _, step = self.stand.query(rows)
        _, last, other = self.stand.slot(cols)
        uneven = len(cols) > 1 and (other <= 0 or (len(rows) > 1 and step != other))
        if uneven or len(rows) > len(cols):
            return None if torch.compiler.is_compiling() else self._scattered(rows, cols)
        key = (first - last, max(1, other), len(rows), len(cols))
        if key not in self.made:
            self.made[key] = self._skewed(*key)
        return self.made[key]

    def _skewed(self, nearest: int, step: int, rows: int, cols: int) -> TileTerm:
        """What a tile asks whose pairs stand `nearest` apart at least, and `step` more from each place to the next."""
        most = nearest + step * (rows + cols - 2)
        labels = self.labels[nearest - self.low : most - self.low + 1 : step].flip(0)
        more = (0, 0) if torch.compiler.is_compiling() else _equal_ends(labels)
        if more[0] == len(labels) - 1:
            return TileTerm(self.term, labels[:1].to(self.device)[None])
        if rows == 1 or 2 * sum(more) < len(labels):
            return TileTerm(self.term, labels.to(self.device)[None], skewed=rows > 1)
        labels = labels[more[0] : len(labels) - more[1]]
        return TileTerm(self.term, labels.to(self.device)[None], skewed=True, more=more)

    def _scattered(self, rows: Any, cols: Any) -> TileTerm:
        """What a tile asks whose pairs stand anywhere: each label that some pair has, once."""
        stand, cpu = self.stand, torch.device("cpu")
        queries, slots = _places(stand.queries, rows, cpu), _places(stand.slots, cols, cpu)
        if stand.clock is not None:
            queries, slots = stand.clock.query(queries), stand.clock.slot(slots)
        asked_for = self.labels[queries[:, None] - slots - self.low]
        labels, index = asked_for.unique(return_inverse=True)
        return TileTerm(self.term, labels.to(self.device)[None], index=index.to(self.device))


class _Stand(NamedTuple):
    """Where queries and slots stand, on the clock of a term if it has one."""

    queries: range
    slots: range
    clock: Clock | None

    @classmethod
    def of(cls, read: Read, term: Term) -> _Stand:
        assert isinstance(read.queries.at, range)
        assert isinstance(read.slots.at, range)
        return cls(read.queries.at, read.slots.at, term.clock if isinstance(term, OnClock) else None)

    def query(self, rows: Any) -> tuple[int, int, int]:
        """The least place of some rows, the largest, and the step from each to the next: 0 where that differs."""
        return _stretch(self.queries, rows) if self.clock is None else clocked(self.clock, "query", self.queries, rows)

    def slot(self, cols: Any) -> tuple[int, int, int]:
        """The same of some columns."""
        return _stretch(self.slots, cols) if self.clock is None else clocked(self.clock, "slot", self.slots, cols)

    def apart(self, tiles: Sequence[tuple[Any, Any]]) -> range:
        """How far queries stand behind slots in any of the tiles."""
        ends = [(self.query(rows), self.slot(cols)) for rows, cols in tiles]
        nearest = min(query[0] - slot[1] for query, slot in ends)
        return range(nearest, max(query[1] - slot[0] for query, slot in ends) + 1)


def _stretch(axis: range, places: Any) -> tuple[int, int, int]:
    if isinstance(places, range):
        return axis[places[0]], axis[places[-1]], places.step * axis.step
    return axis[min(places)], axis[max(places)], 0


@constant
def clocked(clock: Clock, side: Literal["query", "slot"], axis: range, places: Any) -> tuple[int, int, int]:
    """The same of some rows or columns on a clock."""
    at = numbers(axis, np.asarray(places))
    found = clock.query(at) if side == "query" else clock.slot(at)
    steps = np.diff(found)
    even = isinstance(places, range) and len(steps) > 0 and bool((steps == steps[0]).all())
    return int(found.min()), int(found.max()), int(steps[0]) if even else 0


def _equal_ends(labels: Tensor) -> tuple[int, int]:
    """How many labels (l) behind the first are equal to it, and how many before the last."""
    changes = (labels[1:] != labels[:-1]).nonzero().flatten()
    if not len(changes):
        return len(labels) - 1, 0
    return int(changes[0]), len(labels) - 2 - int(changes[-1])


def skewed(t: Tensor) -> Tensor:
    """From numbers of distances (... r r+m-1) to those of pairs (... r m): pair (x, y) has that of y - x + r - 1."""
    *_, rows, every = t.shape
    cols = every - rows + 1
    if rows == 1:
        return t
    return t.flatten(-2)[..., rows - 1 : rows * every - 1].unflatten(-1, (rows, every - 1))[..., :cols]


def unskewed(t: Tensor) -> Tensor:
    """The transpose of `skewed`: numbers of pairs (... r m) at their distances (... r r+m-1), 0 elsewhere."""
    *_, rows, cols = t.shape
    if rows == 1:
        return t
    every = rows + cols - 1
    wide = functional.pad(t, (0, rows - 2)).flatten(-2)
    return functional.pad(wide, (rows - 1, 1)).unflatten(-1, (rows, every))


def _places(axis: Any, places: Any, device: torch.device) -> Any:
    """Positions at some indices of an axis."""
    if not isinstance(axis, range | Stairs):
        return axis
    return numbers(axis, every(places, device) if isinstance(places, range) else torch.tensor(places, device=device))
