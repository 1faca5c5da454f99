from __future__ import annotations

import numpy as np
from xcompose_plugins.patterns.blocks import Blocks
from xcompose_plugins.patterns.dense import Dense
from xcompose_plugins.patterns.global_ import Global
from xcompose_plugins.patterns.random import Random
from xcompose_plugins.patterns.window import Window

from xcompose.api import Gather, Point, Run
from xcompose.attention.refine import both, extent, mask_of, restrict, spelt_out

DIAGONAL = Run(10, 4, 8, 0, 4, -4, 4)
"""Forty queries, four in a tile, with the eight keys that end where they end."""


def test_positions_of_a_run():
    run = Run(2, 2, 3, q_start=-1, q_step=10, k_start=4, k_step=1, q_stride=2, k_stride=5)
    gather = spelt_out(run, range(10), range(5, 14))

    assert gather.queries.tolist() == [[-1, 1], [9, -1]]
    assert gather.keys.tolist() == [[-1, 9, -1], [5, 10, -1]]
    assert gather.allows is None


def test_the_extent_of_a_tile():
    run = Run(2, 2, 3, q_start=-1, q_step=10, k_start=4, k_step=1, q_stride=2, k_stride=5)

    assert extent(run, 0) == (-1, 15)
    assert extent(run, 1) == (5, 16)


def test_the_mask_of_a_tile():
    near = Run(10, 4, 8, 0, 4, -4, 4, allows=Window(size=1).allows)

    assert mask_of(DIAGONAL, 3, None).all()
    assert mask_of(near, 3, None).tolist() == [[abs(4 + row - col) <= 1 for col in range(8)] for row in range(4)]


def test_both_predicates_together():
    inside, outside = both(Window(size=3).allows, Blocks(size=4), False), both(None, Blocks(size=4), True)

    assert [inside(Point(at=5), Point(at=at)) for at in (3, 4, 7, 8)] == [False, True, True, False]
    assert [outside(Point(at=5), Point(at=at)) for at in (3, 4, 7, 8)] == [True, False, False, True]


def test_a_regular_pattern_leaves_runs_as_they_are():
    assert restrict((DIAGONAL,), Dense(), range(40), range(40), outside=False) == (DIAGONAL,)
    assert restrict((DIAGONAL,), Dense(), range(40), range(40), outside=True) == ()
    assert restrict((DIAGONAL,), Window(size=100), range(40), range(40), outside=False) == (DIAGONAL,)


def test_tiles_near_the_start_get_masks_of_their_own():
    start, rest = restrict((DIAGONAL,), Global(first=6), range(40), range(40), outside=True)

    assert isinstance(start, Gather)
    assert start.queries.shape == (3, 4)
    assert rest == Run(7, 4, 8, 12, 4, 8, 4)


def test_one_tile_at_the_start_stays_a_run():
    start, rest = restrict((DIAGONAL,), Global(first=1), range(40), range(40), outside=True)[:2]

    assert isinstance(start, Gather)
    assert len(start.queries) == 2
    (single, _) = restrict((Run(10, 4, 4, 0, 4, 0, 4),), Global(first=1), range(40), range(40), outside=True)
    assert isinstance(single, Run)
    assert single.count == 1
    assert rest.allows is None


def test_an_irregular_pattern_gives_every_tile_a_mask():
    (gather,) = restrict((DIAGONAL,), Random(count=2), range(40), range(40), outside=True)

    assert isinstance(gather, Gather)
    assert gather.queries.shape == (10, 4)


def test_phases_part_a_run():
    found = restrict((DIAGONAL,), Blocks(size=8), range(40), range(40), outside=False)

    assert [(run.count, run.q_start, run.q_step) for run in found if isinstance(run, Run)] == [(5, 0, 8), (5, 4, 8)]
    masks = [mask_of(run, 1, None) for run in found if isinstance(run, Run)]
    assert masks[0].tolist() == [[col >= 4 for col in range(8)]] * 4
    assert np.all(masks[1])
