"""Synthesizer against its formula, written as loops; what its forms have in common; what it refuses.

No package is faithful to the paper (one leaves the softmax out, one scrambles heads and positions by a reshape), so the
oracle is the formula alone, and identities between the forms.
"""

from __future__ import annotations

from math import exp

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.plugins.helpers import attention, context, in_unison, mixer, part, pattern, ragged, rows, sizes
from xcompose.attention.attend import EXECUTORS, attend
from xcompose.attention.reads import Axis, Read, Slots
from xcompose.compose.parts import Source
from xcompose.diagnostics import PartError

B, N, C, H, G, D, F, E = 2, 7, 15, 3, 1, 5, 2, 4
LENGTH = 14
"""Columns: more than rows, and 2 times 7."""
FORMS = ["dense", "random", "fixed", "factorized-dense", "factorized-random"]
MIXTURES = [("random", "content"), ("content", "dense"), ("factorized-random", "random"), ("dense", "factorized-dense"),
            ("dense", "random", "factorized-dense", "factorized-random", "content")]  # fmt: skip
EVERY = [*((form,) for form in FORMS), *MIXTURES]


def score(*of: str, **given):
    return part("score", "synthesizer", of=of, **given)


def made_of(*of: str, causal: str = "strict", length: int = LENGTH, given=None, dim: int = C, **facts):
    """An attention of this score, with a hidden layer of another width than its heads."""
    hidden = {"hidden": F} if {"dense", "factorized-dense"} & set(of) else {}
    options = attention(
        **{"heads": H, "kv_heads": G, "head_dim": D, "value_dim": E, "score": score(*of, **hidden), **(given or {})}
    )
    return mixer(options, dim, causal, length=length, **facts)


def share(made, form: str) -> Tensor | float:
    own = made.inner.score
    if own.mixture is None:
        return 1.0
    every = [x.exp() for x in own.mixture]
    return every[own.of.index(form)] / sum(every)


def second(columns, hidden: Tensor, h: int) -> list[Tensor]:
    relu = [x.clamp(min=0) for x in hidden]
    return [
        sum(relu[f] * columns.weight[h, f, j] for f in range(F)) + columns.bias[h, j]
        for j in range(columns.bias.shape[1])
    ]


def own_logits(made, asked: Tensor, h: int, i: int) -> list[Tensor]:
    """What row i writes to each of its columns in head h, from the channels behind those of products."""
    found, begin = [0.0] * made.inner.score.count, 0
    for form, branch in made.inner.score.branches.items():
        hidden = asked[begin : begin + branch.asks]
        begin += branch.asks
        if form == "dense":
            logits = second(branch.columns, hidden, h)
        elif form == "factorized-dense":
            a, b = second(branch.tiled, hidden, h), second(branch.repeated, hidden, h)
            logits = [b[j // len(a)] * a[j % len(a)] for j in range(len(a) * len(b))]
        elif form == "factorized-random":
            logits = [sum(x * y for x, y in zip(branch.rows[i, h], col, strict=True)) for col in branch.cols[:, h]]
        else:
            logits = list(branch.table[h, i])
        found = [x + share(made, form) * y for x, y in zip(found, logits, strict=True)]
    return found


def naive(made, x: Tensor, allowed, lengths=None, more=None, heads: int = H) -> Tensor:
    """`allowed(i, j)` says which pairs count, `more(h, i, j)` adds to their logits; no turn."""
    b, n, _ = x.shape
    d = D if made.inner.score.content else 0
    q = None if made.q is None else made.q(x).reshape(b, n, heads, -1)
    k = made.k(x).reshape(b, n, -1, D) if d else None
    v = made.v(x).reshape(b, n, -1, E)
    out = torch.zeros(b, n, heads, E, dtype=x.dtype)
    answers = []
    for s in range(b):
        for i in range(n):
            for h in range(heads):
                g = h * v.shape[2] // heads
                there = [j for j in range(n) if allowed(i, j) and (lengths is None or j < lengths[s])]
                own = own_logits(made, q[s, i, h, d:] if q is not None else x.new_zeros(0), h, i)
                logits = [own[j] for j in there]
                if d:
                    products = [share(made, "content") * (q[s, i, h, :d] @ k[s, j, g]) * D**-0.5 for j in there]
                    logits = [x + y for x, y in zip(logits, products, strict=True)]
                if more:
                    logits = [x + more(h, i, j) for x, j in zip(logits, there, strict=True)]
                weights = torch.stack(logits).softmax(0)
                answers.append(sum(w * v[s, j, g] for w, j in zip(weights, there, strict=True)))
    return made.out(torch.stack(answers).reshape(out.shape).flatten(2))


def agree(made, found: Tensor, wanted: Tensor, x: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-11)
    inputs, upstream = [x, *made.parameters()], rows(*found.shape, seed=3)
    pairs = zip(*(torch.autograd.grad(y, inputs, upstream) for y in (found, wanted)), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


class TestFormula:
    @pytest.mark.parametrize("of", EVERY, ids=" ".join)
    @pytest.mark.parametrize("causal", [False, True])
    def test_answers_and_gradients(self, of, causal):
        made, x = made_of(*of, causal="strict" if causal else "none"), rows(B, N, C).requires_grad_()

        found = made(x, Axis(range(N), total=None if causal else N)).x

        agree(made, found, naive(made, x, lambda i, j: j <= i or not causal), x)

    @pytest.mark.parametrize("form", ["random", "dense", "factorized-dense", "factorized-random"])
    def test_a_local_pattern_in_tiles(self, form):
        """Long enough for several tiles, and for several bands of a table; the formula with whole matrices."""
        n, w, heads = 150, 3, 2
        made = made_of(form, length=n + 2, given={"pattern": pattern("window", size=w), "heads": heads, "kv_heads": 1})
        x = rows(1, n, C).requires_grad_()
        at = torch.arange(n)
        hidden = None if made.q is None else made.q(x).relu().reshape(1, n, heads, F)
        logits = whole_logits(made.inner.score.branches[form], form, hidden)[..., :n, :n]
        apart = at[:, None] - at
        weights = logits.masked_fill((apart < 0) | (apart > w), -torch.inf).softmax(-1)
        wanted = made.out(torch.einsum("bhnm,bme->bnhe", weights.expand(1, -1, -1, -1), made.v(x)).flatten(2))

        agree(made, made(x, Axis(range(n))).x, wanted, x)

    @pytest.mark.parametrize("of", [("dense", "random"), ("factorized-dense", "content")])
    def test_patterns_of_groups_of_heads(self, of):
        near = pattern("window", size=1)
        made = made_of(*of, given={"pattern": pattern("heads", of=((2, near), (1, pattern("dense"))))})
        x = rows(B, N, C).requires_grad_()
        found = made(x, Axis(range(N))).x
        y = torch.stack([
            naive_head(made, x, h, lambda i, j, h=h: j <= i and (h == 2 or j >= i - 1)) for h in range(H)
        ], 2)  # fmt: skip

        agree(made, found, made.out(y.flatten(2)), x)

    @pytest.mark.parametrize("of", EVERY, ids=" ".join)
    def test_columns_that_are_no_neighbours(self, of):
        made, x = made_of(*of, given={"pattern": pattern("strided", stride=3)}), rows(B, 11, C).requires_grad_()

        agree(made, made(x, Axis(range(11))).x, naive(made, x, lambda i, j: j <= i and (i - j) % 3 == 0), x)

    @pytest.mark.parametrize("of", MIXTURES[1:], ids=" ".join)
    @pytest.mark.parametrize("chosen", [("lsh", {"buckets": 4, "chunk": 4, "back": 1}),
                                        ("routing", {"clusters": 2, "window": 6})], ids=["lsh", "routing"])  # fmt: skip
    def test_pairs_that_contents_choose(self, of, chosen, monkeypatch):
        """Tiles with other columns for each sequence and head say what the definition says."""
        if "content" not in of:
            of = (*of, "content")
        name, sizes_ = chosen
        made = made_of(*of, causal="none", given={"pattern": pattern(name, **sizes_), "kv_heads": H}).eval()
        x = rows(B, 13, C).requires_grad_()
        found = made(x, Axis(range(13), total=13)).x
        run: list[int] = []

        def by_the_book(reads, dropout):
            run.append(1)
            return reference(reads, dropout)

        reference = EXECUTORS["reference"]
        for executor in EXECUTORS:
            monkeypatch.setitem(EXECUTORS, executor, by_the_book)
        wanted = made(x, Axis(range(13), total=13)).x

        assert run == [1]
        agree(made, found, wanted, x)

    def test_shared_queries_and_keys_beside_a_hidden_layer(self):
        made = made_of("dense", "content", given={"kv_heads": H, "shared_qk": True})
        x = rows(1, N, C).requires_grad_()
        q = made.q(x).reshape(N, H, D + F)[..., :D]
        keys = q / q.norm(dim=-1, keepdim=True)
        made.k = lambda _: keys.flatten(1)[None]  # what the formula reads; the layer has no such projection
        wanted = naive(made, x, lambda i, j: j <= i)
        made.k = None

        agree(made, made(x, Axis(range(N))).x, wanted, x)

    def test_the_query_is_added_without_the_channels_of_the_score(self):
        made = made_of("dense", "content", given={"add_query": True, "value_dim": D})
        plain = made_of("dense", "content", given={"value_dim": D})
        plain.load_state_dict(made.state_dict())
        x = rows(B, N, C)
        q = made.q(x).reshape(B, N, H, D + F)[..., :D].flatten(2)

        torch.testing.assert_close(
            made(x, Axis(range(N))).x, plain(x, Axis(range(N))).x + q @ made.out.weight.T, rtol=0, atol=1e-12
        )

    def test_biases_of_a_position_are_added_to_the_mixture(self):
        made = made_of("random", "content", given={"heads": 2, "kv_heads": 2, "position": "alibi"})
        x = rows(B, N, C).requires_grad_()
        slopes = [2**-4, 2**-8]

        found = made(x, Axis(range(N))).x

        agree(made, found, naive(made, x, lambda i, j: j <= i, more=lambda h, i, j: -slopes[h] * (i - j), heads=2), x)

    @pytest.mark.parametrize("values", [False, True])
    def test_labels_without_vectors(self, values):
        """Where nothing is asked, relative labels keep their biases, and what they add to the values."""
        position = part("position", "relative", clip=2, bias=not values, values=values)
        made, x = made_of("dense", given={"position": position}), rows(1, N, C).requires_grad_()
        (table,) = made.inner.position.tables

        found = made(x, Axis(range(N))).x

        if not values:
            scaled = lambda h, i, j: table[min(i - j, 2), h] * D**-0.5  # noqa: E731
            agree(made, found, naive(made, x, lambda i, j: j <= i, more=scaled), x)
            return
        hidden = made.q(x).relu().reshape(1, N, H, F)
        logits = whole_logits(made.inner.score.branches["dense"], "dense", hidden)[..., :N]
        weights = logits.masked_fill(torch.ones(N, N).triu(1) > 0, -torch.inf).softmax(-1)
        at = torch.arange(N)
        added = table[(at[:, None] - at).clamp(0, 2)]
        y = torch.einsum("bhnm,bme->bnhe", weights, made.v(x)) + torch.einsum("bhnm,nmhe->bnhe", weights, added)
        agree(made, found, made.out(y.flatten(2)), x)

    def test_a_position_asks_queries_without_the_channels_of_the_score(self):
        """Relative labels have vectors as wide as products; channels of the hidden layer are none of their business."""
        made = made_of("dense", "content", given={"position": part("position", "relative", clip=2)})
        x = rows(B, N, C).requires_grad_()
        table = made.inner.position.vectors
        q = made.q(x).reshape(B, N, H, D + F)[..., :D]

        found = made(x[:1], Axis(range(N))).x
        wanted = naive(
            made, x[:1], lambda i, j: j <= i,
            more=lambda h, i, j: q[0, i, h] @ table[min(i - j, 2), h] * D**-0.5,
        )  # fmt: skip

        agree(made, found, wanted, x)

    def test_only_products_are_turned_and_weighed(self):
        given = {"heads": 2, "kv_heads": 2, "head_dim": 6, "value_dim": 4}
        made = made_of("random", "content", given={**given, "position": "rotary"})
        plain = mixer(attention(**given, position="rotary"), C)
        for name in ("q", "k", "v", "out"):
            getattr(plain, name).load_state_dict(getattr(made, name).state_dict())
        made.inner.score.mixture.data = torch.tensor([-60.0, 60.0], dtype=torch.float64)
        x = rows(B, N, C)

        torch.testing.assert_close(made(x, Axis(range(N))).x, plain(x, Axis(range(N))).x, rtol=0, atol=1e-12)

    def test_rows_before_the_tokens_have_columns_of_their_own(self):
        prefix = 3
        made = made_of("random", "dense", causal="none", length=LENGTH - prefix, prefix=prefix)
        x = rows(B, N, C).requires_grad_()
        assert made.inner.score.count == LENGTH

        found = made(x, Axis(range(-prefix, N - prefix), total=N - prefix)).x

        agree(made, found, naive(made, x, lambda i, j: True), x)

    def test_tokens_of_earlier_segments(self):
        segments = part("recurrence", "segments", length=3, memory=2)
        made = made_of("random", "factorized-dense", given={"recurrence": segments})
        x = rows(B, 11, C)

        found = made(x, Axis(range(11))).x
        wanted = naive(made, x, lambda i, j: j <= i and j >= i // 3 * 3 - 2)

        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-11)
        torch.testing.assert_close(in_unison(made, x, [2, 3, 7])[0], wanted, rtol=1e-10, atol=1e-11)


def whole_logits(branch, form: str, hidden: Tensor | None) -> Tensor:
    """All logits of a form, (b h n N) or (1 h N N)."""

    def layer(columns) -> Tensor:
        found = torch.einsum("bnhf,hfj->bhnj", hidden, columns.weight)
        return found + columns.bias[:, None]

    if form == "dense":
        return layer(branch.columns)
    if form == "factorized-dense":
        return torch.einsum("bhnj,bhni->bhnji", layer(branch.repeated), layer(branch.tiled)).flatten(3)
    if form == "factorized-random":
        return torch.einsum("nhk,mhk->hnm", branch.rows, branch.cols)[None]
    return branch.table[None]


def naive_head(made, x: Tensor, h: int, allowed) -> Tensor:
    """The answer (b n e) of one head, before the output projection."""
    out, made.out = made.out, torch.nn.Identity()
    try:
        return naive(made, x, allowed).reshape(*x.shape[:2], H, E)[:, :, h]
    finally:
        made.out = out


class TestIdentities:
    def test_a_table_of_zeros_gives_the_mean_of_the_past(self):
        made, x = made_of("random", given={"kv_heads": H}), rows(B, N, C)
        made.inner.score.branches["random"].table.data.zero_()
        past = made.v(x).cumsum(1) / torch.arange(1, N + 1)[:, None]

        torch.testing.assert_close(made(x, Axis(range(N))).x, made.out(past), rtol=0, atol=1e-12)

    def test_factors_are_a_dense_row_that_is_their_outer_product(self):
        made, x = made_of("factorized-dense"), rows(B, N, C)
        branch = made.inner.score.branches["factorized-dense"]
        hidden = made.q(x).reshape(B, N, H, F).relu()
        a = torch.einsum("bnhf,hfj->bnhj", hidden, branch.tiled.weight) + branch.tiled.bias
        b = torch.einsum("bnhf,hfj->bnhj", hidden, branch.repeated.weight) + branch.repeated.bias
        assert (a.shape[-1], b.shape[-1]) == (2, 7)
        flat = torch.einsum("bnhj,bnhk->bnhjk", b, a).flatten(3)[..., :N].transpose(1, 2)
        weights = flat.masked_fill(torch.ones(N, N).triu(1) > 0, -torch.inf).softmax(-1)
        y = torch.einsum("bhnm,bme->bnhe", weights, made.v(x))

        torch.testing.assert_close(made(x, Axis(range(N))).x, made.out(y.flatten(2)), rtol=0, atol=1e-12)

    def test_factors_without_a_common_divisor_or_with_one_reach_every_pair_of_numbers(self):
        """Repeating both alike would pair i mod a with i mod b: of 2 and 6 half of the pairs would never meet."""
        for factors in ((2, 7), (2, 6), (4, 4)):
            length = factors[0] * factors[1]
            made = made_of("factorized-dense", length=length, given={
                "score": score("factorized-dense", hidden=F, factors=factors)
            })  # fmt: skip
            branch = made.inner.score.branches["factorized-dense"]
            branch.tiled.weight.data.zero_(), branch.repeated.weight.data.zero_()
            branch.tiled.bias.data = torch.arange(1.0, factors[0] + 1).expand(H, -1).double()
            branch.repeated.bias.data = 100 ** torch.arange(factors[1]).double().expand(H, -1)
            every = torch.arange(length)[None, None]
            logits = branch(rows(1, 1, H, F), type_of_places()(torch.zeros(1, 1, 1).long(), every))

            assert len(set(logits[0, 0, 0].tolist())) == length

    @pytest.mark.parametrize("chosen", [0, 1, 2])
    def test_a_mixture_of_one_branch_is_that_branch(self, chosen):
        of = ("dense", "random", "content")
        made, x = made_of(*of), rows(B, N, C)
        made.inner.score.mixture.data = torch.tensor([60.0 if i == chosen else -60.0 for i in range(3)]).double()
        alone = made_of(of[chosen]) if of[chosen] != "content" else made_of("random", "content")
        for name in ("v", "out"):
            getattr(alone, name).load_state_dict(getattr(made, name).state_dict())
        weight, bias = made.q.weight.reshape(H, D + F, C), made.q.bias.reshape(H, D + F)
        if of[chosen] == "content":
            alone = mixer(attention(heads=H, kv_heads=G, head_dim=D, value_dim=E), C)
            for name in ("k", "v", "out"):
                getattr(alone, name).load_state_dict(getattr(made, name).state_dict())
            alone.q.weight.data, alone.q.bias.data = weight[:, :D].flatten(0, 1), bias[:, :D].flatten()
        else:
            alone.inner.score.branches[of[chosen]].load_state_dict(made.inner.score.branches[of[chosen]].state_dict())
        if of[chosen] == "dense":
            alone.q.weight.data, alone.q.bias.data = weight[:, D:].flatten(0, 1), bias[:, D:].flatten()

        torch.testing.assert_close(made(x, Axis(range(N))).x, alone(x, Axis(range(N))).x, rtol=0, atol=1e-12)

    def test_a_mixture_begins_with_equal_shares(self):
        own = context(C, length=LENGTH, heads=H, head_dim=D).build(score("random", "dense", "content"))

        assert torch.equal(own.mixture, torch.zeros(3))
        assert float(own.share("content", torch.zeros(0))) == pytest.approx(1 / 3)

    @pytest.mark.parametrize("of", EVERY, ids=" ".join)
    def test_answers_are_means_of_values(self, of):
        made, x = made_of(*of), rows(B, N, C)
        made.v.weight.data.zero_(), made.v.bias.data.fill_(1.0), made.out.bias.data.zero_()
        once = made(x, Axis(range(N))).x
        torch.testing.assert_close(once, made.out(torch.ones(B, N, H * E).double()), rtol=0, atol=1e-12)
        made.v.bias.data.fill_(2.0)
        torch.testing.assert_close(made(x, Axis(range(N))).x, 2 * once, rtol=0, atol=1e-12)

    def test_logits_are_not_scaled(self):
        made, x = made_of("random", causal="none", given={"heads": 1, "value_dim": 1}), torch.zeros(1, 2, C).double()
        made.inner.score.branches["random"].table.data.zero_()[0, 0, 1] = 2.0
        made.v.weight.data[:] = 1.0
        made.v.bias.data.zero_(), made.out.weight.data.fill_(1.0), made.out.bias.data.zero_()
        x[0, 1, 0] = 1.0

        found = made(x, Axis(range(2), total=2)).x

        assert float(found[0, 0, 0]) == pytest.approx(exp(2) / (1 + exp(2)))


def type_of_places():
    """The plugin's record of rows and columns, found through the registry: plugins are not imported by name."""
    import sys

    from xcompose.registry import load

    return sys.modules[load().component("score", "synthesizer").build.__module__].Places


class TestParameters:
    """The paper counts for heads together, d being the width of the model: d^2 + d N, N^2 a head, d^2 + d (a + b),
    2 N k a head; here with the biases that its formulas have."""

    @pytest.mark.parametrize(
        ("of", "own"),
        [
            (("dense",), H * (F * C + F + F * LENGTH + LENGTH)),
            (("random",), H * LENGTH**2),
            (("fixed",), 0),
            (("factorized-dense",), H * (F * C + F + (F + 1) * (2 + 7))),
            (("factorized-random",), H * 2 * LENGTH * 8),
            (("random", "content"), H * LENGTH**2 + (H + G) * (D * C + D) + 2),
            (("dense", "factorized-random"), H * (F * C + F + F * LENGTH + LENGTH) + H * 2 * LENGTH * 8 + 2),
        ],
    )
    def test_counts(self, of, own):
        made = made_of(*of)
        values, out = G * E * C + G * E, C * H * E + C

        assert sum(p.numel() for p in made.parameters()) == own + values + out

    def test_without_content_there_are_no_keys_and_a_random_score_asks_no_queries(self):
        assert made_of("dense").k is None
        assert (made_of("random").q, made_of("random").k) == (None, None)
        assert made_of("dense", given={"score": score("dense")}).q.out_features == H * D

    def test_a_fixed_table_is_drawn_once_and_saved(self):
        torch.manual_seed(0)
        one, other = (context(C, length=LENGTH, heads=H, head_dim=D).build(score("fixed")) for _ in range(2))
        assert not torch.equal(one.branches["fixed"].table, other.branches["fixed"].table)

        other.load_state_dict(one.state_dict())

        assert list(one.state_dict()) == ["branches.fixed.table"]
        assert torch.equal(one.branches["fixed"].table, other.branches["fixed"].table)
        assert list(one.parameters()) == []

    @pytest.mark.parametrize("form", ["random", "factorized-random"])
    def test_random_logits_begin_with_the_deviation_that_is_asked_for(self, form):
        torch.manual_seed(0)
        own = context(C, length=64, heads=8, head_dim=D).build(score(form, std=0.5))
        every = torch.arange(64)[None, None]
        logits = own.branches[form](torch.zeros(1, 64, 8, 0), type_of_places()(every, every))

        assert logits.shape == (1, 8, 64, 64)
        assert float(logits.std()) == pytest.approx(0.5, rel=0.05)
        assert abs(float(logits.mean())) < 0.02


class TestDecoding:
    @pytest.mark.parametrize("of", EVERY, ids=" ".join)
    def test_step_by_step_and_ragged_says_what_reading_at_once_says(self, of):
        made, x = made_of(*of), rows(B, N, C)
        whole = made(x, Axis(range(N))).x

        found, state = in_unison(made, x, range(N))
        other, _ = ragged(made, x, [[2, 3], [1, 2], [4, 2]])

        torch.testing.assert_close(found, whole, rtol=1e-10, atol=1e-11)
        torch.testing.assert_close(other, whole, rtol=1e-10, atol=1e-11)
        assert sizes(state) == made.state_shape(N)

    def test_the_state_is_values_alone(self):
        assert made_of("dense").state_shape(N) == {
            "tokens.0.k": (N, G, 0), "tokens.0.v": (N, G, E), "tokens.0.at": (N,)
        }  # fmt: skip
        assert made_of("dense", "content").state_shape(N)["tokens.0.k"] == (N, G, D)

    def test_a_local_pattern_keeps_as_many_as_it_reads(self):
        made, x = made_of("random", "dense", given={"pattern": pattern("window", size=2)}), rows(B, N, C)
        whole = made(x, Axis(range(N))).x

        found, state = in_unison(made, x, [1, 2, 5])

        torch.testing.assert_close(found, whole, rtol=1e-10, atol=1e-11)
        assert sizes(state) == made.state_shape(N)
        assert made.state_shape(N)["tokens.0.v"] == (2, G, E)

    @pytest.mark.parametrize("of", EVERY, ids=" ".join)
    def test_the_future_changes_nothing(self, of):
        made, x = made_of(*of), rows(B, N, C)
        whole = made(x, Axis(range(N))).x
        for split in (1, 3, N - 1):
            other = torch.cat([x[:, :split], 9 * x[:, split:] + 1], 1)
            assert torch.equal(made(other, Axis(range(N))).x[:, :split], whole[:, :split])


class TestPaddingAndLength:
    @pytest.mark.parametrize("of", EVERY, ids=" ".join)
    def test_padding_on_the_right_counts_for_nothing(self, of):
        made, x = made_of(*of, causal="none"), rows(3, N, C)
        valid = torch.arange(N) < torch.tensor([N, 4, 0])[:, None]

        found = made(torch.where(valid[..., None], x, 99.0), Axis(range(N), valid, total=N)).x

        torch.testing.assert_close(found[:1], made(x[:1], Axis(range(N), total=N)).x, rtol=0, atol=1e-12)
        torch.testing.assert_close(found[1:2, :4], made(x[1:2, :4], Axis(range(4), total=4)).x, rtol=0, atol=1e-12)
        assert bool(found.isfinite().all())

    def test_a_longer_sequence_is_refused(self):
        made = made_of("random")
        made(rows(1, LENGTH, C), Axis(range(LENGTH)))

        wanted = "^a sequence of 15 tokens is longer than the 14 columns of score 'synthesizer'$"
        with pytest.raises(ValueError, match=wanted):
            made(rows(1, LENGTH + 1, C), Axis(range(LENGTH + 1)))

        _, state = in_unison(made, rows(2, LENGTH, C), [])
        for at in (range(LENGTH, LENGTH + 1), torch.full((2, 1), LENGTH)):
            with pytest.raises(ValueError, match=wanted):
                made(rows(2, 1, C), Axis(at), state)

    def test_padding_may_stand_behind_the_last_column(self):
        made, x = made_of("random", "content"), rows(2, LENGTH + 3, C)
        valid = torch.arange(LENGTH + 3) < torch.tensor([LENGTH, 2])[:, None]
        found = made(x, Axis(range(LENGTH + 3), valid)).x

        torch.testing.assert_close(found[:, :2], made(x[:, :2], Axis(range(2))).x, rtol=0, atol=1e-12)
        at = torch.arange(LENGTH + 3).expand(2, -1)
        ragged_, _ = made(x, Axis(at, valid), made.start(2, x))[:2]
        torch.testing.assert_close(ragged_[:, :2], found[:, :2], rtol=0, atol=1e-12)


class Largest(TorchDispatchMode):
    """The most numbers that any operation gave, and the most that a whole call gave."""

    def __init__(self):
        super().__init__()
        self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.most = max([self.most, *(t.numel() for t in tree_leaves(found) if isinstance(t, Tensor))])
        return found


class TestWork:
    @pytest.mark.parametrize("of", [("dense",), ("factorized-random",), ("factorized-dense",), ("random",)])
    def test_a_window_never_makes_a_row_of_all_columns(self, of):
        """Forward and backward; gradients of parameters, which have columns themselves, are looked at apart."""
        found = []
        for n in (256, 512, 1024):
            made = made_of(*of, length=1024, given={"pattern": pattern("window", size=8)}).float()
            for p in made.inner.score.parameters():
                p.requires_grad_(False)
            x = rows(1, n, C).float().requires_grad_()
            with Largest() as seen:
                made(x, Axis(range(n))).x.sum().backward()
            found.append(seen.most)

        assert found[2] <= 4 * found[0]
        assert found[2] < 1024 * 1024 / 4

    def test_the_gradient_of_a_table_is_gathered_in_bands(self):
        """Else every tile would fill zeros as large as the table."""
        n = 1024
        made = made_of("random", length=n, given={"heads": 1, "kv_heads": 1, "pattern": pattern("window", size=8)})
        x, count = rows(1, n, C).requires_grad_(), 0
        y = made(x, Axis(range(n))).x.sum()

        class Large(TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                nonlocal count
                found = func(*args, **(kwargs or {}))
                count += not func.is_view and any(
                    t.numel() == n * n for t in tree_leaves(found) if isinstance(t, Tensor)
                )
                return found

        with Large():
            y.backward()
        assert count <= 3

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_large_logits_and_half_precision(self, dtype):
        made, x = made_of("random", "dense", "content").to(dtype), (100 * rows(B, N, C)).to(dtype)
        made.inner.score.branches["random"].table.data.mul_(1e4)

        found = made(x, Axis(range(N))).x

        assert found.dtype == dtype
        assert bool(found.isfinite().all())

    def test_it_compiles_as_one_graph(self):
        made, x = made_of(*EVERY[-1]), rows(1, 20, C)[:, :LENGTH]

        class Alone(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.mixer = made

            def forward(self, t):
                return self.mixer(t, Axis(range(t.shape[1]))).x

        with torch.no_grad():
            found = torch.compile(Alone(), fullgraph=True, backend="eager")(x)
        torch.testing.assert_close(found, made(x, Axis(range(LENGTH))).x, rtol=0, atol=1e-12)

    def test_evaluating_changes_nothing(self):
        made, x = made_of("fixed", "dense").eval(), rows(B, N, C)
        before, seed = {k: v.clone() for k, v in made.state_dict().items()}, torch.get_rng_state()

        assert torch.equal(made(x, Axis(range(N))).x, made(x, Axis(range(N))).x)
        assert torch.equal(torch.get_rng_state(), seed)
        assert all(torch.equal(before[k], v) for k, v in made.state_dict().items())

    @pytest.mark.parametrize("executor", ["explicit", "cached", "reference"])
    def test_keys_without_width_pass_every_executor(self, executor):
        n = 70
        raw, v = rows(B, n, H, F, seed=1)[..., :F], rows(B, n, G, E, seed=2)
        term = made_of("dense", "random", length=n).inner.groups[0].terms
        read = Read(
            raw[..., :0],
            Axis(range(n)),
            Slots(v[..., :0], v, range(n)),
            pattern("window", size=5),
            True,
            1.0,
            term,
            raw,
        )

        torch.testing.assert_close(
            attend([read], executor=executor), attend([read], executor="reference"), rtol=0, atol=1e-12
        )


def refusal(options, causal: str = "strict", **facts) -> dict:
    with pytest.raises(PartError) as caught:
        context(C, causal, **{"length": LENGTH, **facts}).build(options)
    error = caught.value
    return {"message": error.message, "label": error.label, "fixes": error.fixes, "option": error.option}


class TestRefused:
    def test_cross_attention(self):
        assert refusal(attention(heads=H, score=score("random")), role="cross") == {
            "message": "cross-attention cannot use score 'synthesizer'",
            "label": "its logits do not look at the source; the paper, too, keeps softmax there",
            "fixes": ("score=softmax",), "option": "",
        }  # fmt: skip
        assert refusal(attention(heads=H, score=score("random", "content")), role="cross")["message"] == (
            "cross-attention cannot use score 'synthesizer'"
        )

    def test_no_length(self):
        assert refusal(attention(heads=H, score=score("random")), length=None) == {
            "message": "score 'synthesizer' needs the length of the model", "label": "it has a logit for each column",
            "fixes": ("model.length: 512",), "option": "",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("of", "given", "message", "option", "fixes"),
        [
            ((), {}, "score 'synthesizer' takes at least one branch", "of", ("synthesizer(random, dense)",)),
            (
                ("random", "random"), {}, "score 'synthesizer' takes each branch once", "of",
                ("synthesizer(random, dense)",),
            ),
            (("content",), {}, "score 'synthesizer' with 'content' alone is softmax", "of", ("score=softmax",)),
            (
                ("random",), {"hidden": 4},
                "'hidden' belongs to dense and factorized-dense, none of which is mixed here", "hidden",
                ("leave hidden out",),
            ),
            (
                ("dense",), {"factors": (2, 7)}, "'factors' belongs to factorized-dense, which is not mixed here",
                "factors", ("leave factors out",),
            ),
            (
                ("dense", "random"), {"rank": 4}, "'rank' belongs to factorized-random, which is not mixed here",
                "rank", ("leave rank out",),
            ),
            (
                ("dense", "content"), {"std": 0.5},
                "'std' belongs to factorized-random, fixed and random, none of which is mixed here", "std",
                ("leave std out",),
            ),
            (
                ("factorized-dense",), {"factors": (3, 5)},
                "the product of two 'factors' must be 14, one logit for each column", "factors", ("factors=[2, 7]",),
            ),
            (
                ("factorized-dense",), {"factors": (14,)},
                "the product of two 'factors' must be 14, one logit for each column", "factors", ("factors=[2, 7]",),
            ),
        ],
    )  # fmt: skip
    def test_options_that_do_not_fit(self, of, given, message, option, fixes):
        found = refusal(attention(heads=H, score=score(*of, **given)))

        assert (found["message"], found["option"], found["fixes"]) == (message, option, fixes)

    @pytest.mark.parametrize("of", [("random",), ("dense", "content")])
    def test_slots_that_are_not_tokens(self, of):
        memory = part("memory", "conv", factor=3, null="zero")
        options = attention(heads=H, score=score(*of), memory=memory, pattern=pattern("window", size=2))

        assert refusal(options) == {
            "message": "score 'synthesizer' cannot be used with memory 'conv'",
            "label": "its logits belong to places of the sequence, and a slot of this memory is not one of them",
            "fixes": ("memory=null", "score=softmax"), "option": "memory",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("given", "message", "label", "fix"),
        [
            (
                {"position": "rotary"}, "position 'rotary'", "it turns queries and keys, and this score has none",
                "position=none in this layer",
            ),
            (
                {"position": part("position", "all", of=(part("position", "alibi"), part("position", "rotary")))},
                "position 'all'", "it turns queries and keys, and this score has none", "position=none in this layer",
            ),
            (
                {"pattern": pattern("lsh", buckets=4, chunk=4)}, "pattern 'lsh'",
                "its choice looks at queries and keys, and this score has none", "pattern=dense",
            ),
            ({"shared_qk": True}, "shared_qk true", "this score has no queries and keys", "shared_qk=false"),
            ({"add_query": True}, "add_query true", "this score has no queries and keys", "add_query=false"),
            (
                {"scale": "none"}, "scale none", "it divides products of queries and keys, and this score has none",
                "leave scale out",
            ),
        ],
    )  # fmt: skip
    def test_what_needs_queries_and_keys_where_there_are_none(self, given, message, label, fix):
        found = refusal(attention(heads=H, score=score("random"), **given), causal="none")

        assert found == {
            "message": f"score 'synthesizer' cannot be used with {message}",
            "label": label,
            "fixes": (fix, "score=softmax"), "option": message.split(" ")[0],
        }  # fmt: skip

    def test_relative_labels_that_only_queries_ask(self):
        position = part("position", "relative", clip=2)

        assert refusal(attention(heads=H, score=score("random"), position=position)) == {
            "message": "position 'relative' asks queries, and the score of this attention has none", "label": "",
            "fixes": ("bias=true", "position=none in this layer"), "option": "bias",
        }  # fmt: skip

    def test_a_source_is_never_asked_for(self):
        """Self-attention reads no source, whatever it is given."""
        made, x = made_of("random"), rows(B, N, C)
        source = Source(x, Axis(range(N), total=N))

        assert torch.equal(made(x, Axis(range(N)), None, source).x, made(x, Axis(range(N))).x)
