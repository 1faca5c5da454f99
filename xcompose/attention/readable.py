"""Who may read whom, as patterns and spans declare it: for pictures and for the certificate of liveness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xcompose.attention.pattern import Pattern, Point
from xcompose.compose.parts import Spans, Visible


def readable(
    pattern: Pattern, memories: Sequence[tuple[Pattern, Spans]], n: int, causal: bool, heads: slice
) -> Visible:
    """What a group of heads may read in a sequence of n: directly, or through slots that stand for positions.

    A slot that belongs to no position makes nothing visible.
    """
    count = heads.stop - heads.start
    at = np.arange(n)
    found, exact = allowed(pattern, Spans(at, at, at), n, causal, count)
    for own, spans in memories:
        to_slots, known = allowed(own, spans, n, causal, count)
        holds = (np.asarray(spans.start)[:, None] <= at) & (at <= np.asarray(spans.end)[:, None])
        found, exact = found | (to_slots.astype(np.int64) @ holds.astype(np.int64) > 0), exact and known
    label = f"heads {heads.start}-{heads.stop - 1}" if count > 1 else f"head {heads.start}"
    return Visible(label, count, found, exact)


def allowed(pattern: Pattern, spans: Spans, n: int, causal: bool, heads: int) -> tuple[np.ndarray, bool]:
    """(n m) bool: which slots the query of each position may read, and whether that is exact.

    Where heads differ, what any of them may read; where contents decide, what may be read at most.
    """
    start, end, at = (np.asarray(s)[None] for s in spans)
    total = None if causal else n
    asking = np.arange(heads)[:, None, None] if pattern.per_head else 0
    query = Point(at=np.arange(n)[:, None], head=asking, total=total)
    slot = Point(at=at, start=start, end=end, total=total)
    exact = pattern.selects == "position"
    found = np.asarray(pattern.allows(query, slot) if exact else True)
    found = np.broadcast_to(found.any(0) if found.ndim == 3 else found, (n, at.shape[1]))
    return found & (end <= query.at) if causal else found, exact
