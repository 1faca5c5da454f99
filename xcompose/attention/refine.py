"""Narrow the tiles of a cover to the pairs that a second pattern has, or has not.

A run has one mask for all of its tiles. A second pattern spoils that unless it is regular, too: then a run falls into
some runs that keep it (one for each phase of the period), and a few tiles at the ends that get masks of their own.
"""

from __future__ import annotations

from math import lcm
from typing import Any

import attrs

from xcompose.attention.pattern import Gather, Pattern, Point, Predicate, Run, Steady, Tiles

PHASES = 16
"""A run that would fall into more runs than this gets a mask for each tile instead."""
SMALL = 2**16
"""Masks up to this size are looked at: all pairs, or none, need no mask."""


def restrict(tiles: Tiles, other: Pattern, queries: range, keys: range, *, outside: bool) -> Tiles:
    """The pairs of these tiles that lie in `other`, or, with `outside`, those that do not."""
    found: list[Run | Gather] = []
    steady = other.steady(keys.stop)
    for tile in tiles:
        allows = both(tile.allows, other, outside)
        if isinstance(tile, Gather):
            found.append(attrs.evolve(tile, allows=allows))
            continue
        for run in _regular(tile, steady):
            if run.count > 1 and not _is_regular(run, steady):
                found.append(spelt_out(attrs.evolve(run, allows=allows), queries, keys))
            else:
                found += _simplified(run, attrs.evolve(run, allows=allows), other.per_head, keys.stop)
    return tuple(found)


def both(first: Predicate | None, other: Pattern, outside: bool) -> Predicate:
    """What the first predicate allows and `other` has, or has not."""

    def allows(q: Point, k: Point) -> Any:
        found = other.allows(q, k)
        found = (found == 0) if outside else found
        return found if first is None else first(q, k) & found

    return allows


def spelt_out(run: Run, queries: range, keys: range) -> Gather:
    """The same tiles as positions, -1 where there is none."""
    import numpy as np

    tile = np.arange(run.count)[:, None]
    rows = run.q_start + tile * run.q_step + np.arange(run.rows) * run.q_stride
    cols = run.k_start + tile * run.k_step + np.arange(run.cols) * run.k_stride
    rows = np.where((rows >= queries.start) & (rows < queries.stop), rows, -1)
    cols = np.where((cols >= keys.start) & (cols < keys.stop), cols, -1)
    return Gather(queries=rows, keys=cols, allows=run.allows)


def mask_of(run: Run, tile: int, total: int | None) -> Any:
    """The mask of one tile of a run (numpy, rows by columns), without causality and edges."""
    import numpy as np

    rows = run.q_start + tile * run.q_step + np.arange(run.rows)[:, None] * run.q_stride
    cols = run.k_start + tile * run.k_step + np.arange(run.cols)[None, :] * run.k_stride
    if run.allows is None:
        return np.ones((run.rows, run.cols), dtype=bool)
    found = run.allows(Point(at=rows, total=total), Point(at=cols, total=total))
    return np.broadcast_to(np.asarray(found, dtype=bool), (run.rows, run.cols))


def _is_regular(run: Run, steady: Steady | None) -> bool:
    """Whether a predicate that is steady like this looks the same in all tiles of a run."""
    if steady is None or run.q_step != run.k_step or run.q_step % steady.period:
        return False
    first, last = extent(run, 0), extent(run, run.count - 1)
    return first[0] >= steady.low and last[1] <= steady.high


def extent(run: Run, tile: int) -> tuple[int, int]:
    """The lowest position in a tile, and one more than the highest."""
    q, k = run.q_start + tile * run.q_step, run.k_start + tile * run.k_step
    return min(q, k), 1 + max(q + (run.rows - 1) * run.q_stride, k + (run.cols - 1) * run.k_stride)


def _regular(run: Run, steady: Steady | None) -> list[Run]:
    """Cut a run so that as many tiles as possible lie in runs that stay regular."""
    if run.count == 1 or steady is None or run.q_step != run.k_step or run.q_step <= 0:
        return [run]
    phases = lcm(run.q_step, steady.period) // run.q_step
    low, high = extent(run, 0)
    begin = min(run.count, max(0, -(-(steady.low - low) // run.q_step)))
    end = max(begin, min(run.count, (steady.high - high) // run.q_step + 1))
    if phases > PHASES or end - begin < 2 * phases:
        return [run]
    middle = [_part(run, begin + phase, end, phases) for phase in range(phases)]
    return [
        *([_part(run, 0, begin)] if begin else []),
        *middle,
        *([_part(run, end, run.count)] if end < run.count else []),
    ]


def _part(run: Run, begin: int, end: int, every: int = 1) -> Run:
    """Tiles begin, begin + every, ... before end."""
    return attrs.evolve(
        run, count=-(-(end - begin) // every), q_start=run.q_start + begin * run.q_step, q_step=run.q_step * every,
        k_start=run.k_start + begin * run.k_step, k_step=run.k_step * every,
    )  # fmt: skip


def _simplified(run: Run, narrowed: Run, per_head: bool, total: int) -> list[Run]:
    """Drop a run that keeps no pair; leave one that keeps all of them as it was."""
    if per_head or run.rows * run.cols > SMALL:
        return [narrowed]
    before, after = mask_of(run, run.count // 2, total), mask_of(narrowed, run.count // 2, total)
    if not after.any():
        return []
    if after.all():
        return [attrs.evolve(run, allows=None)]
    return [run] if (before == after).all() else [narrowed]
