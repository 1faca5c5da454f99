"""A grid: where an index lies, in both orders, and blocks that do not fill it."""

from __future__ import annotations

import numpy as np
import pytest

from xcompose.attention.grid import Grid, grid_of
from xcompose.diagnostics import PartError


@pytest.mark.parametrize(
    ("sides", "block"), [((7,), None), ((3, 5), None), ((2, 3, 5), None), ((6, 10), (2, 5)), ((4, 6, 3), (2, 2, 3))]
)
def test_an_index_lies_at_its_coordinates_and_back(sides, block):
    grid = Grid(sides, block)
    every = np.arange(grid.size)

    assert (grid.index(grid.coordinates(every)) == every).all()
    assert len({grid.coordinates(int(i)) for i in every}) == grid.size == np.prod(sides)


def test_row_by_row():
    assert [Grid((2, 3)).coordinates(i) for i in range(6)] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_block_by_block():
    found = [Grid((2, 4), (2, 2)).coordinates(i) for i in range(8)]

    assert found == [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (0, 3), (1, 2), (1, 3)]


def test_blocks_that_do_not_fill_the_grid_are_refused():
    with pytest.raises(PartError) as caught:
        Grid((6, 10), (2, 4))

    assert caught.value.message == "blocks with a side of 4 do not fill a grid with a side of 10"
    assert caught.value.fixes == ("one of 1, 2, 5, 10",)
    assert caught.value.option == "grid_block"


def test_blocks_of_another_dimension_are_refused():
    with pytest.raises(PartError, match="a block of 1 sides cannot fill a grid of 2"):
        Grid((6, 10), (2,))


def test_blocks_need_a_grid():
    assert grid_of(None, None) is None
    assert grid_of([4, 6], [2, 2]) == Grid((4, 6), (2, 2))
    with pytest.raises(PartError, match="blocks of a grid need a grid"):
        grid_of(None, [2, 2])
