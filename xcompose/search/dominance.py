"""What beats what, where several figures count, and which trials can no longer win.

All figures here are to be small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

ENOUGH = 4
"""Trials that must have finished before any is stopped."""
MARGIN = 0.5
"""A trial is granted so much more than the largest gain that any other made from the same share on."""

Figures = Sequence[float]


def dominates(a: Figures, b: Figures) -> bool:
    """Whether a beats b: nowhere larger, and somewhere smaller."""
    pairs = list(zip(a, b, strict=True))
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def front(points: Sequence[Figures]) -> list[int]:
    """The places of all that nothing beats, in their order. Equal ones stand side by side."""
    return [i for i, point in enumerate(points) if not any(dominates(other, point) for other in points)]


@attrs.frozen
class Finished:
    """What a finished trial says to those that are on their way."""

    number: int
    final: Figures
    curve: Mapping[float, Figures]
    """By the share of the budget: its figures at that point; those that training does not move are as at the end."""


def outlook(now: Figures, share: float, finished: Sequence[Finished]) -> Figures | None:
    """The best that a trial may still reach, figure by figure.

    It may gain as much as the luckiest finished trial did from this share on, and half as much again.

    Args:
        now: its figures.
        share: of its budget that is used.
        finished: others.

    Returns:
        None while too few have finished.
    """
    known = [other for other in finished if share in other.curve]
    if len(known) < ENOUGH:
        return None
    gains = [max(other.curve[share][i] - other.final[i] for other in known) for i in range(len(now))]
    return [value - (1 + MARGIN) * max(gain, 0.0) for value, gain in zip(now, gains, strict=True)]


def beaten_by(now: Figures, share: float, finished: Sequence[Finished]) -> Finished | None:
    """The first finished trial that beats even the best which a trial may still reach."""
    hoped = outlook(now, share, finished)
    if hoped is None:
        return None
    return next((other for other in finished if dominates(other.final, hoped)), None)
