from __future__ import annotations

from xcompose_plugins.patterns.dense import Dense

from xcompose.attention.counts import kept, pairs, tile_pairs

from .owed import owes


def test_every_query_may_read_every_key():
    for n in (1, 2, 13):
        owes(Dense(), n, lambda i, j: True)


def test_costs_what_its_card_says():
    assert pairs(Dense(), 37, causal=False) == tile_pairs(Dense(), 37, causal=False) == 37**2
    assert pairs(Dense(), 37, causal=True) == 37 * 38 // 2
    assert kept(Dense(), 37) == 37


def test_is_one_tile_without_a_mask():
    (tile,) = Dense().cover(range(10**9), range(10**9), True)

    assert (tile.count, tile.rows, tile.cols, tile.allows) == (1, 10**9, 10**9, None)


def test_says_what_it_is():
    assert Dense().full
    assert Dense().crosses
    assert not Dense().empty
