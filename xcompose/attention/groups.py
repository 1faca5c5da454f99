"""Heads that share a pattern: how those of a layer divide among the patterns of a grouped one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import attrs
import torch
from torch import Tensor

from xcompose.attention.algebra import Intersection
from xcompose.attention.pattern import Pattern, Point
from xcompose.attention.reads import Clock, Slots, Term


class Group(NamedTuple):
    """Heads that share one pattern."""

    pattern: Pattern
    heads: slice
    """Which of the layer's heads."""
    keys: slice | tuple[int, ...]
    """Which key/value heads they read: a slice, or one for each head where groups cut across them."""
    terms: tuple[Term, ...] = ()

    def of(self, t: Tensor) -> Tensor:
        """The key/value heads of t (b m g d) that belong to the group."""
        if isinstance(self.keys, slice):
            return t[:, :, self.keys]
        return t[:, :, list(self.keys)]

    @property
    def count(self) -> int:
        """How many heads these are."""
        return self.heads.stop - self.heads.start

    @property
    def kv_heads(self) -> int:
        return self.keys.stop - self.keys.start if isinstance(self.keys, slice) else len(self.keys)


def head_groups(pattern: Pattern, heads: int, kv_heads: int, terms: Sequence[Term] = ()) -> tuple[Group, ...]:
    """Divide the heads of a layer among the patterns of a grouped one."""
    each = heads // kv_heads
    found, first = [], 0
    for count, part in pattern.groups(heads):
        last = first + count
        aligned = first % each == 0 and last % each == 0
        keys = slice(first // each, last // each) if aligned else tuple(i // each for i in range(first, last))
        mine = of_heads(terms, first, count, heads)
        found.append(Group(part, slice(first, last), keys, (*mine, *part.terms(count))))
        first = last
    return tuple(found)


def of_heads(terms: Sequence[Term], first: int, count: int, total: int) -> Sequence[Term]:
    """Terms of all heads of a layer, as some of these heads see them."""
    return terms if count == total else [SomeHeads(term, first, count, total) for term in terms]


class Wrapped(Term):
    """A term in surroundings that change what it is asked, and nothing else."""

    def __init__(self, term: Term):
        self.term = term
        self.trainable, self.by_distance, self.adds_values = term.trainable, term.by_distance, term.adds_values
        self.anywhere = term.anywhere

    @abstractmethod
    def around(self, term: Term) -> Term:
        """Another term in the same surroundings."""

    def label(self, q: Point, k: Point) -> Tensor:
        return self.term.label(q, k)

    def bias(self, q: Tensor, labels: Tensor) -> Tensor:
        return self.term.bias(q, labels)

    def values(self, weights: Tensor, labels: Tensor) -> Tensor:
        return self.term.values(weights, labels)

    def ready(self, apart: range | None) -> Term:
        return self.around(self.term.ready(apart))


class SomeHeads(Wrapped):
    """A term of the whole layer, as a group of its heads sees it."""

    def __init__(self, term: Term, first: int, count: int, total: int):
        super().__init__(term)
        self.first, self.count, self.total = first, count, total

    def around(self, term: Term) -> Term:
        return SomeHeads(term, self.first, self.count, self.total)

    def bias(self, q: Tensor, labels: Tensor) -> Tensor:
        found = self.term.bias(self._whole(q, 2), self._labels(labels))
        alike = found.ndim < 3 or found.shape[-3] == 1
        return found if alike else found[..., self.first : self.first + self.count, :, :]

    def values(self, weights: Tensor, labels: Tensor) -> Tensor:
        added = self.term.values(self._whole(weights, 1), self._labels(labels))
        return added[:, self.first : self.first + self.count]

    def _labels(self, labels: Tensor) -> Tensor:
        return self._whole(labels, 1) if labels.ndim == 4 and labels.shape[1] > 1 else labels

    def _whole(self, t: Tensor, axis: int) -> Tensor:
        """With zeros for the other heads of the layer."""
        before, after = list(t.shape), list(t.shape)
        before[axis], after[axis] = self.first, self.total - self.first - self.count
        return torch.cat([t.new_zeros(before), t, t.new_zeros(after)], axis)


class OnClock(Wrapped):
    """A term as it sees a read whose slots stand on a clock of their own; its distances are those on the clock."""

    def __init__(self, term: Term, clock: Clock):
        super().__init__(term)
        self.clock = clock

    def around(self, term: Term) -> Term:
        return OnClock(term, self.clock)

    def label(self, q, k):
        # What the slot stands for stays in true time.
        slot = replace(k, at=self.clock.slot(k.at), start=k.first, end=k.last)
        return self.term.label(replace(q, at=self.clock.query(q.at)), slot)


def on_clock(terms: tuple[Term, ...], clock: Clock | None) -> tuple[Term, ...]:
    """Terms as they see slots on a clock; None: that of the tokens."""
    return terms if clock is None else tuple(OnClock(term, clock) for term in terms)


@attrs.frozen
class OfSingle(Pattern):
    """What a pattern that weighs says of slots that stand for one position each; it leaves the others alone."""

    pattern: Pattern
    clock: Clock | None = None

    @property
    def per_head(self) -> bool:
        return self.pattern.per_head

    def allows(self, q: Point, k: Point) -> Any:
        several = k.first != k.last
        if self.clock is not None:
            q, k = replace(q, at=self.clock.query(q.at)), replace(k, at=self.clock.slot(k.at))
        return self.pattern.allows(q, k) | several


def restricted(pattern: Pattern, by: Sequence[Pattern | None]) -> Pattern:
    """A pattern within what the recurrences leave of the tokens."""
    for limit in by:
        if limit is not None and not pattern.empty:
            pattern = limit if pattern.full else Intersection((pattern, limit))
    return pattern


def narrowed(slots: Slots, group: Group) -> Slots:
    """The slots as a group of heads reads them."""
    weight = slots.log_weight
    if weight is not None and weight.ndim == 3:
        weight = weight[:, group.heads]
    return replace(slots, k=group.of(slots.k), v=group.of(slots.v), log_weight=weight)


def has_terms(pattern: Pattern) -> bool:
    """Whether a pattern weighs what it allows."""
    return type(pattern).terms is not Pattern.terms
