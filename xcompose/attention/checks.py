"""What is wrong with a pattern or a memory in its place, found before anything runs: a reason in words, or None.

The reasons are labels of a finding: no capital, no full stop, no name of a mechanism. Who asks knows the name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from xcompose.attention.pattern import DependsOnLength, Gather, Pattern, Point, Run
from xcompose.attention.refine import extent, mask_of, spelt_out
from xcompose.attention.rows import counted
from xcompose.attention.visible import Places, visible_matrix

LENGTHS = (*range(1, 25), 31, 32, 33, 47, 48, 63, 64, 65)
"""Lengths at which spans are compared."""
PROBES = (0, 1, 2, 3, 5, 64, 1000)
"""Positions at which a predicate is asked."""
POWERS = np.array([2**i + by for i in range(5, 21) for by in (-1, 0, 1)])
EARLY = np.unique([*range(24), 100, 1000, 10_000, *POWERS[POWERS <= 2**16 + 1]])
"""Slots whose last reader is looked at."""
LATER = np.unique([*range(4097), *POWERS, *np.geomspace(4096, 2**20, 60).astype(int)])
"""How much later a query is that is asked whether it reads them all the same."""
FARTHER = (192, 4096)
"""Lengths at which a pattern shows that it allows something: nearly all do at the first."""


def prefix_stable(pattern: Pattern, heads: int = 1) -> str | None:
    """Why the predicate would change when the text grows. A decoder needs one that does not."""
    for _, part in pattern.groups(heads):
        if part.learned:
            continue
        for at in PROBES:
            try:
                part.allows(Point(at=at), Point(at=at // 2))
            except DependsOnLength:
                return "it counts from the end of the sequence, and in a decoder the sequence has no end yet"
    return None


def selection(pattern: Pattern, causal: Literal["strict", "value", "none"], heads: int = 1) -> str | None:
    """Why contents may not choose as this pattern lets them."""
    whole = any(part.selects == "sequence" for _, part in pattern.groups(heads))
    if causal == "strict" and whole:
        return "it chooses by looking at the whole sequence, so what a query reads of the past depends on the future"
    return None


def between_clocks(pattern: Pattern, heads: int = 1) -> str | None:
    """Why the pattern means nothing where queries and slots belong to different sequences."""
    if all(part.crosses for _, part in pattern.groups(heads)):
        return None
    return "it compares positions of queries and keys, which mean nothing between two sequences"


def spans_are_prefix(spans_of: Callable[[int], Places]) -> str | None:
    """Why the slots of a memory would change when the text grows.

    Args:
        spans_of: the slots that n positions give. Those of n must be a prefix of those of n + 1.
    """
    for n in LENGTHS:
        now, then = _table(spans_of(n)), _table(spans_of(n + 1))
        if len(then) >= len(now) and (then[: len(now)] == now).all():
            continue
        if all((table[:, 0] == 0).all() and (table[:, 1] == last).all() for table, last in ((now, n - 1), (then, n))):
            return f"each of its {len(now)} key slots summarises positions 0..n-1, so every query would read the future"
        if len(then) < len(now):
            return f"it has {len(now)} key slots for {n} positions and {len(then)} for {n + 1}: a slot would vanish"
        slot = int((then[: len(now)] != now).any(1).argmax())
        return (
            f"key slot {slot} stands for positions {now[slot, 0]}..{now[slot, 1]} in a text of {n} and for "
            f"{then[slot, 0]}..{then[slot, 1]} in one of {n + 1}: it would change when a token is added"
        )
    return None


def silent_query(
    reads: Sequence[tuple[Pattern, Places | None]], n: int, causal: bool, heads: int = 1, may_be_empty: bool = False,
    rows: Pattern | None = None, prefix: int = 0,
) -> str | None:  # fmt: skip
    """Why some query would have nothing to read at all.

    Args:
        reads: every source of the softmax: a pattern, and the slots it is about (None: the tokens).
        may_be_empty: the mechanism says that this is as it should be.
        rows: which queries are asked at all; None: every one.
        prefix: how many of the n rows stand before the tokens.
    """
    if may_be_empty:
        return None
    found = np.concatenate(
        [visible_matrix(pattern, n, causal, heads, slots, prefix) for pattern, slots in reads], axis=2
    )
    reading = found.any(2)
    if rows is not None:
        reading = reading | ~counted(rows, range(-prefix, n - prefix), None if causal else n - prefix)
    if reading.all():
        return None
    head, query = np.argwhere(~reading)[0]
    which = f" of head {head}" if reading.any(0).all() else ""
    query = f"query {query - prefix}" if query >= prefix else f"prefix row {query}"
    return f"{query}{which} may read no key at all ({int((~reading).sum())} of {reading.size} queries read nothing)"


def reads_no_token(pattern: Pattern, longest: int, causal: bool, heads: int = 1, prefix: int = 0) -> bool:
    """Whether a pattern allows no pair in any text of up to `longest` rows, however it was written."""
    if pattern.empty or pattern.full:
        return pattern.empty
    lengths = sorted({min(n, longest) for n in FARTHER})
    return not any(visible_matrix(pattern, prefix + n, causal, heads, prefix=prefix).any() for n in lengths)


def early_last_reader(
    pattern: Pattern, longest: int | None = None, heads: Sequence[int] = (0,), slots: Places | None = None
) -> tuple[int, int, int] | None:
    """A slot that a decoder's cache would drop too early: where it stands, its last reader, and a later query that
    reads it all the same. None where there is none among some slots and queries up to a million positions apart.

    Args:
        pattern: one whose `allows` alone decides, in a decoder.
        longest: how many positions there are at most; None: no limit.
        heads: those that are asked.
        slots: those that are read; tokens if not given.
    """
    if pattern.learned or pattern.empty or pattern.needs_length:
        return None
    at, start, end = (np.asarray(one) for one in ((slots.at, slots.start, slots.end) if slots else (EARLY,) * 3))
    last = np.broadcast_to(pattern.last_reader(at), at.shape)
    end_of_time = int(max(EARLY[-1], at.max(initial=0)) + LATER[-1]) if longest is None else longest
    ends = (last < end_of_time - 1) & (end < end_of_time)
    if not ends.any():
        return None
    at, start, end, last = (one[ends][:, None] for one in (at, start, end, last))
    queries = np.concatenate([np.maximum(last + 1, end) + LATER, at + POWERS], 1)
    asking = Point(at=queries, head=np.asarray(heads)[:, None, None] if pattern.per_head else 0)
    reads = np.asarray(pattern.allows(asking, Point(at=at, start=start, end=end)))
    later = (queries > last) & (queries >= end) & (queries < end_of_time)
    wrong = np.argwhere(np.broadcast_to(reads & later, (len(heads), *queries.shape)).max(0))
    if not len(wrong):
        return None
    key = int(wrong[0, 0])
    return int(at[key, 0]), int(last[key, 0]), int(queries[key][wrong[wrong[:, 0] == key, 1]].min())


def cover_fault(pattern: Pattern, queries: range, keys: range, causal: bool) -> str | None:
    """What is wrong with the cover: a pair that it does not hold exactly once, or a run without a common mask.

    Looks at every pair, so it is for tests of patterns.
    """
    total = None if causal else keys.stop
    at_q, at_k = np.arange(keys.stop)[:, None], np.arange(keys.stop)[None]
    wanted = (at_q >= queries.start) & (at_k >= keys.start) & (at_q < queries.stop) & ((at_k <= at_q) | (not causal))
    wanted = wanted & pattern.allows(Point(at=at_q, total=total), Point(at=at_k, total=total))
    times = np.zeros((keys.stop, keys.stop), dtype=int)
    for tile in pattern.cover(queries, keys, causal):
        if isinstance(tile, Run) and tile.count > 1:
            fault = _mixed_masks(tile, keys.stop, causal)
            if fault:
                return fault
        gather = tile if isinstance(tile, Gather) else spelt_out(tile, queries, keys)
        q, k = gather.queries[:, :, None], gather.keys[:, None, :]
        mask = (q >= 0) & (k >= 0) & ((k <= q) | (not causal))
        if gather.allows is not None:
            mask = mask & gather.allows(Point(at=q, total=total), Point(at=k, total=total))
        np.add.at(times, tuple(np.broadcast_to(side, mask.shape)[mask] for side in (q, k)), 1)
    if (times == wanted).all():
        return None
    query, key = np.argwhere(times != wanted)[0]
    verb = "allowed" if wanted[query, key] else "not allowed"
    return f"the pair of query {query} and key {key} is {verb} and counts in {times[query, key]} tiles"


def _mixed_masks(run: Run, total: int, causal: bool) -> str | None:
    """Why the tiles of a run could not share one mask, those at the edges left out."""
    together = run.q_step == run.k_step and run.q_stride == run.k_stride
    latest_key = run.k_start + (run.cols - 1) * run.k_stride + max(0, (run.count - 1) * (run.k_step - run.q_step))
    if causal and not together and latest_key > run.q_start:
        return "the tiles of a run move away from each other, and not all of their keys lie in the past"
    tiles = [t for t in range(run.count) if min(extent(run, t)) >= 0 and extent(run, t)[1] <= total]
    if any((mask_of(run, t, total) != mask_of(run, tiles[0], total)).any() for t in tiles[1:]):
        return "the tiles of a run have different masks"
    return None


def _table(spans: Places) -> np.ndarray:
    """(m 3) start, end and place of each slot."""
    return np.stack([np.asarray(part) for part in (spans.start, spans.end, spans.at)], axis=1)
