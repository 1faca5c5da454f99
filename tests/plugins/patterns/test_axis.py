"""Lines of a grid: rows, columns, and what several axes make together."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plugins.helpers import attention, context, in_unison, mixer, part, ragged, rows, sizes
from xcompose.api import NEVER, Grid, Pattern, Point
from xcompose.attention.algebra import Union
from xcompose.attention.checks import cover_fault
from xcompose.attention.counts import kept, pairs, tile_pairs
from xcompose.attention.reads import Axis
from xcompose.diagnostics import PartError

from .owed import last_readers, owes

GRIDS = (
    Grid((5, 7)),
    Grid((3, 5, 2)),
    Grid((11,)),
    Grid((2, 3, 2, 3)),
    Grid((6, 4), (3, 2)),
    Grid((4, 2, 6), (2, 1, 3)),
)


def lines(grid: Grid, along: int) -> Pattern:
    return context(8, grid=grid).build(part("pattern", "axis", along=along))


def naive(grid: Grid) -> dict[int, tuple[int, ...]]:
    """Where each position lies, by walking through the grid in its order."""
    block = grid.block or grid.sides
    counts = [side // part for side, part in zip(grid.sides, block, strict=True)]
    walked = (
        tuple(w * part + p for w, part, p in zip(which, block, inside, strict=True))
        for which in product(*map(range, counts))
        for inside in product(*map(range, block))
    )
    return dict(enumerate(walked))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_a_query_reads_what_differs_in_one_coordinate(grid):
    place = naive(grid)
    for along in range(len(grid.sides)):

        def on_one_line(i: int, j: int, along: int = along) -> bool:
            return all(a == b for axis, (a, b) in enumerate(zip(place[i], place[j], strict=True)) if axis != along)

        for n in (grid.size, grid.size - 1, 3):
            owes(lines(grid, along), n, on_one_line)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_a_slot_is_dropped_when_its_line_ends(grid):
    assert (lines(grid, 0).last_reader(np.arange(grid.size)) == NEVER).all()
    for along in range(1, len(grid.sides)):
        found = lines(grid, along).last_reader(np.arange(grid.size))
        assert found.tolist() == last_readers(lines(grid, along), grid.size, grid.size)


@settings(max_examples=80, deadline=None)
@given(grid=st.sampled_from(GRIDS), data=st.data(), causal=st.booleans())
def test_the_cover_holds_each_pair_once(grid, data, causal):
    n = grid.size
    first, last = sorted((data.draw(st.integers(0, n - 1)), data.draw(st.integers(1, n))))
    queries = range(first, max(first + 1, last))
    keys = range(data.draw(st.integers(0, first)), n if not causal else queries.stop)
    along = data.draw(st.integers(0, len(grid.sides) - 1))

    assert cover_fault(lines(grid, along), queries, keys, causal) is None


@pytest.mark.parametrize(("h", "w"), [(4, 5), (5, 4), (6, 6), (2, 13)])
def test_costs_what_its_card_says(h, w):
    grid = Grid((h, w))
    column, row, n = lines(grid, 0), lines(grid, 1), h * w

    assert pairs(column, n, causal=False) + pairs(row, n, causal=False) == n * (h + w)
    assert pairs(column, n, causal=True) == n * (h + 1) // 2
    assert pairs(row, n, causal=True) == n * (w + 1) // 2
    assert pairs(Union((column, row)), n, causal=False) == n * (h + w - 1)


@pytest.mark.parametrize("grid", [*GRIDS, Grid((32, 32)), Grid((8, 8, 8))], ids=str)
def test_nothing_is_computed_in_vain(grid):
    for along in range(len(grid.sides)):
        pattern = lines(grid, along)
        assert tile_pairs(pattern, grid.size, causal=False) == pairs(pattern, grid.size, causal=False)


def test_one_step_reads_one_line():
    for along in (0, 1):
        (run,) = lines(Grid((32, 32)), along).cover(range(500, 501), range(501), True)
        assert (run.count, run.rows) == (1, 1)
        assert run.cols <= 32


def test_a_decoder_keeps_the_lines_that_go_on():
    column, row = lines(Grid((5, 7)), 0), lines(Grid((5, 7)), 1)

    assert [kept(row, n) for n in (0, 3, 7, 10, 35)] == [0, 3, 0, 3, 0]
    assert [kept(column, n) for n in (0, 3, 7, 28, 30, 35)] == [0, 3, 7, 28, 30, 35]


def test_the_rule_is_regular_where_it_says_so():
    for grid in GRIDS:
        for along in range(len(grid.sides)):
            steady = lines(grid, along).steady(grid.size)
            if steady is None:
                assert grid.block is not None
                continue
            at = np.arange(grid.size - steady.period)
            q, k = at[:, None], at[None]
            now = lines(grid, along).allows(Point(at=q), Point(at=k))
            then = lines(grid, along).allows(Point(at=q + steady.period), Point(at=k + steady.period))
            assert (now == then).all()


@pytest.mark.parametrize("along", [0, 1])
@pytest.mark.parametrize("causal", ["none", "strict"])
def test_attention_along_an_axis_is_attention_on_each_line(along, causal):
    h, w, c = 3, 5, 8
    made = mixer(axial(along), c, causal, grid=Grid((h, w)))
    alone = mixer(attention(pattern="dense", heads=2), c, causal)
    x, other = (rows(2, h * w, c).requires_grad_() for _ in range(2))

    found = made(x, axis_of(h * w, causal)).x
    lines_of = other.unflatten(1, (h, w)).unbind(1 if along == 1 else 2)
    wanted = torch.stack([alone(line, axis_of(line.shape[1], causal)).x for line in lines_of], 2 - along).flatten(1, 2)

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    weights = rows(2, h * w, c, seed=9)
    (mine,) = torch.autograd.grad((found * weights).sum(), x)
    (theirs,) = torch.autograd.grad((wanted * weights).sum(), other)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("along", [0, 1])
@pytest.mark.parametrize("grid", [Grid((3, 5)), Grid((4, 6), (2, 3))], ids=str)
def test_step_by_step_equals_all_at_once(grid, along):
    n = grid.size
    made, x = mixer(axial(along), 8, grid=grid), rows(3, n, 8)
    whole = made(x, Axis(range(n))).x

    for cuts in (range(1, n), [4, 9]):
        found, _ = in_unison(made, x, cuts)
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-12)
    found, _ = ragged(made, x, [(5, 2, 1), (1, 4, 0), (1, 1, 7), (0, 1, 5)])
    for i, taken in enumerate((7, 8, 13)):
        torch.testing.assert_close(found[i, :taken], whole[i, :taken], rtol=0, atol=1e-12)
    for n in (1, 4, 11):
        assert sizes(in_unison(made, x[:, :n], range(1, n))[1]) == made.state_shape(n)


def axial(along: int) -> Any:
    return attention(pattern=part("pattern", "axis", along=along), heads=2)


def axis_of(n: int, causal: str) -> Axis:
    return Axis(range(n), total=n if causal == "none" else None)


def refused(**given: Any) -> PartError:
    with pytest.raises(PartError) as caught:
        context(8, grid=given.pop("grid", None)).build(part("pattern", "axis", **given))
    return caught.value


def test_between_two_sequences_it_is_refused():
    with pytest.raises(PartError) as caught:
        mixer(axial(1), 8, "none", grid=Grid((4, 5)), role="cross")

    assert caught.value.message == "cross-attention cannot use pattern 'axis'"
    assert caught.value.label == "it compares positions of queries and keys, which mean nothing between two sequences"


def test_a_model_without_a_grid_is_refused():
    error = refused(along=0)

    assert error.message == "pattern 'axis' needs the grid of the model"
    assert error.label == "it reads along lines of it"
    assert error.fixes == ("model.grid: [32, 32]",)


def test_an_axis_that_is_not_there_is_refused():
    error = refused(along=2, grid=Grid((4, 5)))

    assert error.message == "there is no axis 2 in a grid of 2 sides"
    assert (error.option, error.fixes) == ("along", ("one of 0, 1",))
