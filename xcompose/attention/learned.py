"""Patterns that contents choose: integer tags for queries and slots, and a predicate that compares them.

`tags` is the choice, `allows` the definition, `sorted_cover` the plan. The plan's shape is known before the contents
are, so that its cost can be counted without any.

A pattern that looks at the past alone (`selects = "prefix"`) can also go on where it stopped: it is a `PrefixPattern`,
and keeps what later queries may still read itself, because that differs from head to head.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from xcompose.attention.pattern import Pattern, Point, Predicate
from xcompose.attention.reads import Axis, Slots

Tags = Mapping[str, Tensor]
"""(b h n) integers by name."""


@dataclass(frozen=True, eq=False)
class SortedTiles:
    """Tiles of rows and columns that stand anywhere, another choice for each sequence and head."""

    queries: Tensor
    """(b h t r) row numbers, not positions; -1 where there is none. A query stands in one tile of them at most."""
    keys: Tensor
    """(b h t m) slot numbers; -1 where there is none."""
    allows: Predicate
    """The pairs that count, on points with `at`, `head` and the tags. Over all tiles together a pair counts once, or
    as `times` says where the keys of a query are a multiset."""


class LearnedPattern(Pattern):
    """A pattern that looks at contents. Its fixed numbers (hash rotations) are buffers: also derive from `nn.Module`.

    No gradient flows through the choice. What a query reads that may read nothing else is `otherwise`; whether there is
    anything else is decided over all tiles together, after causality and absent slots.
    """

    learned = True
    selects = "sequence"

    @abstractmethod
    def tags(self, q: Tensor, k: Tensor, queries: Axis) -> tuple[Tags, Tags]:
        """Tags of the queries and of the slots, for one sequence read by itself.

        Args:
            q: (b n h d) queries, turned by the position already.
            k: (b n g d) keys; g divides h.
            queries: their place in time; rows that are not valid take nobody's place and are read by nobody.
        """

    @abstractmethod
    def sorted_cover(self, q_tags: Tags, k_tags: Tags) -> tuple[SortedTiles, ...]:
        """Tiles that hold every pair that `allows` allows exactly once (their own `allows` keeps them apart)."""

    def times(self, q: Point, k: Point) -> Any:
        """How often a pair counts, an integer, where `merge` says that the keys of a query are a multiset. Then the
        tiles hold it as often."""
        raise NotImplementedError(f"{type(self).__name__} does not say how often a key counts")


class Grown(NamedTuple):
    """What a pattern that goes on makes of new rows."""

    slots: Slots
    """What the new queries may read at most, (b m h d): heads have rows of their own; `at` and tags are (b h m)."""
    asking: Tags
    """Tags of the new queries."""
    state: Mapping[str, Tensor]
    """Tensors, batch first."""


class PrefixPattern(LearnedPattern):
    """A pattern that chooses by the past alone: what a query may read is the same however long the text becomes.

    Decoders only: it tells the past from the future without being asked.
    """

    selects = "prefix"

    @abstractmethod
    def start(self, batch: int, shape: tuple[int, int, int], like: Tensor) -> Mapping[str, Tensor]:
        """The state before the first row, of the type and on the device of `like`.

        Args:
            shape: heads h, key width d, value width e.
        """

    @abstractmethod
    def extend(self, q: Tensor, k: Tensor, v: Tensor, axis: Axis, state: Mapping[str, Tensor]) -> Grown:
        """New rows: queries (b n h d), keys (b n g d), values (b n g e); the state is used up."""

    @abstractmethod
    def state_shape(self, n: int, shape: tuple[int, int, int]) -> Mapping[str, tuple[int, ...]]:
        """Sizes per sequence of every tensor in the state after n rows."""


class Told(LearnedPattern):
    """A pattern whose choice for one read is known, so that nobody chooses again."""

    selects = "prefix"

    def __init__(self, pattern: PrefixPattern, asking: Tags, asked: Tags):
        self.pattern, self.asking, self.asked = pattern, asking, asked
        self.otherwise, self.merge = pattern.otherwise, pattern.merge  # type: ignore[misc]

    def tags(self, q: Tensor, k: Tensor, queries: Axis) -> tuple[Tags, Tags]:
        return self.asking, self.asked

    def allows(self, q: Point, k: Point) -> Any:
        return self.pattern.allows(q, k)

    def sorted_cover(self, q_tags: Tags, k_tags: Tags) -> tuple[SortedTiles, ...]:
        return self.pattern.sorted_cover(q_tags, k_tags)

    def times(self, q: Point, k: Point) -> Any:
        return self.pattern.times(q, k)
