"""What every pattern owes, checked pair by pair against a definition that a test writes down."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from xcompose.api import Pattern, Point
from xcompose.attention.checks import cover_fault

Definition = Callable[[int, int], bool]


def owes(pattern: Pattern, n: int, definition: Definition, decoder: bool = True) -> None:
    """The set is the definition's, whoever does the arithmetic, and the cover holds it exactly once.

    Args:
        decoder: whether the pattern works in one, too.
    """
    same_set(pattern, n, definition, total=n)
    covers_once(pattern, n, causal=False)
    if decoder:
        same_set(pattern, n, definition, total=None)
        covers_once(pattern, n, causal=True)
        never_too_early(pattern, n)


def same_set(pattern: Pattern, n: int, definition: Definition, total: int | None) -> None:
    wanted = [[definition(i, j) for j in range(n)] for i in range(n)]
    with_integers = [
        [bool(pattern.allows(Point(at=i, total=total), Point(at=j, total=total))) for j in range(n)] for i in range(n)
    ]
    at = np.arange(n)
    with_arrays = pattern.allows(Point(at=at[:, None], total=total), Point(at=at[None], total=total))
    with_tensors = pattern.allows(
        Point(at=torch.arange(n)[:, None], total=total), Point(at=torch.arange(n)[None], total=total)
    )

    assert with_integers == wanted
    assert np.asarray(with_arrays).tolist() == wanted
    assert with_tensors.dtype == torch.bool
    assert with_tensors.tolist() == wanted


def covers_once(pattern: Pattern, n: int, causal: bool) -> None:
    places = (
        (range(n), range(n)),
        (range(n // 3, n), range(n)),
        (range(n - 2, n), range(n // 4, n)),
        (range(n - 1, n),) * 2,
    )

    for queries, keys in places:
        assert cover_fault(pattern, queries, keys, causal) is None, f"{pattern} {queries} {keys} causal={causal}"


def never_too_early(pattern: Pattern, n: int) -> None:
    """No slot is dropped that a later query of a decoder may read."""
    last = pattern.last_reader(np.arange(n))

    for slot in range(n):
        readers = [i for i in range(slot, n) if pattern.allows(Point(at=i), Point(at=slot))]
        assert last[slot] == pattern.last_reader(slot)
        assert not readers or readers[-1] <= last[slot]


def last_readers(pattern: Pattern, n: int, beyond: int) -> list[int]:
    """By brute force, for slots 0 .. n - 1: the last query before `beyond` that may read each, or -1."""
    return [
        max([i for i in range(slot, beyond) if pattern.allows(Point(at=i), Point(at=slot))], default=-1)
        for slot in range(n)
    ]
