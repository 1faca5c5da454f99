from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xcompose_plugins.patterns.blocks import Blocks

from xcompose.attention.checks import cover_fault
from xcompose.attention.counts import kept, pairs, tile_pairs

from .owed import last_readers, owes


def neighbours(size: int, back: int, ahead: int):
    return lambda i, j: i // size - back <= j // size <= i // size + ahead


@pytest.mark.parametrize(("size", "back", "ahead"), [(1, 0, 0), (4, 0, 0), (5, 1, 0), (3, 1, 2), (2, 0, 1), (64, 2, 2)])
def test_a_query_may_read_its_block_and_the_neighbours(size, back, ahead):
    for n in (1, 2, 13, 29):
        owes(Blocks(size=size, back=back, ahead=ahead), n, neighbours(size, back, ahead))


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 90),
    size=st.integers(1, 100),
    back=st.integers(0, 3),
    ahead=st.integers(0, 3),
    causal=st.booleans(),
)
def test_the_cover_holds_each_pair_once(n, size, back, ahead, causal):
    assert cover_fault(Blocks(size=size, back=back, ahead=ahead), range(n), range(n), causal) is None


@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_costs_what_its_card_says(size):
    for n in range(12, 41):
        q, rest = divmod(n, size)
        assert pairs(Blocks(size=size), n, causal=False) == q * size**2 + rest**2
        assert pairs(Blocks(size=size), n, causal=True) == q * size * (size + 1) // 2 + rest * (rest + 1) // 2


@pytest.mark.parametrize("size", [2, 3, 5])
def test_costs_what_its_card_says_with_the_block_before(size):
    for count in range(2, 8):
        wanted = count * size * (size + 1) // 2 + (count - 1) * size**2
        assert pairs(Blocks(size=size, back=1), count * size, causal=True) == wanted


def test_nothing_is_computed_in_vain():
    pattern = Blocks(size=64, back=1, ahead=1)

    assert all(tile.allows is None for tile in pattern.cover(range(1000), range(1000), False))
    assert tile_pairs(pattern, 1000, causal=False) == pairs(pattern, 1000, causal=False)


@pytest.mark.parametrize(("size", "back"), [(1, 0), (4, 0), (3, 2)])
def test_a_slot_is_kept_while_it_is_read(size, back):
    pattern = Blocks(size=size, back=back, ahead=1)

    assert [pattern.last_reader(at) for at in range(20)] == last_readers(pattern, 20, 60)
    assert max(kept(pattern, n) for n in range(60)) == (back + 1) * size - 1


def test_a_sequence_shorter_than_a_block_is_one_small_tile():
    (run,) = Blocks(size=4096, back=1, ahead=1).cover(range(11), range(11), False)

    assert (run.count, run.rows, run.cols) == (1, 11, 11)
