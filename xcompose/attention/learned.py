"""Patterns that contents choose: integer tags for queries and slots, and a predicate that compares them.

`tags` is the choice, `allows` the definition, `sorted_cover` the plan. The plan's shape is known before the contents
are, so that its cost can be counted without any.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from xcompose.attention.pattern import Pattern, Predicate
from xcompose.attention.reads import Axis

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
    """The pairs that count, on points with `at`, `head` and the tags. Over all tiles together a pair counts once."""


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
