"""What attention cannot be made of, found from patterns and spans before anything runs."""

from __future__ import annotations

import numpy as np

from xcompose.attention.pattern import DependsOnLength, Pattern, Point
from xcompose.compose.parts import Causal, Memory, Spans

LENGTHS = range(1, 34)
"""Lengths on which the slots of a memory are compared; every block, stride or rate up to 32 shows there."""


def needs_the_end(pattern: Pattern) -> bool:
    """Whether the predicate asks for the length of the sequence, which a decoder does not have."""
    if pattern.selects != "position":
        return False
    try:
        pattern.allows(Point(at=0), Point(at=0))
    except DependsOnLength:
        return True
    return False


def chooses_by_the_future(pattern: Pattern, causal: Causal) -> bool:
    """Whether the contents of the whole sequence decide, where only the past may."""
    return causal == "strict" and pattern.selects == "sequence"


def unstable_slots(memory: Memory) -> str:
    """Why the slots of a memory would show the future to a decoder; empty if they do not.

    Those of n positions must be a prefix of those of n + 1.
    """
    for n in LENGTHS:
        now, then = _table(memory.spans(n)), _table(memory.spans(n + 1))
        if len(then) >= len(now) and (then[: len(now)] == now).all():
            continue
        if (now[:, 0] == 0).all() and (now[:, 1] == n - 1).all():
            return f"each of its {len(now)} key slots summarises positions 0..n-1, so every query would read the future"
        return f"its slots for {n} positions are no prefix of those for {n + 1}: a slot changes when a token is added"
    return ""


def _table(spans: Spans) -> np.ndarray:
    """(m 3) start, end and place of each slot."""
    return np.stack([np.asarray(one) for one in spans], 1)
