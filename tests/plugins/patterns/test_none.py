from __future__ import annotations

from xcompose_plugins.patterns.none import Nothing

from xcompose.attention.counts import kept, pairs

from .owed import owes


def test_no_query_may_read_any_key():
    for n in (1, 2, 13):
        owes(Nothing(), n, lambda i, j: False)


def test_costs_nothing():
    assert pairs(Nothing(), 37, causal=False) == 0
    assert kept(Nothing(), 37) == 0
    assert Nothing().cover(range(37), range(37), True) == ()


def test_drops_every_slot_at_once():
    assert [Nothing().last_reader(at) for at in (0, 5)] == [-1, 4]


def test_says_what_it_is():
    assert Nothing().empty
    assert Nothing().crosses
    assert not Nothing().full
