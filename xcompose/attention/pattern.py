"""What a pattern is: a predicate (the definition), a cover by tiles (the plan), a last reader (for the cache).

A pattern answers one question: which key slots may a query read? Everything is integer arithmetic over positions in
absolute time; nothing here imports torch, and the predicate of a pattern is written with operators only, so that one
line serves integers, numpy arrays, tensors and export alike.

Causality is not a pattern's business: in a decoder the core adds "the slot's span ends at or before the query".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import attrs

NEVER = 2**62
"""The last reader of a slot that is read for ever."""


class DependsOnLength(Exception):
    """A predicate asked for the length of the sequence where there is none: in a decoder, which has no end yet."""


@dataclass(frozen=True, eq=False)
class Point:
    """One side of the question "may this query read that slot?": integers, or arrays of them that broadcast.

    Queries come shaped (..., n, 1), slots (..., 1, m), heads (h, 1, 1).
    """

    at: Any
    """The position that stands for it: of a query, of a token; of a summary, where relative terms see it."""
    start: Any = None
    """First position that went into the slot; None means `at`."""
    end: Any = None
    """Last position that went into the slot; None means `at`. Before all time for a slot that always exists."""
    head: Any = 0
    """The head that asks, counted within the layer."""
    tags: Mapping[str, Any] = field(default_factory=dict)
    """Integers by name: bucket, cluster, row, column, role."""
    total: int | None = None
    """The length of the sequence where it is known; ask for `length` instead."""

    @property
    def last(self) -> Any:
        return self.at if self.end is None else self.end

    @property
    def first(self) -> Any:
        return self.at if self.start is None else self.start

    @property
    def length(self) -> int:
        """The length of the sequence.

        Raises:
            DependsOnLength: in a decoder, where a predicate must mean the same however long the text becomes.
        """
        if self.total is None:
            raise DependsOnLength
        return self.total


Predicate = Callable[[Point, Point], Any]


@attrs.frozen
class Run:
    """`count` tiles of one shape, evenly spaced in time, so that strided views serve and no index is stored.

    Tile t reads, for its rows r < rows and columns c < cols,

        query position  q_start + t * q_step + r * q_stride
        key position    k_start + t * k_step + c * k_stride

    Positions outside the sequence do not exist; tiles may hang over its edges.
    """

    count: int
    rows: int
    cols: int
    q_start: int
    q_step: int
    k_start: int
    k_step: int
    q_stride: int = 1
    k_stride: int = 1
    allows: Predicate | None = None
    """The pairs of a tile that count; None means all of them (but for causality and edges)."""


@attrs.frozen
class Gather:
    """Tiles at irregular places: positions as integer arrays, -1 where a row or column is absent."""

    queries: Any
    """(count, rows)"""
    keys: Any
    """(count, cols)"""
    allows: Predicate | None = None


Tiles = tuple[Run | Gather, ...]


class Pattern(ABC):
    """Which slots a query may read.

    A fixed pattern is a frozen option class that is its own working part; it needs `allows`, and for speed `cover`,
    and for a small cache `last_reader`. A learned one gets tags (see `attention.learned`).
    """

    crosses: ClassVar[bool] = False
    """Whether it makes sense between two clocks (cross-attention), where differences of positions mean nothing."""
    full: ClassVar[bool] = False
    """Whether it allows every pair, now and for ever: what a kernel score needs."""
    empty: ClassVar[bool] = False
    """Whether it allows no pair at all: the tokens are not read."""
    selects: ClassVar[Literal["position", "prefix", "sequence"]] = "position"
    """What decides: positions alone; contents of the past (strict); contents of the whole sequence, which a decoder
    refuses unless the spec says `causal: value`."""
    otherwise: ClassVar[Literal["nothing", "self"]] = "nothing"
    """What a query reads that may read nothing else."""
    per_head: bool = False
    """Whether `allows` looks at `q.head`."""

    @abstractmethod
    def allows(self, q: Point, k: Point) -> Any:
        """Whether query q may read slot k, with operators only (`&`, `|`, `~`, comparisons, integer arithmetic)."""

    def cover(self, queries: range, keys: range, causal: bool) -> Tiles:
        """Tiles that hold every allowed pair of these positions at least once; a superset is fine.

        A pair that lies in several tiles is counted once: the first tile owns it. Tiles whose `allows` is None
        must hold allowed pairs only (up to causality and edges). The default is one dense tile.
        """
        return (
            Run(
                count=1, rows=len(queries), cols=len(keys), q_start=queries.start, q_step=0, k_start=keys.start,
                k_step=0, allows=self.allows,
            ),
        )  # fmt: skip

    def last_reader(self, at: Any) -> Any:
        """The last position whose query may read a slot at `at` (integer or array); the cache drops it afterwards."""
        return at * 0 + NEVER

    def groups(self, heads: int) -> tuple[tuple[int, Pattern], ...]:
        """How the heads of a layer divide among patterns: (number of heads, pattern), in order."""
        return ((heads, self),)
