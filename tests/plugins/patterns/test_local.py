from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from xcompose_plugins.patterns.local import Local

from xcompose.api import Axis, Difference, Grid, Intersection, PartError, Point, Union
from xcompose.attention.checks import cover_fault
from xcompose.attention.counts import kept, pairs, tile_pairs

from ..helpers import attention, context, in_unison, mixer, ragged, rows, sizes
from ..helpers import pattern as written
from .owed import last_readers, owes

BLOCK, MEMORY, SIDES = (2, 2), (1, 2), (8, 12)


def local(sides, block, memory, order=None) -> Local:
    return Local(tuple(block), tuple(memory), Grid(tuple(sides), order and tuple(order)))


def decoding(sides=SIDES, block=BLOCK, memory=MEMORY) -> Local:
    return local(sides, block, memory, block)


def on_a_line(block: int, memory: int):
    return lambda i, j: i // block * block - memory <= j < i // block * block + block + memory


def on_a_grid(grid: Grid, block, memory):
    """The block of a query and the margin around it, cell by cell."""

    def near(i: int, j: int) -> bool:
        sides = zip(grid.coordinates(i), grid.coordinates(j), block, memory, strict=True)
        return all(y in range(x // b * b - m, x // b * b + b + m) for x, y, b, m in sides)

    return near


def memory_of(row: int, column: int, block, memory, sides) -> set[tuple[int, int]]:
    """The published sets: (a) the rows above, (b) beside the block on the left, (c) the block up to the query."""
    (hq, wq), (hm, wm) = block, memory
    top, left = row // hq * hq, column // wq * wq
    above = itertools.product(range(top - hm, top), range(left - wm, left + wq + wm))
    beside = itertools.product(range(top, top + hq), range(left - wm, left))
    inside = [(r, c) for r in range(top, top + hq) for c in range(left, left + wq) if (r, c) <= (row, column)]
    return {(r, c) for r, c in (*above, *beside, *inside) if 0 <= r < sides[0] and 0 <= c < sides[1]}


@pytest.mark.parametrize(("block", "memory"), [(1, 0), (4, 4), (5, 3), (3, 7), (2, 0), (64, 70), (7, 1000)])
def test_a_query_reads_its_block_and_what_lies_around_it(block, memory):
    for n in (1, 2, 13, 29):
        owes(Local((block,), (memory,)), n, on_a_line(block, memory))


@pytest.mark.parametrize(
    ("sides", "block", "memory"),
    [((4, 6), (2, 2), (1, 2)), ((6, 6), (3, 2), (0, 1)), ((4, 10), (1, 5), (3, 2)), ((6, 4), (2, 4), (5, 9))],
)
def test_on_a_grid_too(sides, block, memory):
    pattern = decoding(sides, block, memory)

    for n in (1, 11, pattern.grid.size):
        owes(pattern, n, on_a_grid(pattern.grid, block, memory))


@pytest.mark.parametrize(("sides", "block", "order"), [((5, 7), (2, 3), None), ((6, 4), (3, 4), (2, 2))])
def test_in_an_encoder_the_order_is_free_and_blocks_may_be_cut_off(sides, block, order):
    pattern = local(sides, block, (1, 2), order)

    owes(pattern, pattern.grid.size, on_a_grid(pattern.grid, block, (1, 2)), decoder=False)


def test_rows_before_the_tokens_lie_on_no_grid_but_on_the_line():
    at = np.arange(-3, 6)
    q, k = Point(at=at[:, None]), Point(at=at[None])

    grid, line = decoding((4, 6), (2, 2), (2, 2)), Local((4,), (1,))

    assert np.array_equal(grid.allows(q, k)[3:, 3:], grid.allows(Point(at=at[3:, None]), Point(at=at[None, 3:])))
    assert not grid.allows(q, k)[:3].any()
    assert not grid.allows(q, k)[:, :3].any()
    assert line.allows(Point(at=-1), Point(at=0))
    assert (grid.prefix_pairs, line.prefix_pairs) == ("none", "some")


def test_grids_may_have_three_sides():
    pattern = decoding((2, 4, 6), (1, 2, 3), (1, 1, 2))

    owes(pattern, pattern.grid.size, on_a_grid(pattern.grid, pattern.block, pattern.memory))


@pytest.mark.parametrize(("block", "memory"), [((2, 2), (1, 2)), ((2, 3), (2, 1)), ((4, 4), (3, 0)), ((1, 6), (2, 3))])
def test_a_decoder_reads_the_published_sets(block, memory):
    pattern = decoding(SIDES, block, memory)
    grid, near = pattern.grid, on_a_grid(pattern.grid, block, memory)

    for i in range(grid.size):
        found = {grid.coordinates(j) for j in range(i + 1) if near(i, j)}
        assert found == memory_of(*grid.coordinates(i), block, memory, SIDES)


def violations(grid: Grid) -> int:
    """Pairs of the published sets whose slot comes after its query."""
    places = itertools.product(range(SIDES[0]), range(SIDES[1]))
    return sum(
        grid.index(slot) > grid.index(place) for place in places for slot in memory_of(*place, BLOCK, MEMORY, SIDES)
    )


def test_row_by_row_a_decoder_would_read_what_comes_later():
    assert violations(Grid(SIDES)) == 80
    assert violations(Grid(SIDES, BLOCK)) == 0


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 150), block=st.integers(1, 160), memory=st.integers(0, 200), causal=st.booleans())
def test_the_cover_of_a_line_holds_each_pair_once(n, block, memory, causal):
    assert cover_fault(Local((block,), (memory,)), range(n), range(n), causal) is None


@settings(max_examples=25, deadline=None)
@given(
    blocks=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    block=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    memory=st.tuples(st.integers(0, 9), st.integers(0, 20)),
    causal=st.booleans(),
    share=st.floats(0.1, 1),
)
def test_the_cover_of_a_grid_holds_each_pair_once(blocks, block, memory, causal, share):
    pattern = decoding((blocks[0] * block[0], blocks[1] * block[1]), block, memory)
    n = max(1, int(share * pattern.grid.size))

    assert cover_fault(pattern, range(n), range(n), causal) is None


@pytest.mark.parametrize(("block", "memory"), [(5, 5), (4, 6), (3, 0)])
def test_costs_on_a_line_what_its_card_says(block, memory):
    pattern = Local((block,), (memory,))
    before = -(-memory // block)
    edge = sum(min(memory, block * c) for c in range(before))

    for count in range(before, before + 4):
        wanted = count * block * (block + 1) // 2 + block * (edge + (count - before) * memory)
        assert pairs(pattern, count * block, causal=True) == wanted


def test_with_a_memory_of_one_block_it_is_the_block_and_the_one_before():
    for count in range(2, 8):
        wanted = count * 5 * 6 // 2 + (count - 1) * 5**2
        assert pairs(Local((5,), (5,)), count * 5, causal=True) == wanted


@pytest.mark.parametrize(("block", "memory"), [((2, 3), (2, 2)), ((3, 2), (1, 3)), ((16, 16), (16, 32))])
def test_costs_inside_a_grid_what_its_card_says(block, memory):
    (hq, wq), (hm, wm) = block, memory
    above, aside = -(-hm // hq), -(-wm // wq)
    sides = ((above + 1) * hq, (2 * aside + 1) * wq)
    pattern, size = decoding(sides, block, memory), hq * wq
    first = (above * (2 * aside + 1) + aside) * size
    here = [sum(len(memory_of(*pattern.grid.coordinates(i), block, memory, sides)) for i in range(first, first + size))]

    assert here == [size * (size + 1) // 2 + size * (hm * (wq + 2 * wm) + hq * wm)]
    assert pairs(pattern, first + size, True) - pairs(pattern, first, True) == here[0]


def test_counts_all_pairs_of_the_published_image_at_once():
    pattern = decoding((32, 96), (16, 16), (16, 32))
    wanted = sum(
        len(memory_of(*pattern.grid.coordinates(i), (16, 16), (16, 32), (32, 96))) for i in range(0, 3072, 256)
    )

    assert pairs(pattern, 3072, causal=True) == 12 * 256 * 257 // 2 + 256 * (wanted - 12)


def test_nothing_but_later_keys_is_computed_in_vain():
    image, line = decoding((32, 96), (16, 16), (16, 32)), Local((256,), (256,))

    assert tile_pairs(line, 3072, False) == pairs(line, 3072, False)
    for pattern in (line, image):
        assert all(tile.allows is None for tile in pattern.cover(range(3072), range(3072), True))
        assert tile_pairs(pattern, 3072, True) - pairs(pattern, 3072, True) == 12 * 256 * 255 // 2


def test_small_blocks_share_a_tile():
    tiles = decoding((64, 64), (2, 2), (1, 1)).cover(range(4096), range(4096), True)

    assert [tile.queries.shape[1] for tile in tiles] == [64, 64]


def test_a_million_tokens_are_counted_at_once():
    pattern = Local((256,), (256,))

    assert pairs(pattern, 2**20, causal=True) == 2**12 * 256 * 257 // 2 + (2**12 - 1) * 256**2
    assert len(pattern.cover(range(2**20), range(2**20), False)) == 1


@pytest.mark.parametrize(("block", "memory"), [(1, 0), (4, 4), (5, 3), (3, 7)])
def test_on_a_line_a_slot_is_kept_while_it_is_read(block, memory):
    pattern = Local((block,), (memory,))

    assert [pattern.last_reader(at) for at in range(20)] == last_readers(pattern, 20, 60)
    assert max(kept(pattern, n) for n in range(60)) <= memory + block - 1


@pytest.mark.parametrize(("block", "memory"), [((2, 2), (1, 2)), ((2, 3), (2, 1)), ((1, 4), (3, 5)), ((4, 12), (3, 0))])
def test_on_a_grid_a_slot_is_kept_while_it_is_read(block, memory):
    pattern = decoding((8, 12), block, memory)
    (hq, wq), (hm, wm) = block, memory

    assert [pattern.last_reader(at) for at in range(48)] == last_readers(pattern, 48, 192)
    assert pattern.last_reader(np.arange(48)).tolist() == [pattern.last_reader(at) for at in range(48)]
    assert max(kept(pattern, n) for n in range(96)) <= hm * 12 + hq * (wm + wq) - 1


def test_the_state_is_the_published_one():
    line, image = Local((256,), (256,)), decoding((64, 160), (16, 16), (16, 32))

    assert max(kept(line, n) for n in range(1024)) == 256 + 256 - 1
    assert max(kept(image, n) for n in range(0, 10240)) == 16 * 160 + 16 * (32 + 16) - 1


# Inside an attention ------------------------------------------------------------------------------------------------

C, HEADS = 15, 3
CASES = {
    "line": (dict(block=(4,), memory=(6,)), None, 23),
    "grid": (dict(block=BLOCK, memory=MEMORY), Grid((4, 6), BLOCK), 24),
    "wide": (dict(block=(2, 3), memory=(1, 1)), Grid((6, 9), (2, 3)), 41),
}
every = pytest.mark.parametrize("name", CASES)


def made(name: str, causal: str = "strict"):
    given, grid, _ = CASES[name]
    return mixer(attention(heads=HEADS, pattern=written("local", **given)), C, causal, grid=grid).eval()


def by_the_formula(one, x: torch.Tensor, near, causal: bool) -> torch.Tensor:
    """Query by query and head by head."""
    q, k, v = (layer(x).unflatten(-1, (HEADS, C // HEADS)) for layer in (one.q, one.k, one.v))
    found = []
    for i in range(x.shape[1]):
        read = [j for j in range(x.shape[1]) if near(i, j) and (j <= i or not causal)]
        logits = torch.einsum("bhd,bmhd->bhm", q[:, i], k[:, read]) / (C // HEADS) ** 0.5
        found.append(torch.einsum("bhm,bmhd->bhd", logits.softmax(-1), v[:, read]).flatten(1))
    return one.out(torch.stack(found, 1))


@every
@pytest.mark.parametrize("causal", ["strict", "none"])
def test_equals_the_formula_and_its_gradients(name, causal):
    given, grid, n = CASES[name]
    near = on_a_grid(grid or Grid((1,)), given["block"], given["memory"])
    one = made(name, causal)
    grads = []
    for answer in (
        lambda x: one(x, Axis(range(n), total=None if causal == "strict" else n)).x,
        lambda x: by_the_formula(one, x, near, causal == "strict"),
    ):
        x = rows(2, n, C).requires_grad_()
        y = answer(x)
        grads.append((y, *torch.autograd.grad((y * rows(2, n, C, seed=1)).sum(), (x, *one.parameters()))))

    for found, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)


@every
def test_one_row_at_a_time_gives_the_same_from_the_published_state(name):
    given, grid, n = CASES[name]
    one, x = made(name).requires_grad_(False), rows(2, n, C)
    (block, memory), width = (given["block"], given["memory"]), grid.sides[1] if grid else 0
    most = memory[0] + block[0] if len(block) == 1 else memory[0] * width + block[0] * (memory[1] + block[1])

    state, found = one.start(2, x), []
    for i in range(n):
        mixed = one(x[:, i : i + 1], Axis(range(i, i + 1)), state)
        state = mixed.state
        found.append(mixed.x)
        assert sizes(state) == one.state_shape(i + 1)
        assert one.state_shape(i + 1)["tokens.0.at"][0] < most

    torch.testing.assert_close(torch.cat(found, 1), one(x, Axis(range(n))).x, rtol=0, atol=1e-11)
    torch.testing.assert_close(in_unison(one, x, (3, 9, 10))[0], torch.cat(found, 1), rtol=0, atol=1e-11)


@every
def test_sequences_at_different_times(name):
    one, n = made(name).requires_grad_(False), CASES[name][2]
    x = rows(3, n, C)
    whole = one(x, Axis(range(n))).x

    found, _ = ragged(one, x, [(5, 0, 9), (1, 3, 4), (8, 11, 2), (0, 1, 3)])

    for i, taken in enumerate((14, 15, 18)):
        torch.testing.assert_close(found[i, :taken], whole[i, :taken], rtol=0, atol=1e-11)


@every
def test_padding_changes_nothing(name):
    n = CASES[name][2]
    valid = torch.arange(n) < torch.tensor([n, 5, 14])[:, None]
    x = torch.where(valid[..., None], rows(3, n, C), 0.0)
    for causal in ("strict", "none"):
        one = made(name, causal).requires_grad_(False)
        found = one(x, Axis(range(n), valid, total=None if causal == "strict" else n)).x
        for i, length in enumerate((n, 5, 14)):
            alone = one(x[i : i + 1, :length], Axis(range(length), total=None if causal == "strict" else length)).x
            torch.testing.assert_close(found[i, :length], alone[0], rtol=0, atol=1e-11)


# What is built from a spec --------------------------------------------------------------------------------------------


def built(causal="strict", grid=None, **given):
    return context(8, causal, grid=grid).build(written("local", **given))


def test_a_line_needs_no_grid():
    assert built(block=(256,), memory=(128,)) == Local((256,), (128,))
    assert built(block=(256,), memory=(128,), grid=Grid((32, 96), (16, 16))) == Local((256,), (128,))


def test_a_decoder_takes_the_grid_in_the_order_of_the_blocks():
    grid = Grid((32, 96), (16, 16))

    assert built(block=(16, 16), memory=(16, 32), grid=grid) == Local((16, 16), (16, 32), grid)
    assert built(causal="none", block=(8, 16), memory=(1, 1), grid=grid) == Local((8, 16), (1, 1), grid)


@pytest.mark.parametrize("block", [(1, 16), (4, 96), (1, 5)])
def test_blocks_that_follow_each_other_row_by_row_need_no_other_order(block):
    assert built(block=block, memory=(1, 1), grid=Grid((32, 96))).block == block


def refused(message: str, *, label="", fixes=(), **given) -> None:
    with pytest.raises(PartError, match=re.escape(message)) as caught:
        built(**given)
    assert (caught.value.message, caught.value.label, caught.value.fixes) == (message, label, fixes)


def test_a_decoder_that_fills_the_grid_in_another_order_is_refused():
    message = "in a decoder, local in blocks of 16 x 16 needs a sequence that fills the grid in these blocks"
    why = "the blocks beside a query's own hold positions that come after it"
    given = dict(block=(16, 16), memory=(16, 32), fixes=("model.grid_block: [16, 16]", "use it in an encoder"))

    refused(message, label=f"this one fills it row by row: {why}", grid=Grid((32, 96)), **given)
    refused(message, label=f"this one fills it in blocks of 8 x 8: {why}", grid=Grid((32, 96), (8, 8)), **given)


def test_blocks_with_sides_need_a_grid_with_as_many():
    fixes = ("model.grid: [32, 96]", "local(256, memory=256)")
    label = "positions lie beside each other on a grid only"
    refused("local in blocks of 2 sides needs the model's grid", label=label, fixes=fixes, block=(2, 2), memory=(1, 1))
    fixes = ("one number for each side of the grid", "local(256, memory=256)")
    message = "local has blocks of 2 sides, the grid has 3"
    refused(message, fixes=fixes, block=(2, 2), memory=(1, 1), grid=Grid((4, 4, 3)))


def test_each_side_needs_a_memory():
    message = "local needs one memory for each side of a block, found 2 and 1"
    fixes = ("local(256, memory=256)", "local([16, 16], memory=[16, 32])")
    refused(message, fixes=fixes, block=(2, 2), memory=(1,), grid=Grid((4, 4)))


@pytest.mark.parametrize("other", [written("strided", stride=3), written("global", first=5), Local((3,), (1,))])
@pytest.mark.parametrize(
    "pattern", [Local((4,), (6,)), decoding((8, 6), (2, 3), (1, 2)), decoding((6, 8), (1, 2), (2, 1))]
)
def test_meets_other_patterns_pair_by_pair(pattern, other):
    for joined in (Union((pattern, other)), Intersection((pattern, other)), Difference((pattern, other))):
        for causal in (True, False):
            assert cover_fault(joined, range(48), range(48), causal) is None
