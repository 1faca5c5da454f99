"""How much a pattern costs, counted exactly from its cover: pairs, computed pairs, slots that a cache keeps.

Counting a run takes one mask for all tiles inside the sequence, and one for each tile that hangs over its edges.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xcompose.attention.pattern import Gather, Pattern, Point, Predicate, Run
from xcompose.attention.prefix import covers_of
from xcompose.attention.visible import Places, visible_matrix

PIECE = 2**22
"""Pairs that are looked at in one go."""


def pairs(pattern: Pattern, n: int, causal: bool, prefix: int = 0) -> int:
    """Pairs (query, key) that the pattern allows in a sequence of n tokens, for one head.

    Args:
        prefix: rows before the tokens, in an encoder.

    Raises:
        DependsOnLength: the pattern needs the length, and there is none in a decoder.
    """
    here = range(n)
    total = None if causal else n
    found = _with_prefix(pattern, n, prefix) if prefix else 0
    for tile in pattern.cover(here, here, causal):
        if isinstance(tile, Gather):
            found += _in_gather(tile, causal, total)
        else:
            found += _in_run(tile, n, causal, total)
    return found


def slot_pairs(pattern: Pattern, slots: Places, n: int, causal: bool) -> int:
    """Pairs (query, slot) in a sequence of n tokens, for one head. Looks at every pair, so it is for short texts.

    Args:
        pattern: which of the slots a query may read.
        slots: the spans they stand for.
    """
    return int(visible_matrix(pattern, n, causal, slots=slots).sum())


def tile_pairs(pattern: Pattern, n: int, causal: bool) -> int:
    """Pairs that lie in the tiles of the cover, in the sequence, allowed or not: what a plain executor computes."""
    here = range(n)
    found = 0
    for tile in pattern.cover(here, here, causal):
        if isinstance(tile, Gather):
            found += int(((tile.queries >= 0).sum(1) * (tile.keys >= 0).sum(1)).sum())
        else:
            step = np.arange(tile.count)
            rows = _inside(tile.q_start + step * tile.q_step, tile.rows, tile.q_stride, n)
            cols = _inside(tile.k_start + step * tile.k_step, tile.cols, tile.k_stride, n)
            found += int((rows * cols).sum())
    return found


def kept(pattern: Pattern, n: int) -> int:
    """Slots that a decoder's cache still holds after n tokens: those that query n, or a later one, may read."""
    if pattern.empty:
        return 0
    return int((np.broadcast_to(pattern.last_reader(np.arange(n)), (n,)) >= n).sum())


def _with_prefix(pattern: Pattern, n: int, prefix: int) -> int:
    """Allowed pairs of which one is a prefix row, or both."""
    found = 0
    for covered in covers_of(pattern, range(-prefix, n), range(-prefix, n), False, n):
        for run in covered.tiles if min(covered.queries.start, covered.keys.start) < 0 else ():
            assert isinstance(run, Run)
            if run.allows is None:
                found += run.rows * run.cols
                continue
            rows, cols = run.q_start + np.arange(run.rows), run.k_start + np.arange(run.cols)
            found += sum(_in_mask(run.allows, part, cols, False, n) for part in _pieces(rows, run.cols))
    return found


def _inside(start: np.ndarray, size: int, stride: int, n: int) -> np.ndarray:
    """How many of start, start + stride, ... (size of them) lie in 0 .. n - 1."""
    first = np.maximum(0, -(start // stride))
    last = np.minimum(size - 1, (n - 1 - start) // stride)
    return np.maximum(0, last - first + 1)


def _in_run(run: Run, n: int, causal: bool, total: int | None) -> int:
    inner = [] if causal and not _moves_together(run) else _whole_tiles(run, n)
    found = 0
    if len(inner):
        found = len(inner) * _in_tile(run, int(inner[0]), n, causal, total)
    edges = np.setdiff1d(np.arange(run.count), inner)
    return found + sum(_in_tile(run, int(tile), n, causal, total) for tile in edges)


def _moves_together(run: Run) -> bool:
    return run.q_step == run.k_step and run.q_stride == run.k_stride


def _whole_tiles(run: Run, n: int) -> np.ndarray:
    """Tiles that lie in the sequence with all of their positions."""
    step = np.arange(run.count)
    q, k = run.q_start + step * run.q_step, run.k_start + step * run.k_step
    last_q, last_k = q + (run.rows - 1) * run.q_stride, k + (run.cols - 1) * run.k_stride
    return step[(np.minimum(q, k) >= 0) & (np.maximum(last_q, last_k) < n)]


def _in_tile(run: Run, tile: int, n: int, causal: bool, total: int | None) -> int:
    """Allowed pairs of one tile."""
    rows = run.q_start + tile * run.q_step + np.arange(run.rows) * run.q_stride
    cols = run.k_start + tile * run.k_step + np.arange(run.cols) * run.k_stride
    rows, cols = rows[(rows >= 0) & (rows < n)], cols[(cols >= 0) & (cols < n)]
    if run.allows is not None:
        return sum(_in_mask(run.allows, part, cols, causal, total) for part in _pieces(rows, len(cols)))
    if not causal or not len(cols):
        return len(rows) * len(cols)
    return int(np.clip((rows - cols[0]) // run.k_stride + 1, 0, len(cols)).sum())


def _in_gather(tile: Gather, causal: bool, total: int | None) -> int:
    every = np.arange(len(tile.queries))
    parts = _pieces(every, tile.queries.shape[1] * tile.keys.shape[1])
    found = 0
    for part in parts:
        rows, cols = tile.queries[part][:, :, None], tile.keys[part][:, None, :]
        mask = (rows >= 0) & (cols >= 0)
        if causal:
            mask = mask & (cols <= rows)
        if tile.allows is not None:
            mask = mask & tile.allows(Point(at=rows, total=total), Point(at=cols, total=total))
        found += int(mask.sum())
    return found


def _in_mask(allows: Predicate, rows: np.ndarray, cols: np.ndarray, causal: bool, total: int | None) -> int:
    q, k = rows[:, None], cols[None, :]
    mask = np.broadcast_to(allows(Point(at=q, total=total), Point(at=k, total=total)), (len(rows), len(cols)))
    return int((mask & (k <= q)).sum() if causal else mask.sum())


def _pieces(rows: np.ndarray, width: int) -> Iterator[np.ndarray]:
    """Rows in parts of at most `PIECE` pairs."""
    size = max(1, PIECE // max(1, width))
    return (rows[start : start + size] for start in range(0, len(rows), size))
