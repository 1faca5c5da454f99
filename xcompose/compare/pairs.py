"""Which layers of two stacks stand for each other."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import attrs


class Likeness(NamedTuple):
    """How alike two layers are."""

    kin: bool
    """Whether they are the same layer with other options: only such may have moved past others."""
    differences: int


@attrs.frozen
class Pairs:
    """What became of the layers, by their numbers in OLD and NEW."""

    changed: tuple[tuple[int, int], ...]
    moved: tuple[tuple[int, int], ...]
    """Those of the pairs that passed others; among `changed`, too, where they are different."""
    removed: tuple[int, ...]
    added: tuple[int, ...]


class _Left(NamedTuple):
    """A stretch of layers that are in both stacks at the same place, and not the same."""

    old: range
    new: range


def pairs(old: Sequence[str], new: Sequence[str], likeness: Callable[[int, int], Likeness]) -> Pairs:
    """Pair the layers that are not where they were: those of one place first by likeness, then any that are kin.

    Args:
        old, new: of each layer a text that says what it means.
        likeness: of a layer of OLD and one of NEW, by their numbers.
    """
    opcodes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    left = [_Left(range(i, i2), range(j, j2)) for tag, i, i2, j, j2 in opcodes if tag != "equal"]
    known: dict[tuple[str, str], Likeness] = {}

    def alike(i: int, j: int) -> Likeness:
        key = old[i], new[j]
        if key not in known:
            known[key] = likeness(i, j)
        return known[key]

    here = [pair for place in left for pair in _at_one_place(place, alike)]
    gone = _without((i for place in left for i in place.old), (i for i, _ in here))
    come = _without((j for place in left for j in place.new), (j for _, j in here))
    moved = _best([(i, j) for i in gone for j in come if alike(i, j).kin], alike)
    return Pairs(
        changed=tuple(sorted((*here, *((i, j) for i, j in moved if old[i] != new[j])), key=lambda pair: pair[1])),
        moved=tuple(moved),
        removed=tuple(_without(gone, (i for i, _ in moved))),
        added=tuple(_without(come, (j for _, j in moved))),
    )


def _at_one_place(place: _Left, alike: Callable[[int, int], Likeness]) -> list[tuple[int, int]]:
    """As many pairs as there can be: in turn where both sides have as many layers, else the most alike, in order."""
    if len(place.old) == len(place.new):
        return list(zip(place.old, place.new, strict=True))
    return _in_order(place, alike)


def _in_order(place: _Left, alike: Callable[[int, int], Likeness]) -> list[tuple[int, int]]:
    """The pairs with the fewest differences in all, none of them crossing another."""
    turned = len(place.old) > len(place.new)
    few, many = (place.new, place.old) if turned else (place.old, place.new)
    costs: list[list[float]] = [[0.0] * (len(many) + 1)]
    for a, one in enumerate(few, start=1):
        row = [float("inf")] * (len(many) + 1)
        for b, other in enumerate(many, start=1):
            cost = alike(other, one) if turned else alike(one, other)
            row[b] = min(row[b - 1], costs[a - 1][b - 1] + cost.differences)
        costs.append(row)
    found, b = [], len(many)
    for a in range(len(few), 0, -1):
        # Of equally good pairs the first ones: what is more came behind.
        while costs[a][b - 1] == costs[a][b]:
            b -= 1
        found.append((many[b - 1], few[a - 1]) if turned else (few[a - 1], many[b - 1]))
        b -= 1
    return found[::-1]


def _best(candidates: list[tuple[int, int]], alike: Callable[[int, int], Likeness]) -> list[tuple[int, int]]:
    """Pairs with the fewest differences first, of equal ones the first layers; each layer is in one of them."""
    found: dict[int, int] = {}
    for i, j in sorted(candidates, key=lambda pair: (alike(*pair).differences, pair)):
        if i not in found and j not in found.values():
            found[i] = j
    return sorted(found.items(), key=lambda pair: pair[1])


def _without(numbers: Iterable[int], others: Iterable[int]) -> list[int]:
    known = set(others)
    return [number for number in numbers if number not in known]
