from __future__ import annotations

import pytest
from xcompose_plugins.patterns.first import First

from xcompose.attention.checks import cover_fault
from xcompose.attention.counts import kept, pairs

from .owed import last_readers, owes


@pytest.mark.parametrize("size", [0, 1, 3, 70])
def test_the_first_queries_may_read_every_key(size):
    for n in (1, 2, 13, 29):
        owes(First(size=size), n, lambda i, j: i < size)


@pytest.mark.parametrize("size", [1, 4])
def test_costs_what_its_card_says(size):
    for n in range(size, 17):
        assert pairs(First(size=size), n, causal=False) == size * n
        assert pairs(First(size=size), n, causal=True) == size * (size + 1) // 2


@pytest.mark.parametrize("size", [0, 1, 4])
def test_a_slot_is_kept_while_it_is_read(size):
    pattern = First(size=size)

    wanted = last_readers(pattern, 9, 30)
    assert [max(pattern.last_reader(at), -1) if at < size else -1 for at in range(9)] == wanted
    assert [kept(pattern, n) for n in range(7)] == [n if n < size else 0 for n in range(7)]


@pytest.mark.parametrize("size", [0, 2])
def test_rows_before_the_first_token_are_counted_in_addition(size):
    pattern = First(size=size)

    assert pairs(pattern, 11, causal=False) == size * 11
    for queries, keys in ((range(-3, 11), range(-3, 11)), (range(-2, 1), range(0, 9)), (range(4, 9), range(-3, 11))):
        tiles = pattern.cover(queries, keys, causal=False)
        assert sum(tile.rows * tile.cols for tile in tiles) == max(0, min(queries.stop, size) - queries.start) * len(
            keys
        )
    assert cover_fault(pattern, range(11), range(11), causal=False) is None
