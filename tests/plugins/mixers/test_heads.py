"""Groups of heads as mixers: their sum is one attention over all heads."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.helpers import attention, context, mixer, part, pattern, rows
from xcompose.attention.reads import Axis
from xcompose.diagnostics import PartError

N, C = 7, 12
WINDOW = pattern("window", size=2)


def heads(*of, **given):
    return part("mixer", "heads", of=of, **given)


def test_groups_write_what_one_attention_with_groups_of_patterns_writes():
    """Concatenation and output projection are the sum of the groups' projections."""
    grouped = pattern("heads", of=((2, WINDOW), (1, pattern("dense"))))
    one = mixer(attention(heads=6, kv_heads=3, pattern=grouped, position="rotary"), C)
    near = attention(heads=6, kv_heads=3, pattern=WINDOW, position="rotary")
    far = attention(heads=6, kv_heads=3, position="rotary")
    many = mixer(heads((2, near), (1, far), heads=6), C)
    first, second = many.members
    with torch.no_grad():
        for layer, width in (("q", 8), ("k", 4), ("v", 4)):
            for name in ("weight", "bias"):
                whole = getattr(getattr(one, layer), name)
                getattr(getattr(first, layer), name).copy_(whole[:width])
                getattr(getattr(second, layer), name).copy_(whole[width:])
        first.out.weight.copy_(one.out.weight[:, :8])
        second.out.weight.copy_(one.out.weight[:, 8:])
        first.out.bias.copy_(one.out.bias)
    x = rows(2, N, C)

    assert (first.heads, first.kv_heads, second.heads, second.kv_heads) == (4, 2, 2, 1)
    assert second.out.bias is None
    torch.testing.assert_close(many(x, Axis(range(N))).x, one(x, Axis(range(N))).x, rtol=0, atol=1e-12)
    assert sum(p.numel() for p in many.parameters()) == sum(p.numel() for p in one.parameters())


def test_shares_are_of_the_heads_of_the_layer():
    around = context(128)

    made = around.build(heads((3, attention(heads=8)), (1, attention(heads=8, score="linear")), heads=8))

    assert [member.heads for member in made.members] == [6, 2]
    assert [member.head_dim for member in made.members] == [16, 16]
    assert [member.heads for member in around.build(heads((1, attention()), (1, attention()))).members] == [1, 1]


def test_groups_within_groups():
    inner = heads((1, attention(heads=8)), (1, attention(heads=8, score="linear")), heads=8)
    made = context(128).build(heads((1, inner), (1, attention(heads=8)), heads=8))

    assert [member.heads for member in made.members[0].members] == [2, 2]
    biases = [made.members[0].members[0].out.bias, made.members[0].members[1].out.bias, made.members[1].out.bias]
    assert [bias is None for bias in biases] == [False, True, True]


def test_visible_tells_the_groups_apart():
    made = mixer(heads((2, attention(heads=6, pattern=WINDOW)), (1, attention(heads=6)), heads=6), C)

    assert [(one.label, one.heads, int(one.matrix.sum())) for one in made.visible(N)] == [
        ("0: heads 0-3", 4, 18), ("1: heads 0-1", 2, 28),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message", "label", "fixes"),
    [
        (
            heads((3, attention(heads=6)), (1, attention(heads=6)), heads=6),
            "6 heads do not divide into shares of 3:1",
            "the number of heads must be a multiple of 4", ("heads=4", "heads=8"),
        ),
        (
            heads((4, attention(heads=8)), (2, attention(heads=8)), heads=8),
            "8 heads do not divide into shares of 4:2",
            "the number of heads must be a multiple of 3", ("heads=6", "heads=9"),
        ),
        (heads(), "mixer 'heads' divides heads among at least one mixer, found none", "", ()),
        (heads((0, attention(heads=6)), heads=6), "a share of heads is at least 1", "", ()),
    ],
)  # fmt: skip
def test_shares_that_do_not_fit(options, message, label, fixes):
    with pytest.raises(PartError) as caught:
        context(C).build(options)

    error = caught.value
    assert (error.message, error.label, error.fixes, error.option) == (message, label, fixes, "of")


def test_key_value_heads_that_do_not_divide_among_the_groups():
    options = heads((2, attention(heads=6, kv_heads=2)), (1, attention(heads=6, kv_heads=2)), heads=6)

    with pytest.raises(PartError) as caught:
        context(C).build(options)

    assert caught.value.message == "a group of 4 of 6 heads cannot have a whole share of 2 key/value heads"
    assert caught.value.option == "kv_heads"


def test_width_without_heads():
    with pytest.raises(PartError) as caught:
        context(C).build(heads((1, attention())))

    assert caught.value.message == "'dim' 12 does not divide into heads of 64"
