"""Queries divided among mixers: Longformer's global tokens, by its formula, in every mode."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from xcompose_plugins.mixers.rows import RowsItem

from tests.plugins.helpers import attention, context, in_unison, mixer, part, pattern, ragged, rows, sizes
from xcompose.attention.reads import Axis
from xcompose.compose.parts import Mixer, Source
from xcompose.diagnostics import PartError

N, C, H, W, G = 13, 12, 3, 2, 2
LOCAL = pattern("union", of=(pattern("window", size=W), pattern("global", first=G)))


def first(count: int):
    return pattern("first", size=count)


def divided(*items, share=()):
    """Options of `rows`; items are (rows, use), or a mixer that takes what is left."""
    made = tuple(RowsItem(rows=i[0], use=i[1]) if isinstance(i, tuple) else RowsItem(use=i) for i in items)
    return part("mixer", "rows", of=made, share=share)


def longformer(share=("out",), local=LOCAL, **more):
    near = attention(heads=H, pattern=local, position="rotary", **more)
    return divided((first(G), attention(heads=H, position="rotary", **more)), near, share=share)


def split(linear, x: Tensor) -> Tensor:
    """(n h d)"""
    return (x @ linear.weight.T + linear.bias).unflatten(-1, (H, -1))


def turned(t: Tensor, at: int) -> Tensor:
    """Rotary, by the book: pairs (x_i, x_{i + d/2}) turn by at / 10000^(2i/d)."""
    half = t.shape[-1] // 2
    angle = at * 10000.0 ** (-torch.arange(half, dtype=t.dtype) / half)
    a, b = t[:half], t[half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()])


def by_the_book(made: Mixer, x: Tensor, causal: bool = False) -> Tensor:
    """One sequence (n c): a global query reads everything by its own projections; any other reads its neighbours, and
    the global tokens once, by the local projections."""
    everywhere, near = made.members
    n, found = len(x), []
    for i in range(n):
        use = everywhere if i < G else near
        q, k, v = split(use.q, x), split(use.k, x), split(use.v, x)
        keys = [j for j in range(n) if (i < G or j < G or abs(i - j) <= W) and (j <= i or not causal)]
        heads = []
        for h in range(H):
            logits = torch.stack([turned(q[i, h], i) @ turned(k[j, h], j) / q.shape[-1] ** 0.5 for j in keys])
            heads.append(sum(w * v[j, h] for w, j in zip(logits.softmax(0), keys, strict=True)))
        found.append(torch.cat(heads) @ everywhere.out.weight.T + everywhere.out.bias)
    return torch.stack(found)


def axis(n: int, causal: str = "none", valid: Tensor | None = None) -> Axis:
    return Axis(range(n), valid, total=None if causal == "strict" else n)


class TestLongformer:
    @pytest.mark.parametrize("causal", ["none", "strict"])
    @pytest.mark.parametrize("n", [1, 2, 3, N])
    def test_formula(self, n, causal):
        made, x = mixer(longformer(), C, causal), rows(1, n, C).requires_grad_()

        found, wanted = made(x, axis(n, causal)).x, by_the_book(made, x[0], causal == "strict")[None]

        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
        weights = rows(1, n, C, seed=1)
        places = [x, *made.parameters()]
        ours, theirs = (torch.autograd.grad((y * weights).sum(), places, allow_unused=True) for y in (found, wanted))
        for name, a, b in zip(["x", *dict(made.named_parameters())], ours, theirs, strict=True):
            a, b = (torch.zeros((), dtype=x.dtype) if g is None else g for g in (a, b))
            torch.testing.assert_close(
                a, b.expand_as(a), rtol=0, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}"
            )

    def test_padded_rows_change_nothing(self):
        made, x = mixer(longformer(), C, "none"), rows(4, N, C)
        lengths = [N, 5, 1, 0]
        valid = torch.arange(N) < torch.tensor(lengths)[:, None]

        found = made(torch.where(valid[..., None], x, 0.0), axis(N, valid=valid)).x

        for i, length in enumerate(lengths[:3]):
            torch.testing.assert_close(found[i, :length], by_the_book(made, x[i, :length]), rtol=0, atol=1e-12)

    def test_rows_beyond_the_global_ones_ask_by_their_own_projections(self):
        made, x = mixer(longformer(), C, "none"), rows(1, N, C)
        before = made(x, axis(N)).x
        with torch.no_grad():
            made.members[0].k.weight.zero_()
        after = made(x, axis(N)).x

        assert torch.equal(before[:, G:], after[:, G:])
        assert not torch.isclose(before[:, :G], after[:, :G]).any()

    def test_shared_output_counts_once(self):
        made = mixer(longformer(), C, "none")
        square = C * C + C

        assert made.members[0].out is made.members[1].out
        assert sum(p.numel() for p in made.parameters()) == 4 * square + 3 * square
        apart = mixer(longformer(share=()), C, "none")
        assert sum(p.numel() for p in apart.parameters()) == 2 * 4 * square
        same = mixer(longformer(share=("q", "k", "v", "out")), C, "none")
        assert sum(p.numel() for p in same.parameters()) == 4 * square

    def test_sharing_everything_is_one_attention(self):
        made = mixer(longformer(share=("q", "k", "v", "out")), C, "none")
        one = mixer(attention(heads=H, pattern=LOCAL, position="rotary"), C, "none")
        with torch.no_grad():
            for name in ("q", "k", "v", "out"):
                getattr(one, name).load_state_dict(getattr(made.members[0], name).state_dict())
        x = rows(2, N, C)

        torch.testing.assert_close(made(x, axis(N)).x, one(x, axis(N)).x, rtol=0, atol=1e-12)

    def test_visible(self):
        everything, near = mixer(longformer(), C, "none").visible(N)

        assert everything.label == "0: heads 0-2"
        assert near.label == "1: heads 0-2"
        assert everything.matrix.tolist() == [[i < G] * N for i in range(N)]
        assert near.matrix.tolist() == [[i >= G and (j < G or abs(i - j) <= W) for j in range(N)] for i in range(N)]


class TestWork:
    def asked(self, made: Mixer, n: int) -> list[int]:
        """How many rows go through the query and output projections of each member."""
        found: list[int] = []
        for member in made.members:
            for linear in (member.q, member.out):
                linear.register_forward_pre_hook(lambda _, given: found.append(given[0].shape[1]))
        made(rows(1, n, C), axis(n))
        return found

    def test_only_rows_of_a_member_are_projected(self):
        assert self.asked(mixer(longformer(share=()), C, "none"), 101) == [G, G, 101 - G, 101 - G]

    def test_a_member_for_few_rows_costs_no_square(self):
        """Query times key of the first rows: g n pairs, not n^2."""
        made = mixer(longformer(share=(), local=pattern("window", size=W)), C, "none")
        shapes: list[tuple[int, int]] = []

        def note(q, k, v, view, axis_, asking=None, inner=made.members[0].inner):
            shapes.append((q.shape[1], k.shape[1]))
            return type(inner).mix(inner, q, k, v, view, axis_, asking)

        made.members[0].inner.mix = note
        made(rows(1, 300, C), axis(300))

        assert shapes == [(G, 300)]

    def test_pairs_are_those_of_the_catalogue(self):
        """Bound: (n - g)(2w + 1 + g) + g n; less the ends of the band and the global tokens inside windows."""
        made, n = mixer(longformer(), C, "none"), 61
        everything, near = made.visible(n)

        pairs = int(everything.matrix.sum() + near.matrix.sum())
        ends = sum(max(0, i + W - (n - 1)) for i in range(G, n))
        inside = sum(max(0, G - max(0, i - W)) for i in range(G, n))
        beyond = sum(max(0, W - i) for i in range(G, n))
        assert pairs == (n - G) * (2 * W + 1 + G) + G * n - ends - inside - beyond
        assert (ends, inside, beyond) == (3, 3, 0)


class TestDecoding:
    @settings(max_examples=20, deadline=None)
    @given(cuts=st.sets(st.integers(1, N - 1)))
    def test_in_unison(self, cuts):
        made, x = mixer(longformer(), C), rows(2, N, C)

        torch.testing.assert_close(in_unison(made, x, cuts)[0], made(x, axis(N, "strict")).x, rtol=0, atol=1e-12)

    def test_rows_at_different_times(self):
        made, x = mixer(longformer(), C), rows(3, N, C)
        steps = [(4, 1, 2), (0, 2, 1), (1, 1, 1), (3, 0, 4), (5, 3, 5)]

        found, _ = ragged(made, x, steps)

        wanted = made(x, axis(N, "strict")).x
        for i, total in enumerate(map(sum, zip(*steps, strict=True))):
            torch.testing.assert_close(found[i, :total], wanted[i, :total], rtol=0, atol=1e-12)

    def test_each_member_keeps_what_its_own_rows_will_read(self):
        """The first rows read no key after the last of them; the others read windows, and the global keys for ever."""
        made, x = mixer(longformer(), C), rows(2, N, C)

        for n in range(1, N + 1):
            _, state = in_unison(made, x[:, :n], range(n))
            assert sizes(state) == made.state_shape(n)
            first_keys, near_keys = (made.state_shape(n)[f"{i}.tokens.0.k"] for i in (0, 1))
            assert first_keys == (n if n < G else 0, H, C // H)
            assert near_keys == (min(n, max(G, min(n, G + W))), H, C // H)


@pytest.mark.parametrize("causal", ["none", "strict"])
class TestAnyMixer:
    def owes(self, options, causal: str, n: int = N):
        """Each row is that of the mixer that it belongs to, alone."""
        made, x = mixer(options, C, causal), rows(2, n, C)
        alone = mixer(divided((first(n), options.of[0].use), options.of[1].use), C, causal)
        alone.load_state_dict(made.state_dict())
        rest = mixer(divided((first(1), options.of[0].use), options.of[1].use), C, causal)
        rest.load_state_dict(made.state_dict())
        where = axis(n, causal)

        found = made(x, where).x

        torch.testing.assert_close(found[:, :G], alone(x, where).x[:, :G], rtol=0, atol=1e-12)
        torch.testing.assert_close(found[:, G:], rest(x, where).x[:, G:], rtol=0, atol=1e-12)
        if causal == "strict":
            state = made.start(2, x)
            for i in range(n):
                mixed = made(x[:, i : i + 1], Axis(range(i, i + 1)), state)
                torch.testing.assert_close(mixed.x[:, 0], found[:, i], rtol=0, atol=1e-11)
                state = mixed.state

    def test_linear(self, causal):
        linear = attention(heads=H, score="linear", position="rotary")
        self.owes(divided((first(G), linear), attention(heads=H, pattern=LOCAL)), causal)
        self.owes(divided((first(G), attention(heads=H)), linear), causal)

    def test_a_learned_pattern(self, causal):
        if causal == "strict":
            pytest.skip("it chooses by the whole sequence")
        lsh = attention(heads=H, pattern=pattern("lsh", buckets=4, chunk=4, seed=0), shared_qk=True)
        self.owes(divided((first(G), attention(heads=H)), lsh), causal, 16)

    def test_a_chain(self, causal):
        chain = part("mixer", "chain", of=(attention(heads=H, pattern=LOCAL), attention(heads=H)))
        self.owes(divided((first(G), chain), attention(heads=H)), causal)
        self.owes(divided((first(G), attention(heads=H)), chain), causal)

    def test_groups_of_heads(self, causal):
        near = attention(heads=H, pattern=LOCAL)
        groups = part("mixer", "heads", of=((1, near), (2, attention(heads=H))), heads=H)
        self.owes(divided((first(G), groups), near), causal)

    def test_groups_of_patterns(self, causal):
        groups = pattern("heads", of=((1, LOCAL), (2, pattern("dense"))))
        self.owes(divided((first(G), attention(heads=H)), attention(heads=H, pattern=groups)), causal)

    def test_a_memory(self, causal):
        memory = part("memory", "conv", factor=3, null="learned")
        compressed = attention(heads=H, pattern="none", memory=memory, position="rotary")
        self.owes(divided((first(G), attention(heads=H)), compressed), causal)

    def test_rows_within_rows(self, causal):
        inner = divided((first(4), attention(heads=H, pattern=LOCAL)), attention(heads=H))
        self.owes(divided((first(G), attention(heads=H)), inner), causal)


def test_rows_that_are_not_in_one_piece():
    """The second and third row: the last member answers the first and the others."""
    second = pattern("difference", of=(first(3), first(1)))
    made = mixer(divided((second, attention(heads=H)), attention(heads=H, pattern=LOCAL), share=("out",)), C, "none")
    x = rows(2, N, C)
    everything, near = mixer(attention(heads=H), C, "none"), mixer(attention(heads=H, pattern=LOCAL), C, "none")
    everything.load_state_dict(made.members[0].state_dict())
    near.load_state_dict(made.members[1].state_dict())

    found, one, other = (m(x, axis(N)).x for m in (made, everything, near))

    inside = torch.tensor([i in (1, 2) for i in range(N)])[:, None]
    torch.testing.assert_close(found, torch.where(inside, one, other), rtol=0, atol=1e-12)
    assert [group.matrix.any(1).tolist() for group in made.visible(5)] == [
        [False, True, True, False, False], [True, False, False, True, True],
    ]  # fmt: skip


def test_the_first_item_that_holds_a_row_answers_it():
    dense, near = attention(heads=H), attention(heads=H, pattern=LOCAL)
    made = mixer(divided((first(2), dense), (first(5), near), dense), C, "none")

    assert [group.matrix.any(1).nonzero()[0].tolist() for group in made.visible(7)] == [[0, 1], [2, 3, 4], [5, 6]]


def test_cross_attention_answers_every_query_and_is_chosen_from():
    options = divided((first(G), attention(heads=H)), attention(heads=H, scale="dim"))
    made, x, there = mixer(options, C, role="cross"), rows(2, N, C), rows(2, 7, C, seed=3)
    source = Source(there, Axis(range(7), total=7, clock="source"))
    apart = [mixer(item.use, C, role="cross") for item in options.of]
    for member, one in zip(made.members, apart, strict=True):
        one.load_state_dict(member.state_dict())
    wanted = [one(x, axis(N, "strict"), None, source).x for one in apart]

    whole = made(x, axis(N, "strict"), None, source).x
    steps, _ = in_unison(made, x, range(N), source)

    for found in (whole, steps):
        torch.testing.assert_close(found[:, :G], wanted[0][:, :G], rtol=0, atol=1e-12)
        torch.testing.assert_close(found[:, G:], wanted[1][:, G:], rtol=0, atol=1e-12)


class TestSilence:
    def test_only_the_rows_of_a_member_have_to_read(self):
        later = attention(
            heads=H,
            pattern=pattern("difference", of=(pattern("window", size=3), pattern("window", size=0))),
            silence="refuse",
        )

        context(C).build(divided((first(1), attention(heads=H)), later))
        with pytest.raises(PartError) as caught:
            context(C).build(divided((first(1), later), attention(heads=H)))

        assert caught.value.message == "pattern 'difference' leaves queries without a key"
        assert caught.value.label == "query 0 may read no key at all (3 of 576 queries read nothing)"


DENSE = attention(heads=H)
LATER = "the last item of mixer 'rows' takes what the others leave, so it alone has no 'rows'"


@pytest.mark.parametrize(
    ("options", "message", "label", "fixes", "option"),
    [
        (divided(), "mixer 'rows' divides queries among two mixers at least, found 0", "", (), "of"),
        (
            divided(DENSE), "mixer 'rows' divides queries among two mixers at least, found 1", "",
            ("write the mixer alone",), "of",
        ),
        (divided(DENSE, DENSE), LATER, "", ("write 'rows', such as rows: first(1)",), "of.0"),
        (divided((first(1), DENSE), (first(2), DENSE)), LATER, "", ("leave out 'rows'",), "of.1"),
        (
            divided((pattern("global", first=1), DENSE), DENSE), "pattern 'global' does not say which rows are meant",
            "it looks at more than the place of the query", ("rows: first(1)",), "of.0.rows",
        ),
        (
            divided((pattern("routing", clusters=2, window=3), DENSE), DENSE),
            "pattern 'routing' does not say which rows are meant", "it looks at more than the place of the query",
            ("rows: first(1)",), "of.0.rows",
        ),
        (
            divided((pattern("adaptive-span", size=3), DENSE), DENSE),
            "pattern 'adaptive-span' does not say which rows are meant", "it looks at more than the place of the query",
            ("rows: first(1)",), "of.0.rows",
        ),
        (
            divided((pattern("heads", of=((1, first(1)),)), DENSE), DENSE),
            "pattern 'heads' does not say which rows are meant", "it looks at more than the place of the query",
            ("rows: first(1)",), "of.0.rows",
        ),
        (
            divided((first(0), DENSE), DENSE), "pattern 'first' says that no row is meant",
            "no query would be answered by this mixer", ("rows: first(1)",), "of.0.rows",
        ),
        (
            divided((pattern("strided", stride=1), DENSE), DENSE),
            "the earlier items of mixer 'rows' leave no row to this one", "no query would be answered by it",
            ("leave this item out", "fewer rows before it"), "of.1",
        ),
        (
            divided((first(3), DENSE), (first(2), DENSE), DENSE),
            "the earlier items of mixer 'rows' leave no row to this one", "no query would be answered by it",
            ("leave this item out", "fewer rows before it"), "of.1",
        ),
        (
            divided((first(1), DENSE), attention(heads=H, kv_heads=1), share=("k",)),
            "projection 'k' cannot be shared: 12 to 4 here, 12 to 12 in an earlier mixer", "",
            ("as many heads of the same width in both", "leave it out of 'share'"), "",
        ),
        (
            divided((first(1), DENSE), attention(heads=H, shared_qk=True), share=("k",)),
            "projection 'k' cannot be shared: fewer than two of the mixers have one of their own", "",
            ("leave it out of 'share'",), "share",
        ),
        (
            divided((first(1), part("mixer", "sum", of=(DENSE, DENSE))), DENSE, share=("q",)),
            "projection 'q' cannot be shared: one of the mixers has several of this name",
            "which of them would be common to all is not said", ("leave it out of 'share'",), "",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(options, message, label, fixes, option):
    with pytest.raises(PartError) as caught:
        context(C).build(options)

    error = caught.value
    assert (error.message, error.label, error.fixes, error.option) == (message, label, fixes, option)
