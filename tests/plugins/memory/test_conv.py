"""Convolved memory against a convolution written as loops, and who may read its slots."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.plugins.helpers import attention, context, mixer, part, pattern, rows
from tests.plugins.memory.naive import (
    agree,
    answered,
    decodes,
    is_strict,
    padding_counts_for_nothing,
    source_of,
    summarises_a_source,
)
from xcompose.attention.reads import BEFORE_TIME, Axis
from xcompose.diagnostics import PartError

B, N, C, H, G, D, F = 2, 8, 12, 6, 3, 2, 3
KINDS = {"keys": {}, "rows": {"of": "rows"}, "per head": {"per_head": True}, "shared": {"shared": True}}


def conv(**given):
    return part("memory", "conv", factor=F, **given)


def over(memory, **given):
    return attention(heads=H, kv_heads=G, pattern="none", memory=memory, **given)


def past():
    """Blocks that end before the query."""
    return part("pattern", "difference", of=(pattern("dense"), pattern("window", size=0)))


def summed(layer: torch.nn.Linear, t: Tensor, count: int, per_head: bool = False) -> list[Tensor]:
    """(b ...) of each slot: the sum over taps of a block, of which what lies behind the end counts as zero."""
    found = []
    for c in range(count):
        total = layer.bias.expand(len(t), -1)
        for tap in range(F):
            if c * F + tap >= t.shape[1]:
                continue
            row = t[:, c * F + tap].flatten(1)
            if per_head:
                width = row.shape[1] // G
                taps = layer.weight[:, tap * width : (tap + 1) * width]
                parts = [row[:, g * width :][:, :width] @ taps[g * width :][:width].T for g in range(G)]
                total = total + torch.cat(parts, 1)
            else:
                width = row.shape[1]
                total = total + row @ layer.weight[:, tap * width : (tap + 1) * width].T
        found.append(total)
    return found


def slots_of(made, x: Tensor, count: int) -> tuple[list[Tensor], list[Tensor]]:
    """Keys and values of each block (b g d)."""
    memory = made.inner.memories[0]
    if memory.level == "rows":
        blocks = summed(memory.x, x, count)
        return tuple([layer(t).unflatten(1, (G, -1)) for t in blocks] for layer in (made.k, made.v))  # type: ignore[return-value]
    k, v = (layer(x).unflatten(2, (G, -1)) for layer in (made.k, made.v))
    pairs = ((memory.k, k), (memory.v, v))
    return tuple(  # type: ignore[return-value]
        [one.unflatten(1, (G, -1)) for one in summed(layer, t, count, memory.groups > 1)] for layer, t in pairs
    )


def naive(made, x: Tensor, causal: bool, after: int = 0) -> Tensor:
    """`after`: how many positions behind the end of a block its slot may first be read."""
    keys, values = slots_of(made, x, N // F if causal else -(-N // F))
    ends = [c * F + F - 1 + after for c in range(len(keys))]
    for null in made.inner.memories[1:]:
        keys, values, ends = [*keys, null.k.expand(B, G, D)], [*values, null.v.expand(B, G, D)], [*ends, -1]
    return answered(made, x, keys, values, ends, causal)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("null", ["learned", "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_formula_and_gradients(kind, causal, null):
    made = mixer(over(conv(null=null, **KINDS[kind])), C, "strict" if causal else "none")
    x = rows(B, N, C).requires_grad_()

    found = made(x, Axis(range(N), total=None if causal else N)).x

    agree(found, naive(made, x, causal), [x, *made.parameters()])


def test_values_wider_than_keys():
    made, x = mixer(over(conv(), value_dim=5), C, "none"), rows(B, N, C)
    keys, values = slots_of(made, x, 3)
    q = made.q(x).reshape(B, N, H, D)
    expected = torch.zeros(B, N, H, 5, dtype=torch.float64)
    for h in range(H):
        weights = torch.stack([(q[:, :, h] * key[:, None, h // 2]).sum(-1) * D**-0.5 for key in keys], -1).softmax(-1)
        expected[:, :, h] = sum(weights[..., c, None] * values[c][:, None, h // 2] for c in range(3))

    torch.testing.assert_close(made(x, Axis(range(N), total=N)).x, made.out(expected.flatten(2)), rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_that_end_before_the_query(kind):
    """The rule of another implementation: the block that ends with the query is not read yet."""
    memory = conv(null="learned", pattern=past(), **KINDS[kind])
    made, x = mixer(over(memory), C), rows(B, N, C)

    torch.testing.assert_close(made(x, Axis(range(N))).x, naive(made, x, True, after=1), rtol=0, atol=1e-11)


def test_the_first_token_beside_blocks_of_rows_that_have_ended():
    """As Tensor2Tensor has it: keys are those of the first row and of convolved rows, read behind their ends."""
    options = attention(
        heads=H,
        kv_heads=G,
        pattern=pattern("global", first=1),
        memory=conv(of="rows", pattern=past()),
        silence="refuse",
    )
    made, x = mixer(options, C), rows(B, N, C).requires_grad_()
    keys, values = slots_of(made, x, N // F)
    first = [layer(x[:, 0]).unflatten(1, (G, D)) for layer in (made.k, made.v)]
    ends = [0, *(c * F + F for c in range(len(keys)))]

    found = made(x, Axis(range(N))).x

    agree(found, answered(made, x, [first[0], *keys], [first[1], *values], ends, True), [x, *made.parameters()])
    decodes(made, 11)


@pytest.mark.parametrize("kind", KINDS)
def test_step_by_step_it_says_the_same(kind):
    made = mixer(over(conv(null="learned", **KINDS[kind]), position="rotary"), C)

    decodes(made, 11)
    is_strict(made, 7)
    padding_counts_for_nothing(made, 7, causal=True)


def test_the_state_is_that_of_the_catalogue():
    """2 (t / f) keys and values of all heads, and the tail of fewer than f tokens; rows are kept once."""
    keys, rows_kept = (mixer(over(conv(**KINDS[kind])), C).state_shape(17) for kind in ("keys", "rows"))

    assert keys == {
        "memory.0.slots.k": (5, G, D), "memory.0.slots.v": (5, G, D), "memory.0.slots.at": (5,),
        "memory.0.tail.k": (2, G, D), "memory.0.tail.v": (2, G, D), "memory.0.tail.at": (2,),
    }  # fmt: skip
    assert rows_kept == {
        "memory.0.slots.x": (5, C), "memory.0.slots.at": (5,), "memory.0.tail.x": (2, C), "memory.0.tail.at": (2,),
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_padding_of_an_encoder_counts_for_nothing(kind):
    padding_counts_for_nothing(mixer(over(conv(null="learned", **KINDS[kind]), position="rotary"), C, "none"), N)
    padding_counts_for_nothing(mixer(over(conv(**KINDS[kind]), position="rotary"), C, "none"), N)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cross_layer_reads_a_source_that_is_summed_up(kind):
    made = mixer(over(conv(**KINDS[kind])), C, "none", role="cross")
    x, source = rows(B, N, C), source_of(11, C)
    keys, values = slots_of(made, source.x, 4)

    torch.testing.assert_close(
        made(x, Axis(range(N)), None, source).x, answered(made, x, keys, values, [0] * 4, False), rtol=0, atol=1e-11
    )
    state = summarises_a_source(made, N, 11)
    assert state == {
        "source.0.k": (0, G, D), "source.0.v": (0, G, D), "source.1.k": (4, G, D), "source.1.v": (4, G, D),
    }  # fmt: skip


def test_before_the_first_block_ends_nothing_is_read_without_a_null_slot():
    made = mixer(attention(heads=H, pattern="none", memory=conv()), C)

    found = made(rows(B, N, C), Axis(range(N))).x

    torch.testing.assert_close(found[:, : F - 1], made.out.bias.expand(B, F - 1, C))
    short = made(rows(B, F - 1, C), Axis(range(F - 1))).x
    torch.testing.assert_close(short, made.out.bias.expand(B, F - 1, C))


def test_a_zero_slot_takes_its_share_and_gives_nothing():
    made = mixer(attention(heads=H, pattern="none", memory=conv(null="zero")), C)
    plain = mixer(attention(heads=H, pattern="none", memory=conv()), C)
    plain.load_state_dict(made.state_dict())
    with torch.no_grad():
        for one in (made, plain):
            one.q.weight.zero_()
            one.q.bias.zero_()
            one.out.bias.zero_()

    with_null, without = (one(rows(B, N, C), Axis(range(N))).x for one in (made, plain))

    slots = torch.tensor([(i + 1) // F for i in range(N)], dtype=torch.float64)[:, None]
    torch.testing.assert_close(with_null, without * slots / (slots + 1), rtol=0, atol=1e-12)


def test_a_pattern_of_its_own_counts_in_tokens_by_the_last_of_a_block():
    options = attention(heads=H, pattern="none", memory=conv(pattern=pattern("window", size=4)))
    (found,) = mixer(options, C).visible(N)

    def read(i, j):
        return j // F * F + F - 1 <= i <= j // F * F + F - 1 + 4

    expected = [[read(i, j) for j in range(N)] for i in range(N)]
    assert found.matrix.tolist() == expected


def inside(causal: str, **facts):
    return context(C, causal, heads=H, kv_heads=G, head_dim=D, **facts)


def test_spans():
    decoder, encoder = inside("strict").build(conv()), inside("none").build(conv())

    assert [list(one) for one in decoder.spans(8)] == [[0, 3], [2, 5], [2, 5]]
    assert [list(one) for one in encoder.spans(8)] == [[0, 3, 6], [2, 5, 7], [2, 5, 8]]
    assert [len(one) for one in decoder.spans(2)] == [0, 0, 0]


def test_a_null_slot_belongs_to_no_position():
    _, null = inside("strict").build(conv(null="learned"))

    assert [list(one) for one in null.spans(8)] == [[BEFORE_TIME], [BEFORE_TIME], [0]]
    assert null.k.eq(0).all()
    assert null.v.eq(0).all()


WIDTH = G * D


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "keys",
            {"k.weight": (WIDTH, F * WIDTH), "k.bias": (WIDTH,), "v.weight": (WIDTH, F * WIDTH), "v.bias": (WIDTH,)},
        ),
        ("rows", {"x.weight": (C, F * C), "x.bias": (C,)}),
        ("per head", {"k.weight": (WIDTH, F * D), "k.bias": (WIDTH,), "v.weight": (WIDTH, F * D), "v.bias": (WIDTH,)}),
        ("shared", {"k.weight": (WIDTH, F * WIDTH), "k.bias": (WIDTH,)}),
    ],
)  # fmt: skip
def test_parameters(kind, expected):
    memory, null = inside("strict").build(conv(null="learned", **KINDS[kind]))

    assert {name: tuple(p.shape) for name, p in memory.named_parameters()} == expected
    assert {name: tuple(p.shape) for name, p in null.named_parameters()} == {"k": (1, G, D), "v": (1, G, D)}


def refusal(memory, **facts) -> dict:
    with pytest.raises(PartError) as caught:
        inside("none", **facts).build(memory)
    error = caught.value
    return {"message": error.message, "fixes": error.fixes, "option": error.option}


@pytest.mark.parametrize("name", ["per_head", "shared"])
def test_rows_have_no_heads_and_no_values(name):
    assert refusal(conv(of="rows", **{name: True})) == {
        "message": f"'{name}' needs keys and values, and the memory convolves rows", "fixes": ("of=keys",),
        "option": name,
    }  # fmt: skip


def test_keys_and_values_of_two_widths_have_two_convolutions():
    assert refusal(conv(shared=True), value_dim=5) == {
        "message": "keys of 2 and values of 5 cannot have one convolution", "fixes": ("shared=false",),
        "option": "shared",
    }  # fmt: skip


def test_a_pattern_of_positions_means_nothing_between_two_sequences():
    with pytest.raises(PartError) as caught:
        context(C, "none", role="cross").build(over(conv(pattern=pattern("window", size=4))))

    assert caught.value.message == "cross-attention cannot use pattern 'window'"
    assert caught.value.label == "it compares positions of queries and keys, which mean nothing between two sequences"
    assert caught.value.fixes == ("pattern=dense",)
    assert caught.value.option == "pattern"
