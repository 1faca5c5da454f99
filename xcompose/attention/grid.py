"""A grid that a sequence fills: row by row, or block by block. Where an index lies, and which index lies there."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import attrs

from xcompose.diagnostics import PartError


@attrs.frozen
class Grid:
    """Sides of a grid, the last one fastest, and sides of the blocks in which it is filled.

    The index of a position is its place in the order in which the grid is filled: without blocks row by row; with
    blocks block by block, row by row, and inside each block row by row again.

    Raises:
        PartError: blocks that do not fill the grid.
    """

    sides: tuple[int, ...]
    block: tuple[int, ...] | None = None

    def __attrs_post_init__(self) -> None:
        if self.block is None:
            return
        if len(self.block) != len(self.sides):
            raise PartError(
                f"a block of {len(self.block)} sides cannot fill a grid of {len(self.sides)}", option="grid_block",
                fixes=(f"grid_block: [{', '.join('1' * len(self.sides))}]",),
            )  # fmt: skip
        for side, part in zip(self.sides, self.block, strict=True):
            if side % part:
                whole = ", ".join(str(d) for d in range(1, side + 1) if side % d == 0)
                raise PartError(
                    f"blocks with a side of {part} do not fill a grid with a side of {side}", option="grid_block",
                    label="every block must be whole, because the sequence ends with the last one",
                    fixes=(f"one of {whole}",),
                )  # fmt: skip

    @property
    def size(self) -> int:
        """Positions on the grid."""
        return prod(self.sides)

    def coordinates(self, index: Any) -> tuple[Any, ...]:
        """Where a position lies, one number for each side (integers, or arrays of them)."""
        if self.block is None:
            return _digits(index, self.sides)
        inside = prod(self.block)
        counts = tuple(side // part for side, part in zip(self.sides, self.block, strict=True))
        which, place = _digits(index // inside, counts), _digits(index % inside, self.block)
        return tuple(w * part + p for w, part, p in zip(which, self.block, place, strict=True))

    def index(self, coordinates: tuple[Any, ...]) -> Any:
        """The index of the position that lies there; the inverse of `coordinates`."""
        if self.block is None:
            return _number(coordinates, self.sides)
        counts = tuple(side // part for side, part in zip(self.sides, self.block, strict=True))
        which = _number(tuple(x // part for x, part in zip(coordinates, self.block, strict=True)), counts)
        place = _number(tuple(x % part for x, part in zip(coordinates, self.block, strict=True)), self.block)
        return which * prod(self.block) + place


def _digits(number: Any, sides: tuple[int, ...]) -> tuple[Any, ...]:
    """A number written with one digit for each side; the first is not bounded."""
    found = []
    for side in reversed(sides[1:]):
        found.append(number % side)
        number = number // side
    return (number, *reversed(found))


def _number(digits: tuple[Any, ...], sides: tuple[int, ...]) -> Any:
    number = digits[0]
    for digit, side in zip(digits[1:], sides[1:], strict=True):
        number = number * side + digit
    return number


def grid_of(sides: Sequence[int] | None, block: Sequence[int] | None) -> Grid | None:
    """The grid of a model that writes `grid` and `grid_block`; None where it writes none.

    Raises:
        PartError: blocks without a grid, or blocks that do not fill it.
    """
    if sides is None and block is not None:
        raise PartError("blocks of a grid need a grid", option="grid_block", fixes=("grid: [32, 32]",))
    return None if sides is None else Grid(tuple(sides), None if block is None else tuple(block))
