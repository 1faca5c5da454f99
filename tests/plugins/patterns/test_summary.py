from __future__ import annotations

from itertools import pairwise
from math import log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xcompose_plugins.patterns.blocks import Blocks
from xcompose_plugins.patterns.summary import Cells, Spread, SummaryOptions, components
from xcompose_plugins.patterns.window import Window

from tests.plugins.helpers import attention, context, mixer, pattern, rows
from tests.plugins.mixers.test_attention import agree, naive
from xcompose.api import NEVER, Axis, Gather, PartError, Point, Run, Union
from xcompose.attention.checks import cover_fault
from xcompose.attention.counts import kept, pairs, tile_pairs

from .owed import last_readers, owes


def build(**given):
    (component,) = components()
    return component.build(SummaryOptions(**given), None)


def cells(size: int, last: int, behind: int = 0):
    return lambda i, j: size - behind - last <= j % size < size - behind


@pytest.mark.parametrize(
    ("size", "last", "behind"), [(1, 1, 0), (4, 1, 0), (5, 2, 0), (5, 2, 2), (3, 3, 0), (64, 8, 8)]
)
def test_a_query_may_read_the_last_positions_of_every_block(size, last, behind):
    for n in (1, 2, 13, 29):
        owes(Cells(size, last, behind), n, cells(size, last, behind))


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 90), size=st.integers(1, 20), last=st.integers(1, 20), behind=st.integers(0, 19),
    causal=st.booleans(), start=st.integers(0, 40), low=st.integers(0, 60),
)  # fmt: skip
def test_the_cover_holds_each_pair_once(n, size, last, behind, causal, start, low):
    last = min(last, size)
    pattern = Cells(size, last, min(behind, size - last))
    queries, keys = range(start, start + n), range(min(low, start + n - 1), start + n)

    assert cover_fault(pattern, queries, keys, causal) is None
    assert cover_fault(Union((Blocks(size=size), pattern)), queries, keys, causal) is None
    assert cover_fault(Union((Window(size=3), pattern)), queries, keys, causal) is None


@pytest.mark.parametrize(("size", "last"), [(2, 1), (3, 2), (5, 2), (8, 8)])
def test_costs_what_its_card_says(size, last):
    for q in range(1, 8):
        n = q * size
        alone = size * last * q * (q - 1) // 2 + q * last * (last + 1) // 2
        merged = q * size * (size + 1) // 2 + size * last * q * (q - 1) // 2
        assert pairs(build(size=size, last=last), n, causal=True) == alone
        assert pairs(Union((Blocks(size=size), build(size=size, last=last))), n, causal=True) == merged
        assert pairs(build(size=size, last=last), n, causal=False) == n * q * last


@pytest.mark.parametrize(("size", "last"), [(4, 2), (9, 3), (7, 2)])
def test_merged_with_blocks_every_stretch_costs_the_same(size, last):
    for q in (1, 2, 5):
        merged = q * size * (size + 1) // 2 + size * last * q * (q - 1) // 2
        for _, part in build(size=size, last=last, spread="heads").groups(100):
            assert pairs(Union((Blocks(size=size), part)), q * size, causal=True) == merged


def test_with_blocks_of_the_root_of_the_length_it_grows_with_the_power_one_and_a_half():
    found = []
    for size in (32, 64, 128):
        merged = Union((Blocks(size=size), Cells(size, 4)))
        found.append(pairs(merged, size**2, causal=True))

    assert [log2(more / less) / 2 for less, more in pairwise(found)] == pytest.approx([1.5, 1.5], abs=0.02)


def test_nothing_is_computed_in_vain_but_for_the_block_itself():
    pattern = Cells(16, 4)
    tiles = pattern.cover(range(1024), range(1024), True)
    own, past = [t for t in tiles if isinstance(t, Run)], [t for t in tiles if isinstance(t, Gather)]

    assert all(tile.allows is None for tile in tiles)
    assert [(run.count, run.rows, run.cols) for run in own] == [(64, 4, 4)]
    assert len(past) == 6
    assert tile_pairs(pattern, 1024, causal=True) == pairs(pattern, 1024, causal=True) + 64 * 4 * 3 // 2
    assert tile_pairs(pattern, 1024, causal=False) == pairs(pattern, 1024, causal=False)


@pytest.mark.parametrize(("size", "last", "behind"), [(1, 1, 0), (4, 1, 0), (5, 2, 2)])
def test_a_slot_is_kept_if_it_is_a_cell(size, last, behind):
    pattern = Cells(size, last, behind)
    found = [pattern.last_reader(at) for at in range(20)]

    assert [at == NEVER for at in found] == [at == 99 for at in last_readers(pattern, 20, 100)]
    assert {at for at in found if at != NEVER} <= {-1}


@pytest.mark.parametrize(("size", "last"), [(4, 1), (5, 2), (3, 3)])
def test_the_cache_of_merged_heads_is_the_block_and_the_cells_of_the_past(size, last):
    for t in range(40):
        assert kept(Union((Blocks(size=size), Cells(size, last))), t) == t % size + last * (t // size)


def test_heads_take_stretches_from_the_end_of_the_block_backwards():
    pattern = build(size=128, last=32, spread="heads")

    assert pattern == Spread(128, 32)
    assert pattern.groups(8) == tuple((2, Cells(128, 32, behind)) for behind in (0, 32, 64, 96))
    assert pattern.groups(2) == ((1, Cells(128, 32, 0)), (1, Cells(128, 32, 32)))
    assert build(size=7, last=3, spread="heads").groups(5) == ((3, Cells(7, 3, 0)), (2, Cells(7, 3, 3)))


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 7, 8])
def test_as_many_heads_read_a_stretch_as_where_the_head_s_number_decides(heads):
    size, last = 10, 3
    wanted = sorted(tuple(j for j in range(size) if cells(size, last, h % 3 * last)(0, j)) for h in range(heads))
    found = [
        tuple(j for j in range(size) if part.allows(Point(at=size), Point(at=j)))
        for count, part in build(size=size, last=last, spread="heads").groups(heads)
        for _ in range(count)
    ]

    assert sorted(found) == wanted


def test_joined_to_another_pattern_the_groups_stay():
    pattern = Union((Blocks(size=4), Spread(4, 2)))

    assert pattern.groups(6) == (
        (3, Union((Blocks(size=4), Cells(4, 2, 0)))),
        (3, Union((Blocks(size=4), Cells(4, 2, 2)))),
    )


def test_more_positions_than_a_block_has_are_refused():
    with pytest.raises(PartError) as caught:
        build(size=4, last=5)

    assert caught.value.message == "the last 5 positions of a block of 4 are more than there are"
    assert caught.value.fixes == ("last=4", "summary(5, last=5)")
    assert caught.value.option == "last"


def merged(size: int, last: int, causal: str):
    """Attention of four heads that merges blocks with a stretch of each block for every head."""
    of = (pattern("blocks", size=size), pattern("summary", size=size, last=last, spread="heads"))
    return mixer(attention(heads=4, pattern=pattern("union", of=of)), 12, causal)


@pytest.mark.parametrize("causal", ["strict", "none"])
def test_the_merged_form_by_the_formula(causal):
    """Heads 0 and 1 read positions 3 and 4 of every block of 5, heads 2 and 3 positions 1 and 2."""
    n, ends = 17, {0: (3, 4), 1: (3, 4), 2: (1, 2), 3: (1, 2)}

    def allowed(h, i, j):
        return (j <= i or causal == "none") and (i // 5 == j // 5 or j % 5 in ends[h])

    made, axis = merged(5, 2, causal), Axis(range(n), total=None if causal == "strict" else n)
    agree(made, rows(2, n, 12), axis, lambda x: naive(made, x, allowed))


def test_each_head_of_its_own_by_the_formula():
    """Half of the heads read the block, half of them the last position of every block, and themselves."""
    n = 17
    near = pattern("union", of=(pattern("summary", size=4), pattern("window", size=0)))
    parts = pattern("heads", of=((1, pattern("blocks", size=4)), (1, near)))
    made = mixer(attention(heads=4, pattern=parts, silence="refuse"), 12)

    def allowed(h, i, j):
        return j <= i and (i // 4 == j // 4 if h < 2 else j % 4 == 3 or i == j)

    agree(made, rows(2, n, 12), Axis(range(n)), lambda x: naive(made, x, allowed))


def test_the_state_of_a_decoder_is_what_the_card_says():
    made = merged(5, 2, "strict")

    for t in (0, 3, 5, 17, 30):
        held = t % 5 + 2 * (t // 5)
        shapes = {"k": (held, 2, 3), "v": (held, 2, 3), "at": (held,)}
        assert made.state_shape(t) == {f"tokens.{i}.{name}": size for i in (0, 1) for name, size in shapes.items()}


def test_alone_it_leaves_the_first_queries_silent():
    with pytest.raises(PartError) as caught:
        context(12).build(attention(heads=4, pattern=pattern("summary", size=4), silence="refuse"))

    assert caught.value.message == "pattern 'summary' leaves queries without a key"
    assert caught.value.label == "query 0 may read no key at all (12 of 128 queries read nothing)"
