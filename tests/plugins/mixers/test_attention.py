"""Attention against its formula, written as loops; and what it refuses."""

from __future__ import annotations

from math import exp, sqrt

import pytest
import torch
from torch import Tensor, nn

from tests.plugins.helpers import attention, context, in_unison, mixer, part, pattern, rows, sizes
from xcompose.attention.reads import Axis
from xcompose.compose.parts import Source
from xcompose.diagnostics import PartError

B, N, C, H, G, D = 2, 7, 12, 6, 3, 2


def heads_of(layer: nn.Linear, x: Tensor, heads: int) -> Tensor:
    """(b n h d), by plain slices."""
    y = x @ layer.weight.T + (0 if layer.bias is None else layer.bias)
    width = y.shape[-1] // heads
    return torch.stack([y[..., i * width : (i + 1) * width] for i in range(heads)], 2)


def naive(made, x: Tensor, allowed, bias=lambda h, i, j: 0.0, source: Tensor | None = None, scale=None) -> Tensor:
    """Softmax attention, one query after the other."""
    q, s = heads_of(made.q, x, made.heads), x if source is None else source
    k, v = heads_of(made.k, s, made.kv_heads), heads_of(made.v, s, made.kv_heads)
    scale = 1 / sqrt(q.shape[-1]) if scale is None else scale
    out = []
    for b in range(x.shape[0]):
        for i in range(x.shape[1]):
            answers = []
            for h in range(made.heads):
                g = h // (made.heads // made.kv_heads)
                keys = [j for j in range(s.shape[1]) if allowed(h, i, j)]
                if not keys:
                    answers.append(torch.zeros_like(v[b, 0, g]))
                    continue
                logits = torch.stack([q[b, i, h] @ k[b, j, g] * scale + bias(h, i, j) for j in keys])
                weights = logits.exp() / logits.exp().sum()
                answers.append(sum(w * v[b, j, g] for w, j in zip(weights, keys, strict=True)))
            out.append(torch.cat(answers))
    y = torch.stack(out).reshape(x.shape[0], x.shape[1], -1)
    return y if made.out is None else made.out(y)


def agree(made, x: Tensor, axis: Axis, expected) -> None:
    """The same outputs and the same gradients, of the rows and of every parameter."""
    x = x.clone().requires_grad_()
    wanted, found = expected(x), made(x, axis).x
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)
    upstream = rows(*found.shape, seed=9)
    inputs = [x, *made.parameters()]
    g_found = torch.autograd.grad(found, inputs, upstream)
    g_wanted = torch.autograd.grad(wanted, inputs, upstream)
    for one, other in zip(g_found, g_wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kv_heads", [6, 3, 1])
def test_dense_decoder(kv_heads):
    made = mixer(attention(heads=H, kv_heads=kv_heads), C)

    agree(made, rows(B, N, C), Axis(range(N)), lambda x: naive(made, x, lambda h, i, j: j <= i))


def test_dense_encoder():
    made = mixer(attention(heads=H, kv_heads=G, bias=False), C, "none")

    agree(made, rows(B, N, C), Axis(range(N), total=N), lambda x: naive(made, x, lambda h, i, j: True))
    assert made.q.bias is None
    assert made.out.bias is None


def test_window_in_an_encoder():
    made = mixer(attention(heads=H, pattern=pattern("window", size=2)), C, "none")

    agree(made, rows(B, N, C), Axis(range(N), total=N), lambda x: naive(made, x, lambda h, i, j: abs(i - j) <= 2))


def test_groups_of_heads_that_cut_across_key_value_heads():
    groups = pattern("heads", of=((1, pattern("window", size=1)), (5, pattern("strided", stride=3))))
    made = mixer(attention(heads=H, kv_heads=G, pattern=groups), C)

    def allowed(h, i, j):
        return j <= i and (i - j <= 1 if h == 0 else (i - j) % 3 == 0)

    agree(made, rows(B, N, C), Axis(range(N)), lambda x: naive(made, x, allowed))


def test_bias_of_distance_in_groups_of_heads():
    groups = pattern("heads", of=((1, pattern("window", size=2)), (1, pattern("dense"))))
    made = mixer(attention(heads=4, head_dim=3, pattern=groups, position="alibi"), C)

    def bias(h, i, j):
        return -(2.0 ** -(2 * (h + 1))) * abs(i - j)

    agree(
        made, rows(B, N, C), Axis(range(N)),
        lambda x: naive(made, x, lambda h, i, j: j <= i and (h >= 2 or i - j <= 2), bias),
    )  # fmt: skip


def test_a_query_without_keys_gives_only_the_bias_of_the_output():
    ring = pattern("difference", of=(pattern("window", size=3), pattern("window", size=1)))
    made = mixer(attention(heads=H, pattern=ring), C)

    agree(made, rows(B, N, C), Axis(range(N)), lambda x: naive(made, x, lambda h, i, j: 2 <= i - j <= 3))
    torch.testing.assert_close(made(rows(B, N, C), Axis(range(N))).x[:, 0], made.out.bias.expand(B, C))


@pytest.mark.parametrize(("scale", "factor"), [("head", D**-0.5), ("dim", C**-0.5), ("none", 1.0)])
def test_scale(scale, factor):
    made = mixer(attention(heads=H, scale=scale), C)

    agree(made, rows(B, N, C), Axis(range(N)), lambda x: naive(made, x, lambda h, i, j: j <= i, scale=factor))


def test_without_output_projection():
    made = mixer(attention(heads=H, out=False), C)

    assert made.out is None
    agree(made, rows(B, N, C), Axis(range(N)), lambda x: naive(made, x, lambda h, i, j: j <= i))


@pytest.mark.parametrize("slots", [{}, {"pattern": "window2"}, {"score": "linear"}, {"memory": "conv"}])
def test_values_may_be_wider_than_keys(slots):
    given = {
        "pattern": pattern("window", size=2)
        if slots.get("pattern")
        else pattern("none")
        if "memory" in slots
        else None,
        "memory": part("memory", "conv", factor=3, null="learned") if "memory" in slots else None,
        "score": slots.get("score", "softmax"),
    }
    made = mixer(attention(heads=H, kv_heads=G, head_dim=2, value_dim=5, **given), C)
    x = rows(B, N, C)

    assert (made.q.weight.shape, made.k.weight.shape) == ((H * 2, C), (G * 2, C))
    assert (made.v.weight.shape, made.out.weight.shape) == ((G * 5, C), (C, H * 5))
    found, state = in_unison(made, x, [3, 1, 3])
    torch.testing.assert_close(found, made(x, Axis(range(N))).x, rtol=0, atol=1e-12)
    assert sizes(state) == made.state_shape(N)


def test_wider_values_by_the_formula():
    made = mixer(attention(heads=H, kv_heads=G, head_dim=2, value_dim=5), C)

    agree(made, rows(B, N, C), Axis(range(N)), lambda x: naive(made, x, lambda h, i, j: j <= i))


def test_each_head_may_add_its_query():
    made = mixer(attention(heads=H, out=False, add_query=True), C, "none")

    def expected(x):
        return naive(made, x, lambda h, i, j: True) + made.q(x)

    agree(made, rows(B, N, C), Axis(range(N), total=N), expected)


def test_a_query_cannot_be_added_to_values_of_another_width():
    assert refusal(attention(heads=H, head_dim=2, value_dim=5, add_query=True)) == refused(
        "a query of 2 cannot be added to values of 5", fixes=("add_query=false",), option="value_dim"
    )


def test_shared_queries_are_keys_of_length_one():
    made = mixer(attention(heads=2, shared_qk=True), C, "none")
    x = rows(B, N, C)
    q, v = heads_of(made.q, x, 2), heads_of(made.v, x, 2)
    expected = torch.zeros(B, N, C, dtype=torch.float64)
    for b in range(B):
        for i in range(N):
            for h in range(2):
                keys = [q[b, j, h] / q[b, j, h].norm() for j in range(N)]
                weights = torch.stack([q[b, i, h] @ k / sqrt(6) for k in keys]).softmax(0)
                expected[b, i, h * 6 : h * 6 + 6] = sum(weights[j] * v[b, j, h] for j in range(N))

    assert made.k is None
    torch.testing.assert_close(made(x, Axis(range(N), total=N)).x, made.out(expected), rtol=0, atol=1e-12)


def test_padding_of_an_encoder_is_not_read():
    made = mixer(attention(heads=H, position="rotary"), C, "none")
    x = rows(B, N, C)
    valid = torch.arange(N) < torch.tensor([N, 4])[:, None]

    padded = made(torch.where(valid[..., None], x, 0.0), Axis(range(N), valid, total=N)).x
    alone = made(x[1:, :4], Axis(range(4), total=4)).x

    torch.testing.assert_close(padded[:1], made(x[:1], Axis(range(N), total=N)).x, rtol=0, atol=1e-12)
    torch.testing.assert_close(padded[1:, :4], alone, rtol=0, atol=1e-12)


def test_padding_does_not_move_the_end_that_a_pattern_counts_from():
    ends = pattern("union", of=(pattern("window", size=1), pattern("global", first=1, last=2)))
    groups = pattern("heads", of=((1, ends), (1, pattern("dense"))))
    made, x = mixer(attention(heads=H, kv_heads=G, position="rotary", pattern=groups), C, "none"), rows(B, N, C)
    for length in range(1, N + 1):
        valid = torch.arange(N) < torch.tensor([N, length])[:, None]
        padded = made(torch.where(valid[..., None], x, 0.0), Axis(range(N), valid, total=N)).x

        alone = made(x[1:, :length], Axis(range(length), total=length)).x
        torch.testing.assert_close(padded[1:, :length], alone, rtol=0, atol=1e-12)
        torch.testing.assert_close(padded[:1], made(x[:1], Axis(range(N), total=N)).x, rtol=0, atol=1e-12)


def test_a_row_of_padding_only_gives_the_bias_of_the_output():
    made = mixer(attention(heads=H), C, "none")
    valid = torch.tensor([[True] * N, [False] * N])

    found = made(torch.zeros(2, N, C, dtype=torch.float64), Axis(range(N), valid, total=N)).x

    torch.testing.assert_close(found[1], made.out.bias.expand(N, C))


@pytest.mark.parametrize("score", ["softmax", "linear"])
def test_dropout_of_weights_only_while_training(score):
    options = attention(heads=H, dropout=0.5 if score == "softmax" else 0.0, score=score)
    made = mixer(options, C)
    x = rows(B, N, C)

    made.eval()
    assert torch.equal(made(x, Axis(range(N))).x, made(x, Axis(range(N))).x)
    made.train()
    assert torch.equal(made(x, Axis(range(N))).x, made(x, Axis(range(N))).x) == (score == "linear")


class TestCross:
    """The other sequence has a length of its own, and no positions that compare."""

    def source(self, length: int = 5, **facts) -> Source:
        return Source(rows(B, length, C, seed=1), Axis(range(length), total=length, clock="source", **facts))

    def test_formula(self):
        made = mixer(attention(heads=H, kv_heads=G, position="rotary"), C, "none", role="cross")
        source = self.source()

        found = made(rows(B, N, C), Axis(range(N)), None, source).x

        expected = naive(made, rows(B, N, C), lambda h, i, j: True, source=source.x)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)

    def test_padding_of_the_source_is_not_read(self):
        made = mixer(attention(heads=H), C, "none", role="cross")
        valid = torch.arange(5) < torch.tensor([5, 2])[:, None]
        whole = self.source(valid=valid)
        part_of_it = Source(whole.x[1:, :2], Axis(range(2), total=2, clock="source"))

        found = made(rows(B, N, C), Axis(range(N)), None, whole).x

        torch.testing.assert_close(found[1:], made(rows(B, N, C)[1:], Axis(range(N)), None, part_of_it).x)

    @pytest.mark.parametrize("score", ["softmax", "linear"])
    def test_the_state_holds_the_source_after_the_first_call(self, score):
        made = mixer(attention(heads=H, kv_heads=G, score=score), C, "none", role="cross")
        x, source = rows(B, N, C), self.source()

        whole = made(x, Axis(range(N)), None, source).x
        first = made(x[:, :3], Axis(range(3)), made.start(B, x), source)
        second = made(x[:, 3:], Axis(range(3, N)), first.state)

        torch.testing.assert_close(torch.cat([first.x, second.x], 1), whole, rtol=0, atol=1e-12)
        assert made.state_shape(N) == {}
        assert made.visible(N) == ()

    def test_linear_score(self):
        made = mixer(attention(heads=H, kv_heads=G, score="linear"), C, "none", role="cross")
        x, source = rows(B, N, C), self.source()
        q, k, v = heads_of(made.q, x, H), heads_of(made.k, source.x, G), heads_of(made.v, source.x, G)

        def phi(t):
            return t + 1 if t > 0 else exp(t)

        expected = torch.zeros(B, N, C, dtype=torch.float64)
        for b in range(B):
            for i in range(N):
                for h in range(H):
                    weights = [
                        sum(phi(q[b, i, h, r].item()) * phi(k[b, j, h // 2, r].item()) for r in range(D))
                        for j in range(5)
                    ]
                    expected[b, i, h * D : h * D + D] = sum(
                        w / sum(weights) * v[b, j, h // 2] for j, w in enumerate(weights)
                    )
        found = made(x, Axis(range(N)), None, source).x
        torch.testing.assert_close(found, made.out(expected), rtol=0, atol=1e-12)

    def test_a_memory_sums_up_the_source(self):
        options = attention(heads=H, pattern="none", memory=part("memory", "linformer", rank=3))
        made = mixer(options, C, "none", role="cross", length=8)
        x, source = rows(B, N, C), self.source()

        whole = made(x, Axis(range(N)), None, source).x
        first = made(x[:, :3], Axis(range(3)), made.start(B, x), source)
        second = made(x[:, 3:], Axis(range(3, N)), first.state)

        torch.testing.assert_close(torch.cat([first.x, second.x], 1), whole, rtol=0, atol=1e-12)
        assert first.state["source"][0]["k"].shape == (B, 0, H, D)
        assert first.state["source"][1]["k"].shape == (B, 3, H, D)


def test_a_learned_pattern_keeps_all_rows_and_decodes_what_it_would_have_said():
    lsh = pattern("lsh", buckets=4, chunk=4)
    made = mixer(attention(heads=2, pattern=lsh, shared_qk=True), C, "value")
    x = rows(B, N, C)

    found, state = in_unison(made, x, [4, 5])

    assert "inner.patterns.0.rotations" in made.state_dict()
    assert made.state_shape(N) == {"x": (N, C), "at": (N,)}
    assert {name: tuple(t.shape[1:]) for name, t in state.items()} == made.state_shape(N)
    torch.testing.assert_close(found[:, 5:], made(x, Axis(range(N))).x[:, 5:])


def test_visible_joins_tokens_and_the_positions_that_slots_stand_for():
    options = attention(
        heads=H, pattern=pattern("window", size=0), memory=part("memory", "conv", factor=3, null="zero")
    )
    (found,) = mixer(options, C).visible(7)

    expected = [[j == i or j // 3 * 3 + 2 <= i for j in range(7)] for i in range(7)]
    assert found.matrix.tolist() == expected
    assert (found.label, found.heads, found.exact) == ("heads 0-5", 6, True)


def refusal(options, causal: str = "strict", dim: int = C, **facts) -> dict:
    with pytest.raises(PartError) as caught:
        context(dim, causal, **facts).build(options)
    error = caught.value
    return {
        "message": error.message, "label": error.label, "fixes": error.fixes, "option": error.option,
        "code": error.code,
    }  # fmt: skip


def refused(message: str, label: str = "", fixes: tuple[str, ...] = (), option: str = "") -> dict:
    return {"message": message, "label": label, "fixes": fixes, "option": option, "code": "XC031"}


class TestRefused:
    def test_memory_without_a_word_about_the_tokens(self):
        options = attention(heads=H, memory=part("memory", "linformer", rank=3))

        assert refusal(options, "none", length=8) == refused(
            "beside memory 'linformer' the pattern must be written",
            "without it every query would read all tokens, too",
            ("pattern=none reads the memory alone", "pattern=dense reads all tokens, too"), "memory",
        )  # fmt: skip

    def test_linformer_in_a_decoder(self):
        options = attention(heads=H, pattern="none", memory=part("memory", "linformer", rank=256))

        assert refusal(options, length=512) == refused(
            "a decoder cannot use memory 'linformer'",
            "each of its 256 key slots summarises positions 0..n-1, so every query would read the future",
            ("use it in an encoder", "a causal summary: conv(3)"), "memory",
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("slots", "option", "name", "reason"),
        [
            (
                {"pattern": pattern("random", count=2, block=1)}, "pattern", "random",
                "query 0 may read no key at all (6 of 192 queries read nothing)",
            ),
            (
                {"pattern": "none", "memory": part("memory", "conv", factor=3)}, "memory", "conv",
                "query 0 may read no key at all (12 of 192 queries read nothing)",
            ),
            (
                {"pattern": "none", "recurrence": part("recurrence", "segments", length=4, memory=4)}, "recurrence",
                "segments", "query 0 may read no key at all (24 of 192 queries read nothing)",
            ),
        ],
        ids=["random", "conv", "segments"],
    )  # fmt: skip
    def test_queries_without_a_key(self, slots, option, name, reason):
        options = attention(heads=H, silence="refuse", **slots)

        assert refusal(options) == refused(
            f"{option} '{name}' leaves queries without a key", reason,
            (
                "add the query itself: ... | window(0)", "add a slot that is always there: conv(3, null=learned)",
                "silence=zero, if an answer of zero is meant",
            ), option,
        )  # fmt: skip

    def test_a_pattern_that_counts_from_the_end_in_a_decoder(self):
        options = attention(heads=H, pattern=pattern("global", first=1, last=2))

        assert refusal(options) == refused(
            "a decoder cannot use pattern 'global'",
            "it counts from the end of the sequence, and in a decoder the sequence has no end yet",
            ("count from the start: global(first=...)", "use it in an encoder"), "pattern",
        )  # fmt: skip

    def test_a_pattern_that_sorts_the_whole_sequence_in_a_decoder(self):
        options = attention(heads=H, pattern=pattern("lsh", buckets=4, chunk=4, form="published"), shared_qk=True)

        assert refusal(options) == refused(
            "a decoder cannot use pattern 'lsh'",
            "it chooses by looking at the whole sequence, so what a query reads of the past depends on the future",
            ("form=strict", "use it in an encoder", "model.causal: value admits it, and gives up exact decoding"),
            "pattern",
        )  # fmt: skip
        assert mixer(options, C, "value") is not None

    def test_chosen_slots_with_terms_of_any_distance(self):
        lsh, far = pattern("lsh", buckets=4, chunk=4), part("position", "transformer-xl")

        assert refusal(attention(heads=H, pattern=lsh, position=far, shared_qk=True)) == refused(
            "pattern 'lsh' cannot be used with what position or score add to its logits",
            "contents choose pairs at any distance, and these terms cost as much as there are distances",
            ("a position with a limit: transformer-xl(clamp=...), relative(...)", "position=rotary"), "pattern",
        )  # fmt: skip
        near = part("position", "transformer-xl", clamp=5)
        assert mixer(attention(heads=H, pattern=lsh, position=near, shared_qk=True), C) is not None

    def test_a_pattern_of_distances_between_two_sequences(self):
        options = attention(heads=H, pattern=pattern("window", size=2))

        assert refusal(options, "none", role="cross") == refused(
            "cross-attention cannot use pattern 'window'",
            "it compares positions of queries and keys, which mean nothing between two sequences",
            ("pattern=dense",), "pattern",
        )  # fmt: skip

    def test_nothing_left_to_read(self):
        assert refusal(attention(heads=H, pattern="none")) == refused(
            "nothing is left to read: the pattern reads no token, and there is no memory", "",
            ("memory=conv(3)", "pattern=dense"), "pattern",
        )  # fmt: skip

    def test_a_kernel_with_a_window(self):
        options = attention(heads=H, score="linear", pattern=pattern("window", size=2))

        assert refusal(options) == refused(
            "score 'linear' cannot be used with pattern 'window'",
            "a sum over keys has every key in it, so no pattern can leave one out",
            ("leave pattern out", "score=softmax"), "pattern",
        )  # fmt: skip

    def test_a_kernel_with_an_additive_position(self):
        assert refusal(attention(heads=H, score="linear", position="alibi")) == refused(
            "score 'linear' cannot be used with position 'alibi'",
            "a sum over keys cannot add a bias to one product of query and key",
            ("position=rotary", "score=softmax"), "position",
        )  # fmt: skip

    def test_a_kernel_with_a_memory_or_a_recurrence(self):
        memory = attention(heads=H, score="linear", pattern="dense", memory=part("memory", "conv", factor=3))
        segments = attention(heads=H, score="linear", recurrence=part("recurrence", "segments", length=4, memory=4))
        reason = "its sums already hold the whole past, slots beside them are not supported"

        assert refusal(memory) == refused(
            "score 'linear' cannot be used with memory 'conv'", reason, ("memory=null", "score=softmax"), "memory"
        )
        assert refusal(segments) == refused(
            "score 'linear' cannot be used with recurrence 'segments'", reason,
            ("recurrence=null", "score=softmax"), "recurrence",
        )  # fmt: skip

    def test_a_kernel_with_dropout_of_weights(self):
        assert refusal(attention(heads=H, score="linear", dropout=0.1)) == refused(
            "score 'linear' cannot be used with dropout 0.1", "a sum over keys has no single weights to drop",
            ("dropout=0", "score=softmax"), "dropout",
        )  # fmt: skip

    def test_a_learned_pattern_with_a_recurrence(self):
        options = attention(
            heads=H, pattern=pattern("lsh", buckets=4, chunk=4), shared_qk=True,
            recurrence=part("recurrence", "segments", length=4, memory=4),
        )  # fmt: skip

        assert refusal(options, "value") == refused(
            "recurrence 'segments' cannot be used with pattern 'lsh'",
            "a pattern that chooses by contents knows nothing of segments",
            ("recurrence: none in this layer",), "recurrence",
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("nothing", "name"),
        [
            (pattern("difference", of=(pattern("window", size=1), pattern("window", size=3))), "difference"),
            (pattern("prefix"), "prefix"),
        ],
    )
    def test_a_pattern_that_reads_no_token_where_nothing_else_does(self, nothing, name):
        options = attention(heads=H, pattern=nothing, memory=part("memory", "reread"))

        assert refusal(options, "none") == refused(
            f"pattern '{name}' reads no token, however long the text",
            "nothing would use the keys and values of this layer", ("pattern=none, which says so",), "pattern",
        )  # fmt: skip

    @pytest.mark.parametrize("causal", ["strict", "none"])
    def test_a_memory_that_nobody_reads(self, causal):
        memory = part("memory", "conv", factor=3, pattern=part("pattern", "none"))

        assert refusal(attention(heads=H, pattern="dense", memory=memory), causal) == refused(
            "memory 'conv' is read by nobody", "its own pattern allows none of its slots",
            ("pattern=dense inside it", "leave it out"), "memory",
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("memory", "of", "causal", "reason"),
        [
            (
                ("reread", {}), ("routing", {"clusters": 2, "window": 3}), "none",
                "each cluster has a softmax of its own, and the slots of a memory belong to the softmax of the tokens",
            ),
            (
                ("reread", {}), ("lsh", {"buckets": 4, "chunk": 4}), "strict",
                "this form keeps the rows that can still be read itself, and a memory keeps its own slots",
            ),
            (
                ("pool", {"factor": 3}), ("lsh", {"buckets": 4, "chunk": 4}), "none",
                "they choose among the rows of the sequence, one for each query, and its slots are others",
            ),
        ],
    )  # fmt: skip
    def test_contents_that_cannot_choose_slots(self, memory, of, causal, reason):
        (name, given), (chooser, more) = memory, of
        made = part("memory", name, pattern=pattern(chooser, **more), **given)

        assert refusal(attention(heads=H, pattern="dense", memory=made), causal) == refused(
            f"memory '{name}' cannot let contents choose among its slots", reason, ("pattern=dense inside it",),
            "memory",
        )  # fmt: skip

    @pytest.mark.parametrize("padded", [False, True])
    def test_contents_may_choose_rows_that_are_read_again(self, padded):
        again = part("memory", "reread", pattern=pattern("lsh", buckets=4, chunk=4))
        made = mixer(attention(heads=H, pattern="dense", memory=again), C, "none")
        valid = torch.arange(11) < torch.tensor([[11], [7]])
        x = rows(2, 11, C) * valid[..., None]

        found = made(x, Axis(range(11), valid if padded else None, total=11)).x
        alone = made(x[1:, :7], Axis(range(7), total=7)).x
        assert torch.allclose(found[1:, :7], alone, rtol=0, atol=1e-12) == padded

    def test_projections_that_nobody_uses_are_not_made(self):
        made = mixer(attention(heads=H, pattern="none", memory=part("memory", "reread")), C, "none")

        assert {name.split(".")[0] for name, _ in made.named_parameters()} == {"q", "out", "inner"}

    def test_a_far_pattern_beside_a_memory_with_projections_is_read(self):
        far = part(
            "pattern", "difference", of=(part("pattern", "window", size=600), part("pattern", "window", size=300))
        )

        assert mixer(attention(heads=H, pattern=far, memory=part("memory", "reread")), C, "none").inner.memories

    @pytest.mark.parametrize(
        ("given", "message", "option", "fixes", "label"),
        [
            (
                {"heads": 5}, "5 heads do not divide 'dim' 12", "heads",
                ("a number that divides it", "head_dim=... beside heads"), "",
            ),
            (
                {"heads": 6, "kv_heads": 4}, "4 key/value heads do not divide 6 heads", "kv_heads",
                ("a number that divides 6",), "each of them serves equally many heads",
            ),
            ({}, "'dim' 12 does not divide into heads of 64", "", ("heads=...",), ""),
            (
                {"heads": 6, "kv_heads": 3, "shared_qk": True},
                "shared queries and keys need as many key/value heads as heads", "kv_heads",
                ("kv_heads=6", "shared_qk=false"), "a head's queries are its keys",
            ),
            (
                {"heads": 6, "head_dim": 4, "out": False},
                "without an output projection the heads must fill 'dim' 12, found 6 heads of 4", "out",
                ("out=true",), "",
            ),
        ],
    )  # fmt: skip
    def test_sizes(self, given, message, option, fixes, label):
        assert refusal(attention(**given)) == refused(message, label, fixes, option)


def test_sizes_that_are_not_written():
    made = mixer(attention(), 128)

    assert (made.heads, made.kv_heads, made.head_dim) == (2, 2, 64)
