"""Rows that an encoder's embedding puts before the tokens: they stand at positions below 0.

Patterns make tiles for tokens only, whose positions count from 0. Pairs with a prefix row are few, g (g + 2 n) of them
for g rows, so they are tiles of their own here, from the predicate alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from xcompose.attention.pattern import Pattern, Point, Run, Tiles

PIECE = 2**22
"""Pairs that are looked at in one go."""


class Covered(NamedTuple):
    """Tiles for some of the positions; where they hang over these, they hold nothing."""

    tiles: Tiles
    queries: range
    keys: range


def covers_of(pattern: Pattern, queries: range, keys: range, causal: bool, total: int | None) -> tuple[Covered, ...]:
    """What holds every allowed pair exactly once, where some positions may lie below 0.

    Args:
        total: the length of the sequence, prefix rows not counted; None in a decoder.
    """
    if not queries or not keys or min(queries.start, keys.start) >= 0:
        return (Covered(pattern.cover(queries, keys, causal), queries, keys),)
    if queries.step != 1 or keys.step != 1:
        return (Covered(Pattern.cover(pattern, queries, keys, causal), queries, keys),)
    front, asking = _parted(queries)
    before, asked = _parted(keys)
    found = [Covered(_tile(pattern, rows, cols, total), rows, cols) for rows, cols in ((front, keys), (asking, before))]
    if asking and asked:
        found.append(Covered(pattern.cover(asking, asked, causal), asking, asked))
    return tuple(found)


def _parted(places: range) -> tuple[range, range]:
    """Those below 0, and the others."""
    return range(places.start, min(0, places.stop)), range(max(0, places.start), places.stop)


def _tile(pattern: Pattern, rows: range, cols: range, total: int | None) -> Tiles:
    """One tile without the rows and columns at its edges that have no pair."""
    if not rows or not cols or pattern.prefix_pairs == "none":
        return ()
    if pattern.prefix_pairs == "all":
        return (_run(rows, cols, None),)
    there, across, pairs = _counted(pattern, rows, cols, total)
    if not pairs:
        return ()
    rows, cols = _within(rows, there), _within(cols, across)
    return (_run(rows, cols, None if pairs == len(rows) * len(cols) else pattern.allows),)


def _counted(pattern: Pattern, rows: range, cols: range, total: int | None) -> tuple[Any, Any, int]:
    """Which rows and which columns have a pair (numpy bool), and the number of pairs."""
    import numpy as np

    q, k = np.arange(rows.start, rows.stop)[:, None], np.arange(cols.start, cols.stop)
    there, across, pairs = np.zeros(len(rows), dtype=bool), np.zeros(len(cols), dtype=bool), 0
    height = max(1, PIECE // len(cols))
    for low in range(0, len(rows), height):
        part = q[low : low + height]
        found = pattern.allows(Point(at=part, total=total), Point(at=k, total=total))
        found = np.broadcast_to(np.asarray(found, dtype=bool), (len(part), len(cols)))
        there[low : low + height], across = found.any(1), across | found.any(0)
        pairs += int(found.sum())
    return there, across, pairs


def _within(places: range, used: Any) -> range:
    """From the first place that is used to the last."""
    where = used.nonzero()[0]
    return places[int(where[0]) : int(where[-1]) + 1]


def _run(rows: range, cols: range, allows: Any) -> Run:
    return Run(
        count=1, rows=len(rows), cols=len(cols), q_start=rows.start, q_step=0, k_start=cols.start, k_step=0,
        allows=allows,
    )  # fmt: skip
