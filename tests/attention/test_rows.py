"""Which rows count: by a pattern that looks at the query alone."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch

from xcompose.attention.algebra import Difference, Everything, Union
from xcompose.attention.pattern import DependsOnLength, Pattern, Point
from xcompose.attention.reads import Axis
from xcompose.attention.rows import Asked, asks_keys, chosen, counted, has_rows, one_piece, only_rows
from xcompose.compose.parts import Visible


@attrs.frozen
class First(Pattern):
    size: int

    def allows(self, q: Point, k: Point) -> Any:
        return q.at + k.at * 0 < self.size


@attrs.frozen
class Last(Pattern):
    size: int
    needs_length = True

    def allows(self, q: Point, k: Point) -> Any:
        return q.at + k.at * 0 >= q.length - self.size


@attrs.frozen
class Behind(Pattern):
    def allows(self, q: Point, k: Point) -> Any:
        return k.at < q.at


REST = Difference((Everything(), First(2)))
ENDS = Union((First(1), Last(2)))


@pytest.mark.parametrize(
    ("rows", "asks"), [(First(3), False), (First(0), False), (REST, False), (Everything(), False), (Behind(), True)]
)
def test_a_pattern_that_looks_at_keys_does_not_say_which_rows(rows, asks):
    assert asks_keys(rows) is asks


@pytest.mark.parametrize(
    ("rows", "at", "total", "numbers", "piece"),
    [
        (First(2), range(5), 5, [0, 1], range(0, 2)),
        (First(2), range(-3, 5), 5, [0, 1, 2, 3, 4], range(0, 5)),
        (First(2), range(4, 9), None, [], range(0)),
        (REST, range(5), None, [2, 3, 4], range(2, 5)),
        (REST, range(7, 9), None, [0, 1], range(0, 2)),
        (ENDS, range(5), 5, [0, 3, 4], None),
    ],
)
def test_rows_by_their_places(rows, at, total, numbers, piece):
    assert counted(rows, at, total).nonzero()[0].tolist() == numbers
    assert one_piece(rows, at, total) == piece
    assert has_rows(rows, range(5))
    assert not has_rows(First(0), range(5))


def test_a_decoder_has_no_end():
    with pytest.raises(DependsOnLength):
        counted(Last(1), range(5), None)


def test_rows_counted_from_the_end_of_each_padded_sequence():
    valid = torch.arange(5) < torch.tensor([5, 3])[:, None]
    x = torch.arange(1, 11).reshape(2, 5, 1).double()
    asked = Asked(Last(2), Axis(range(5), valid, total=5))

    assert chosen(Last(2), asked.whole, x).tolist() == [[False] * 3 + [True] * 2, [False, True, True, True, True]]
    assert asked.axis is None
    assert torch.equal(asked.of(x), x)
    assert asked.put(x).flatten(1).tolist() == [[0, 0, 0, 4, 5], [0, 7, 8, 9, 10]]


def test_rows_in_one_piece_are_cut_out_and_put_back():
    x, valid = torch.arange(1, 11).reshape(2, 5, 1), torch.ones(2, 5, dtype=torch.bool)
    asked = Asked(REST, Axis(range(5), valid, {"tag": torch.arange(10).reshape(2, 5)}, total=5, clock="source"))

    assert asked.of(x).flatten(1).tolist() == [[3, 4, 5], [8, 9, 10]]
    assert asked.put(asked.of(x)).flatten(1).tolist() == [[0, 0, 3, 4, 5], [0, 0, 8, 9, 10]]
    there = asked.axis
    assert there is not None
    assert there.valid is not None
    assert (there.at, there.total, there.clock) == (range(2, 5), 5, "source")
    assert (there.valid.shape, there.tags["tag"].tolist()) == ((2, 3), [[2, 3, 4], [7, 8, 9]])


def test_sequences_at_different_times_are_looked_at_row_by_row():
    x, at = torch.ones(2, 3, 1), torch.tensor([[0, 1, 2], [4, 5, 6]])
    asked = Asked(First(2), Axis(at))

    assert asked.axis is None
    assert asked.put(x).flatten(1).tolist() == [[1, 1, 0], [0, 0, 0]]


def test_everything_is_asked_without_a_pattern():
    x = torch.ones(2, 3, 1)
    asked = Asked(None, Axis(range(3)))

    assert asked.axis is None
    assert asked.put(asked.of(x)) is x


@pytest.mark.parametrize(("prefix", "wanted"), [(0, [0, 1]), (1, [0, 1, 2])])
def test_other_rows_see_nothing(prefix, wanted):
    (found,) = only_rows(
        (Visible("all", 2, counted(Everything(), range(4), 4)[:, None].repeat(4, 1), True),), First(2), False, prefix
    )

    assert found.matrix.any(1).nonzero()[0].tolist() == wanted
    assert only_rows((), First(2), False) == ()
