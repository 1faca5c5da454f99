from __future__ import annotations

import itertools

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xcompose_plugins.patterns.blocks import Blocks
from xcompose_plugins.patterns.dense import Dense
from xcompose_plugins.patterns.global_ import Global
from xcompose_plugins.patterns.none import Nothing
from xcompose_plugins.patterns.random import Random
from xcompose_plugins.patterns.strided import Strided
from xcompose_plugins.patterns.window import Window

from xcompose.api import NEVER, Difference, Gather, Heads, Intersection, PartError, Pattern, Point, Run, Steady, Union
from xcompose.attention.algebra import area, divide, larger, smaller, together
from xcompose.attention.checks import cover_fault
from xcompose.attention.counts import pairs

MEMBERS = (
    Dense(), Nothing(), Window(size=3), Window(size=2, dilation=3), Window(size=70), Blocks(size=4),
    Blocks(size=5, back=1, ahead=1), Strided(stride=4), Global(first=3), Random(count=2, block=3),
)  # fmt: skip
FIXED = st.sampled_from(MEMBERS)
COMBINED = st.recursive(
    FIXED,
    lambda inner: st.builds(
        lambda kind, of: kind(tuple(of)),
        st.sampled_from((Union, Intersection, Difference)),
        st.lists(inner, min_size=2, max_size=3),
    ),
    max_leaves=5,
)


@attrs.frozen
class OwnHead(Pattern):
    """Head h reads the key h positions back."""

    per_head = True

    def allows(self, q: Point, k: Point):
        return q.at - k.at == q.head

    def steady(self, length: int):
        return Steady()


def members_of(pattern: Pattern, q: int, k: int) -> bool:
    """The set operation on single pairs, by Python's own `any` and `all`."""
    if isinstance(pattern, Union):
        return any(members_of(m, q, k) for m in pattern.members)
    if isinstance(pattern, Intersection):
        return all(members_of(m, q, k) for m in pattern.members)
    if isinstance(pattern, Difference):
        return members_of(pattern.members[0], q, k) and not any(members_of(m, q, k) for m in pattern.members[1:])
    return bool(pattern.allows(Point(at=q), Point(at=k)))


@settings(max_examples=60, deadline=None)
@given(pattern=COMBINED, n=st.integers(1, 40), causal=st.booleans(), start=st.integers(0, 9))
def test_sets_are_what_they_say_and_covers_hold_each_pair_once(pattern, n, causal, start):
    at = np.arange(n)
    found = np.broadcast_to(pattern.allows(Point(at=at[:, None]), Point(at=at[None])), (n, n))

    assert found.tolist() == [[members_of(pattern, q, k) for k in range(n)] for q in range(n)]
    assert cover_fault(pattern, range(n), range(n), causal) is None
    assert cover_fault(pattern, range(start, start + n), range(start // 2, start + n), causal) is None


@settings(max_examples=25, deadline=None)
@given(pattern=COMBINED, causal=st.booleans())
def test_covers_of_many_tiles_hold_each_pair_once(pattern, causal):
    assert cover_fault(pattern, range(413), range(413), causal) is None


@settings(max_examples=40, deadline=None)
@given(pattern=COMBINED)
def test_no_slot_is_dropped_while_it_may_be_read(pattern):
    n = 60
    at = np.arange(n)
    found = np.broadcast_to(pattern.allows(Point(at=at[:, None]), Point(at=at[None])), (n, n))
    last = np.broadcast_to(pattern.last_reader(at), (n,))
    read = np.where(found & (at[None] <= at[:, None]), at[:, None], -1).max(0)

    assert (read <= np.maximum(last, -1)).all()


def test_last_readers_are_those_of_the_members():
    one, two, three = Window(size=3), Blocks(size=8), Global(first=2)

    assert Union((one, two)).last_reader(8) == 15
    assert Union((one, two)).last_reader(15) == 18
    assert Intersection((one, two)).last_reader(8) == 11
    assert Intersection((one, two)).last_reader(15) == 15
    assert Difference((one, two)).last_reader(8) == 11
    assert Union((one, two, three)).last_reader(1) == NEVER
    assert Intersection((one, Dense())).last_reader(np.array([1, 2])).tolist() == [4, 5]


def test_larger_and_smaller_bear_positions_that_never_come():
    for a, b in itertools.product((-5, 0, 7, NEVER), repeat=2):
        assert (larger(a, b), smaller(a, b)) == (max(a, b), min(a, b))
        arrays = np.array([a]), np.array([b])
        assert (larger(*arrays)[0], smaller(*arrays)[0]) == (max(a, b), min(a, b))


def runs_of(pattern: Pattern, n: int, causal: bool = False) -> list[Run]:
    return [tile for tile in pattern.cover(range(n), range(n), causal) if isinstance(tile, Run)]


def test_members_without_masks_own_their_pairs_first():
    """So the global columns stay whole, and the window's tiles but the first few share their own mask."""
    near = Window(size=64)
    tiles = Union((near, Global(first=4))).cover(range(10_000), range(10_000), True)
    columns, start, rest = tiles

    assert isinstance(columns, Run)
    assert isinstance(start, Gather)
    assert isinstance(rest, Run)
    assert (columns.allows, columns.cols) == (None, 4)
    assert start.queries.shape == (2, 64)
    assert (rest.count, rest.allows) == (155, near.allows)


def test_a_member_that_adds_nothing_costs_nothing():
    whole = runs_of(Union((Window(size=3), Dense())), 200)

    assert whole == list(Dense().cover(range(200), range(200), False))


def test_tiles_where_nothing_is_taken_away_lose_no_mask_and_gain_none():
    (run,) = runs_of(Difference((Blocks(size=64), Window(size=0, dilation=1))), 640)
    (same,) = runs_of(Difference((Blocks(size=64), Nothing())), 640)

    assert run.allows is not None
    assert same.allows is None


def test_a_run_keeps_one_mask_for_each_phase_of_the_other_pattern():
    tiles = Union((Window(size=40), Blocks(size=96))).cover(range(96 * 40), range(96 * 40), False)
    own, *window = tiles

    assert (own.count, own.allows) == (40, None)
    assert sorted(run.q_step for run in window) == [192, 192, 192]


def test_a_period_with_too_many_phases_gets_a_mask_for_each_tile():
    tiles = Union((Window(size=40), Blocks(size=97))).cover(range(97 * 40), range(97 * 40), False)

    assert [type(tile) for tile in tiles] == [Run, Gather]


def test_the_number_of_tiles_does_not_grow_with_the_length():
    pattern = Difference((Union((Window(size=100), Blocks(size=96, back=1), Strided(stride=128))), Global(first=300)))
    sizes = [len(pattern.cover(range(n), range(n), True)) for n in (10_000, 100_000, 1_000_000)]

    assert len(set(sizes)) == 1


def test_the_tightest_member_of_an_intersection_gives_the_tiles():
    tiles = Intersection((Dense(), Blocks(size=4096), Window(size=8))).cover(range(8192), range(8192), False)

    assert area(tiles) <= area(Window(size=8).cover(range(8192), range(8192), False))


def test_a_pattern_that_looks_at_heads_keeps_its_predicate():
    pattern = Union((OwnHead(), Window(size=1)))
    found = np.zeros((2, 30, 30), dtype=int)
    for tile in pattern.cover(range(30), range(30), True):
        assert isinstance(tile, Run)
        at = np.arange(30)
        q, k = Point(at=at[:, None], head=np.array([0, 5])[:, None, None]), Point(at=at[None])
        assert tile.allows is not None
        inside = (at[:, None] >= tile.q_start) & (at[:, None] < tile.q_start + tile.count * tile.rows)
        found += inside & tile.allows(q, k) & (k.at <= q.at)

    assert pattern.per_head
    assert (
        found == [[[int(0 <= i - j <= 1 or i - j == h) for j in range(30)] for i in range(30)] for h in (0, 5)]
    ).all()


def test_groups_of_heads_pass_through_set_operations():
    one, two, three = Window(size=3), Strided(stride=4), Blocks(size=5)
    grouped = Heads(((3, one), (1, two)))

    assert Union((grouped, three)).groups(8) == ((6, Union((one, three))), (2, Union((two, three))))
    assert Difference((three, Heads(((1, one), (1, two))), grouped)).groups(4) == (
        (2, Difference((three, one, one))),
        (1, Difference((three, two, one))),
        (1, Difference((three, two, two))),
    )
    plain = Union((one, two))
    assert plain.groups(5) == ((5, plain),)


@pytest.mark.parametrize(
    ("shares", "heads", "counts"),
    [([1], 5, [5]), ([3, 1], 8, [6, 2]), ([6, 2], 4, [3, 1]), ([2, 3, 5], 20, [4, 6, 10])],
)
def test_shares_divide_heads(shares, heads, counts):
    assert divide(shares, heads) == counts


def test_shares_that_are_not_whole_are_refused():
    with pytest.raises(PartError, match="^7 heads cannot be divided 2 : 2$") as caught:
        divide([2, 2], 7)

    assert caught.value.fixes == ("heads: 2, 4, 6 ...", "other shares, which divide 7 heads")


def test_combinations_say_what_they_are():
    assert Union((Dense(), Window(size=1))).full
    assert not Intersection((Dense(), Window(size=1))).full
    assert Intersection((Nothing(), Window(size=1))).empty
    assert Union((Nothing(), Nothing())).empty
    assert not Union((Nothing(), Dense())).empty
    assert Union((Nothing(), Dense())).crosses
    assert not Union((Window(size=1), Dense())).crosses


def test_regularity_is_what_all_members_share():
    assert together([Steady(4, 0, 100), Steady(6, 7, 90)]) == Steady(12, 7, 90)
    assert together([Steady(4), None]) is None


def test_equal_combinations_are_equal_and_have_one_hash():
    one, same = (Union((Window(size=3), Global(first=1))) for _ in range(2))

    assert one == same
    assert hash(one) == hash(same)
    assert pairs(one, 40, causal=True) == pairs(same, 40, causal=True)


@attrs.frozen
class Moving(Pattern):
    """Reaches as far as it says now; a graph that is traced must take all of it."""

    reach: int

    def allows(self, q: Point, k: Point):
        return q.at - k.at <= self.reach

    def present(self, traced: bool = False) -> Pattern:
        return Window(size=99 if traced else self.reach)


def test_a_combination_is_made_of_what_its_members_are_now():
    still = Union((Dense(), Window(size=1)))
    moving = Intersection((Blocks(size=4), Moving(reach=3)))

    assert still.present() is still
    assert moving.present() == Intersection((Blocks(size=4), Window(size=3)))
    assert moving.present(traced=True) == Intersection((Blocks(size=4), Window(size=99)))
