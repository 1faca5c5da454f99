"""Routing against the paper's formula, written with loops."""

from __future__ import annotations

import copy
import math

import attrs
import pytest
import torch
from torch import Tensor
from xcompose_plugins.patterns.routing import Routing, StrictRouting

from tests.plugins.helpers import attention, context, in_unison, mixer, part, pattern, ragged, rows, sizes
from xcompose import build
from xcompose.api import Axis, PartError, Read, Slots, Source
from xcompose.attention.checks import between_clocks, selection
from xcompose.attention.explain import recording
from xcompose.compose.observe import Tally

torch.set_num_threads(1)
B, N, M, H, D, E = 2, 23, 17, 3, 5, 7
DIM = H * D
GIVEN = {"clusters": 4, "window": 6}
FORMS = {
    "published": {}, "unit": {"normalise": "unit"}, "alone": {"alone": True}, "null": {"null": "learned"},
    "few": {"clusters": 11, "window": 2}, "all": {"clusters": 2, "window": 64},
}  # fmt: skip


def layer(causal: str = "value", shared: bool = True, dim: int = DIM, role: str = "self", **given):
    """An attention whose centroids are drawn like vectors, and none of them zero."""
    options = attention(pattern=pattern("routing", **GIVEN | given), heads=H, shared_qk=shared, value_dim=E)
    made = mixer(options, dim, causal, role=role)
    routing(made).means.copy_(rows(H, routing(made).clusters, D, seed=9))
    return made


def routing(made):
    return made.inner.groups[0].pattern


def normalised(x: Tensor, how: str) -> Tensor:
    """One vector (d), as LayerNorm without weights or to length one."""
    if how == "unit":
        return x / (x * x).sum() ** 0.5
    far = x - x.sum() / len(x)
    return far / ((far * far).sum() / len(x)) ** 0.5


def scores(x: Tensor, centroid: Tensor, how: str) -> list[float]:
    """How alike each row (n d) is to a centroid."""
    return [float(normalised(one, how) @ centroid) for one in x]


def the_most_alike(x: Tensor, centroid: Tensor, window: int, how: str) -> list[int]:
    """The rows (n d) of the largest scores, in the order of time."""
    found = scores(x, centroid, how)
    order = sorted(range(len(x)), key=lambda i: (-found[i], i))
    return sorted(order[:window])


def published(part: Routing, q: Tensor, k: Tensor, v: Tensor, causal: bool, shared: bool, scale: float) -> Tensor:
    """One sequence: q (n h d), k (m h d), v (m h e)."""
    out = torch.zeros(q.shape[0], H, v.shape[-1], dtype=q.dtype)
    for h in range(H):
        answers: list[list[Tensor]] = [[] for _ in q]
        for c in range(part.clusters):
            size, centroid, how = part.window, part.means[h, c], part.normalise
            asking = the_most_alike(q[:, h].detach(), centroid, size, how)
            asked = asking if shared else the_most_alike(k[:, h].detach(), centroid, size, how)
            for i in asking:
                readable = [j for j in asked if j <= i or not causal]
                if part.otherwise == "self" and readable != [i]:
                    readable = [j for j in readable if j != i]
                logits = [(q[i, h] @ k[j, h]) * scale for j in readable]
                values = [v[j, h] for j in readable]
                if len(part.nulls):
                    logits.append((q[i, h] @ part.nulls[0][h, c]) * scale)
                    values.append(part.nulls[1][h, c])
                if logits:
                    answers[i].append(torch.softmax(torch.stack(logits), 0) @ torch.stack(values))
        for i, found in enumerate(answers):
            if found:
                out[i, h] = sum(found) / len(found)
    return out


def strict(part: StrictRouting, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """One sequence, of whose rows a query reads the last `window` of its best centroid."""
    out = torch.zeros(q.shape[0], H, v.shape[-1], dtype=q.dtype)
    for h in range(H):
        best = {}
        for name, x in (("q", q), ("k", k)):
            each = [scores(x[:, h].detach(), centroid, part.normalise) for centroid in part.means[h]]
            best[name] = [max(range(part.clusters), key=lambda c: each[c][i]) for i in range(len(x))]
        for i in range(len(q)):
            last = i if part.otherwise == "self" and not part.own else i + 1
            readable = [j for j in range(last) if best["k"][j] == best["q"][i]][-part.window :] or [i]
            weights = torch.softmax(torch.stack([(q[i, h] @ k[j, h]) * scale for j in readable]), 0)
            out[i, h] = weights @ torch.stack([v[j, h] for j in readable])
    return out


def naive(made, x: Tensor, causal: bool, shared: bool, source: Tensor | None = None) -> Tensor:
    """The whole layer, row by row."""
    part, other = routing(made), x if source is None else source
    q = made.q(x).unflatten(-1, (H, D))
    if made.k is None:
        asked = made.q(other).unflatten(-1, (H, D))
        k = asked / asked.norm(dim=-1, keepdim=True)
    else:
        k = made.k(other).unflatten(-1, (H, D))
    v = made.v(other).unflatten(-1, (H, E))
    each = []
    for b in range(len(x)):
        if isinstance(part, Routing):
            each.append(published(part, q[b], k[b], v[b], causal, shared, D**-0.5))
        else:
            each.append(strict(part, q[b], k[b], v[b], D**-0.5))
    return made.out(torch.stack(each).flatten(2))


def is_the_formula(made, x: Tensor, found: Tensor, wanted: Tensor) -> None:
    """Values and all gradients agree."""
    weight = rows(*found.shape, seed=1)
    used = [x, *made.parameters()]
    got = torch.autograd.grad((found * weight).sum(), used, materialize_grads=True, allow_unused=True)
    expected = torch.autograd.grad((wanted * weight).sum(), used, materialize_grads=True, allow_unused=True)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-11)
    for one, other in zip(got, expected, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("causal", ["value", "none"])
@pytest.mark.parametrize("form", FORMS)
def test_the_published_form_is_the_formula_with_its_gradients(form, causal, shared):
    made, x = layer(causal, shared, **FORMS[form]), rows(B, N, DIM).requires_grad_()

    found = made.eval().mix(x, Axis(range(N), total=N if causal == "none" else None))
    is_the_formula(made, x, found.x, naive(made, x, causal == "value", shared))
    assert (found.losses, found.stats) == ({}, {})


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("given", [{}, {"alone": True}, {"window": 1}, {"clusters": 1}, {"window": 99}])
def test_the_strict_form_is_its_formula_with_its_gradients(given, shared):
    made, x = layer("strict", shared, **given), rows(B, N, DIM).requires_grad_()

    is_the_formula(made, x, made.eval().mix(x, Axis(range(N))).x, naive(made, x, True, shared))


@pytest.mark.parametrize("shared", [True, False])
def test_across_sequences_it_reads_whatever_is_alike(shared):
    made = layer("value", shared, role="cross")
    x, source = rows(B, N, DIM).requires_grad_(), rows(B, M, DIM, seed=3)

    found = made.eval().mix(x, Axis(range(N)), Source(source, Axis(range(M), total=M, clock="source")))
    is_the_formula(made, x, found.x, naive(made, x, False, False, source))
    assert between_clocks(routing(made), H) is None


def test_across_sequences_nobody_is_left_out_for_standing_at_the_same_place():
    with pytest.raises(PartError) as caught:
        layer("value", False, role="cross", alone=True)

    assert caught.value.message == "cross-attention cannot use pattern 'routing'"
    assert caught.value.label == ("it compares positions of queries and keys, which mean nothing between two sequences")


def test_across_sequences_padding_of_the_source_takes_nobodys_place():
    made = layer("value", False, role="cross").eval()
    x, source = rows(B, N, DIM), rows(B, M, DIM, seed=3)
    valid = torch.arange(M) < torch.tensor([[M], [9]])
    whole = made.mix(x, Axis(range(N)), Source(source, Axis(range(M), valid, total=M, clock="source"))).x
    short = made.mix(x[1:], Axis(range(N)), Source(source[1:, :9], Axis(range(9), total=9, clock="source"))).x

    assert torch.allclose(whole[1:], short, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 5, 7])
@pytest.mark.parametrize("causal", ["value", "none", "strict"])
def test_sequences_shorter_than_everything(n, causal):
    made, x = layer(causal), rows(B, n, DIM)

    found = made.eval().mix(x, Axis(range(n), total=n if causal == "none" else None)).x
    assert torch.allclose(found, naive(made, x, causal != "none", True), rtol=0, atol=1e-11)


def test_one_cluster_for_all_is_dense_attention():
    made, x = layer("value", clusters=1, window=99), rows(B, N, DIM)
    dense = mixer(attention(pattern=pattern("dense"), heads=H, shared_qk=True, value_dim=E), DIM, "value")
    dense.load_state_dict({name: t for name, t in made.state_dict().items() if "inner" not in name})

    assert torch.allclose(made.mix(x, Axis(range(N))).x, dense.mix(x, Axis(range(N))).x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("causal", ["value", "none", "strict"])
def test_padding_takes_nobodys_place(causal):
    made, x = layer(causal).eval(), rows(B, N, DIM)
    valid, total = torch.arange(N) < torch.tensor([[N], [11]]), N if causal == "none" else None
    whole = made.mix(x, Axis(range(N), valid, total=total)).x
    other = torch.where(valid[..., None], x, 5 * rows(B, N, DIM, seed=8))
    short = made.mix(x[1:, :11], Axis(range(11), total=None if total is None else 11)).x

    assert torch.allclose(whole[1, :11], short[0], rtol=0, atol=1e-12)
    assert torch.allclose(made.mix(other, Axis(range(N), valid, total=total)).x[1, :11], short[0], rtol=0, atol=1e-12)


def test_of_equal_vectors_the_earliest_are_taken():
    made = context(DIM, "value", heads=H, head_dim=D).build(pattern("routing", **GIVEN)).double()
    made.means.zero_()
    asking, asked = made.members(rows(B, N, H, D), rows(B, N, H, D, seed=1), Axis(range(N)), None)

    assert (asking == (torch.arange(N) < 6)).all()
    assert (asked == asking).all()


def test_a_row_stands_in_some_clusters_in_several_or_in_none():
    made = layer("value", clusters=4, window=6)
    q = rows(B, N, H, D, seed=4)
    asking, _ = routing(made).members(q, q, Axis(range(N)), None)
    often = asking.sum(2)

    assert (asking.sum(-1) == 6).all()
    assert {0, 1, 2} <= set(often.flatten().tolist())


def test_a_row_in_no_cluster_says_nothing():
    made, x = layer("value"), rows(B, N, DIM)
    part = routing(made)
    q = made.q(x).unflatten(-1, (H, D))
    nowhere = ~part.members(q, q, Axis(range(N)), None)[0].any(2)
    k, v = torch.nn.functional.normalize(q, dim=-1), rows(B, N, H, E, seed=6)
    with recording() as choices:
        y = made.inner._attended([Read(q, Axis(range(N)), Slots(k, v, range(N)), part, True, 1.0)])

    assert choices[0].executor == "clusters"
    assert 0 < nowhere.sum() < nowhere.numel()
    assert ((y == 0).all(-1) == nowhere.transpose(1, 2)).all()


def test_it_is_linear_in_the_values():
    made, x = layer("value"), rows(B, N, DIM)
    before = made.mix(x, Axis(range(N))).x - made.out.bias
    with torch.no_grad():
        made.v.weight.mul_(2)
        made.v.bias.mul_(2)

    assert torch.allclose(made.mix(x, Axis(range(N))).x - made.out.bias, 2 * before, rtol=0, atol=1e-12)


# What the future may do ----------------------------------------------------------------------------------------------


def perturbed(made, x: Tensor, after: int) -> Tensor:
    """How much the answers up to a position change where all rows behind it are others."""
    other = torch.cat([x[:, : after + 1], 3 * rows(*x.shape, seed=12)[:, after + 1 :]], 1)
    axis = Axis(range(x.shape[1]))
    return (made.mix(x, axis).x - made.mix(other, axis).x)[:, : after + 1].abs().amax()


@pytest.mark.parametrize("after", [4, 5, 6, 11])
def test_the_published_form_reads_nothing_of_the_future_and_is_chosen_by_it(after):
    """Gradients and values are causal; the choice is not, which is why a strict decoder refuses it."""
    made, x = layer("value").eval(), rows(B, N, DIM).requires_grad_()
    (grad,) = torch.autograd.grad(made.mix(x, Axis(range(N))).x[:, : after + 1].sum(), x)
    assert (grad[:, after + 1 :] == 0).all()

    q, k, v = rows(B, N, H, D, seed=2), rows(B, N, H, D, seed=2), rows(B, N, H, E, seed=3)
    later = torch.cat([v[:, : after + 1], 3 * rows(B, N, H, E, seed=4)[:, after + 1 :]], 1)
    reads = [Read(q, Axis(range(N)), Slots(k, one, range(N)), routing(made), True, 1.0) for one in (v, later)]
    one, other = (made.inner._attended([read]) for read in reads)
    assert (one - other)[:, : after + 1].abs().max() == 0

    assert perturbed(made, x, after) > 1e-3


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("after", [4, 5, 6, 11])
def test_the_strict_form_does_not_know_the_future(after, shared):
    assert perturbed(layer("strict", shared).eval(), rows(B, N, DIM), after) < 1e-13


def test_only_the_strict_form_keeps_what_a_strict_decoder_promises():
    assert isinstance(routing(layer("strict")), StrictRouting)
    assert isinstance(routing(layer("value")), Routing)
    assert isinstance(routing(layer("none")), Routing)
    assert selection(routing(layer("strict")), "strict", H) is None
    with pytest.raises(PartError) as caught:
        layer("strict", form="published")

    assert caught.value.message == "a decoder cannot use pattern 'routing'"
    assert caught.value.label == (
        "it chooses by looking at the whole sequence, so what a query reads of the past depends on the future"
    )
    assert caught.value.fixes == (
        "form=strict", "use it in an encoder", "model.causal: value admits it, and gives up exact decoding",
    )  # fmt: skip


# Decoding -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("given", [{}, {"alone": True}, {"window": 2}])
def test_the_strict_form_goes_on_exactly_with_the_state_it_says(given, shared):
    made, x = layer("strict", shared, **given).eval(), rows(B, N, DIM)
    whole = made.mix(x, Axis(range(N))).x
    window = (GIVEN | given)["window"]

    for cuts in (range(N), [5, 6, 17], [1]):
        found, state = in_unison(made, x, cuts)
        assert torch.allclose(found, whole, rtol=0, atol=1e-12)
        assert sizes(state) == made.state_shape(N)
    assert made.state_shape(N)["tokens.0.k"] == (min(N, 4 * window), H, D)
    assert made.state_shape(10**6)["tokens.0.v"] == (4 * window, H, E)


def test_the_strict_form_goes_on_where_sequences_stand_at_times_of_their_own():
    made, x = layer("strict").eval(), rows(B, N, DIM)
    whole = made.mix(x, Axis(range(N))).x
    found, _ = ragged(made, x, [(3, 1), (0, 4), (1, 1), (8, 2), (2, 9)])

    assert torch.allclose(found[0, :14], whole[0, :14], rtol=0, atol=1e-12)
    assert torch.allclose(found[1, :17], whole[1, :17], rtol=0, atol=1e-12)


def test_the_published_form_chooses_again_at_each_step():
    made, x = layer("value").eval(), rows(B, N, DIM)
    steps, state = in_unison(made, x, range(N))

    for n in (1, 7, N):
        assert torch.allclose(steps[:, n - 1], made.mix(x[:, :n], Axis(range(n))).x[:, -1], rtol=0, atol=1e-12)
    assert not torch.allclose(steps, made.mix(x, Axis(range(N))).x, rtol=0, atol=1e-3)
    assert sizes(state) == made.state_shape(N) == {"x": (N, DIM), "at": (N,)}


# How centroids learn --------------------------------------------------------------------------------------------------


def counted(part, vectors: list[tuple[int, Tensor]]) -> tuple[Tensor, Tensor, float]:
    """Counts, sums and the mean squared distance of vectors by head, one at a time."""
    counts, sums, far = torch.zeros(H, part.clusters), torch.zeros(H, part.clusters, D), []
    for h, vector in vectors:
        x = normalised(vector, part.normalise)
        best = max(range(part.clusters), key=lambda c: float(x.detach() @ part.means[h, c]))
        counts[h, best] += 1
        sums = sums.double()
        sums[h, best] += x.detach()
        far.append(((x - part.means[h, best]) ** 2).sum())
    return counts.double(), sums, sum(far) / len(far)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("causal", ["value", "none", "strict"])
@pytest.mark.parametrize("how", ["layer", "unit"])
def test_what_a_call_counts_and_what_it_adds_to_the_loss(causal, shared, how):
    made, x = layer(causal, shared, normalise=how, beta=0.7).train(), rows(B, N, DIM).requires_grad_()
    part = routing(made)
    part.label = "here"
    valid = torch.arange(N) < torch.tensor([[N], [11]])
    projected = [made.q(x)] if shared else [made.q(x), made.k(x)]
    vectors = [
        (h, t.unflatten(-1, (H, D))[b, i, h])
        for t in projected for b in range(B) for i in range(N) for h in range(H) if valid[b, i]
    ]  # fmt: skip
    counts, sums, far = counted(part, vectors)
    before = {name: t.clone() for name, t in part.state_dict().items()}

    found = made.mix(x, Axis(range(N), valid, total=N if causal == "none" else None))

    assert set(found.stats) == {"@here@counts", "@here@sums"}
    assert (found.stats["@here@counts"] == counts).all()
    assert torch.allclose(found.stats["@here@sums"], sums, rtol=0, atol=1e-10)
    assert torch.allclose(found.losses["commitment"], 0.7 * far, rtol=0, atol=1e-10)
    (got,), (expected,) = (torch.autograd.grad(loss, x) for loss in (found.losses["commitment"], 0.7 * far))
    assert torch.allclose(got, expected, rtol=0, atol=1e-10)
    assert all((part.state_dict()[name] == t).all() for name, t in before.items())


def test_across_sequences_both_are_counted():
    made = layer("value", True, role="cross").train()
    x, source = rows(B, N, DIM), rows(B, M, DIM, seed=3)
    valid = torch.arange(M) < torch.tensor([[M], [9]])
    found = made.mix(x, Axis(range(N)), Source(source, Axis(range(M), valid, total=M, clock="source")))

    assert found.stats["@@counts"].sum() == H * (B * N + M + 9)
    assert found.losses["commitment"] > 0


def test_the_moving_sums_follow_the_formula_and_a_centroid_without_vectors_stays():
    part = context(DIM, "value", heads=H, head_dim=D).build(pattern("routing", decay=0.9, **GIVEN)).double()
    part.counts.copy_(rows(H, 4).abs() + 0.5)
    part.sums.copy_(rows(H, 4, D, seed=1))
    n, m, mu = (t.tolist() for t in (part.counts, part.sums, part.means))
    counts, sums = rows(H, 4, seed=2).abs().round() * 3, rows(H, 4, D, seed=3)
    counts[1, 2] = 0
    sums[1, 2] = 0

    part.learn({"counts": counts, "sums": sums})

    for h in range(H):
        n[h] = [0.9 * a + 0.1 * float(b) for a, b in zip(n[h], counts[h], strict=True)]
        total = sum(n[h])
        for c in range(4):
            m[h][c] = [0.9 * a + 0.1 * float(b) for a, b in zip(m[h][c], sums[h, c], strict=True)]
            smooth = (n[h][c] + 1e-5) / (total + 4e-5) * total
            if counts[h, c] > 0:
                mu[h][c] = [a / smooth for a in m[h][c]]
    for found, wanted in ((part.counts, n), (part.sums, m), (part.means, mu)):
        assert torch.allclose(found, torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (counts == 0).sum() > 1


def test_centroids_start_with_the_norm_of_vectors_and_the_weight_of_one():
    for how, norm in (("layer", math.sqrt(D)), ("unit", 1.0)):
        part = context(DIM, "value", heads=H, head_dim=D).build(pattern("routing", normalise=how, **GIVEN))
        assert torch.allclose(part.means.norm(dim=-1), torch.tensor(norm))
        assert (part.counts == 1).all()
        assert (part.sums == part.means).all()
        assert [name for name, _ in part.named_buffers()] == ["means", "counts", "sums"]
        assert not list(part.parameters())


def test_vectors_of_zero_stay_zero():
    for how in ("layer", "unit"):
        part = context(DIM, "value", heads=H, head_dim=D).build(pattern("routing", normalise=how, **GIVEN))
        assert (part.normalised(torch.zeros(2, D)) == 0).all()
        norm = {"layer": math.sqrt(D), "unit": 1.0}[how]
        assert (part.normalised(rows(9, D)).norm(dim=-1) - norm).abs().max() < 1e-12


def test_evaluating_changes_nothing_and_counts_nothing():
    made, x = layer("value").eval(), rows(B, N, DIM)
    before, state = copy.deepcopy(made.state_dict()), torch.get_rng_state()
    one, other = (made.mix(x, Axis(range(N))) for _ in range(2))

    assert (one.x == other.x).all()
    assert (one.losses, one.stats) == ({}, {})
    assert all((made.state_dict()[name] == t).all() for name, t in before.items())
    assert (torch.get_rng_state() == state).all()


def test_scores_are_exact_under_automatic_half_precision():
    made = context(DIM, "value", heads=H, head_dim=D).build(pattern("routing", **GIVEN))
    q = rows(B, N, H, D).float()
    wanted = made.scores(q)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = made.scores(q)
        seen = made.train().observe(Read(q, Axis(range(N)), Slots(q, q, range(N)), made, True, 1.0))

    assert found.dtype == torch.float32
    assert (found == wanted).all()
    assert {t.dtype for t in (*seen.losses.values(), *seen.stats.values())} == {torch.float32}


def test_half_precision_and_large_logits_give_numbers():
    made, x = layer("value").to(torch.bfloat16), (1e4 * rows(B, N, DIM)).to(torch.bfloat16)
    valid = torch.zeros(B, N, dtype=torch.bool)

    assert made.mix(x, Axis(range(N))).x.isfinite().all()
    assert made.mix(x, Axis(range(N), valid)).x.isfinite().all()


# What is refused ------------------------------------------------------------------------------------------------------


def test_slots_beside_the_clusters_are_refused():
    routed = pattern("routing", **GIVEN)
    with pytest.raises(PartError) as caught:
        mixer(attention(pattern=routed, heads=H, memory=part("memory", "conv", factor=3)), DIM, "value")

    assert caught.value.message == "memory 'conv' cannot be used with pattern 'routing' in this form"
    assert caught.value.label == (
        "each cluster has a softmax of its own, and slots beside the tokens would belong to none"
    )
    assert caught.value.fixes == ("form=strict", "memory: none in this layer")
    assert caught.value.option == "memory"


def test_the_strict_form_shares_its_softmax_with_a_memory():
    options = attention(pattern=pattern("routing", **GIVEN), heads=H, memory=part("memory", "conv", factor=3))
    made, x = mixer(options, DIM, "strict").eval(), rows(B, N, DIM)

    assert torch.allclose(in_unison(made, x, [3, 4, 11])[0], made.mix(x, Axis(range(N))).x, rtol=0, atol=1e-12)


def test_heads_that_are_not_its_own_are_refused():
    both = part("pattern", "heads", of=((1, pattern("routing", **GIVEN)), (2, pattern("window", size=3))))
    with pytest.raises(PartError) as caught:
        mixer(attention(pattern=both, heads=H), DIM, "value")

    assert caught.value.message == "routing has centroids for each of 3 heads and cannot serve 1 of them"
    assert caught.value.fixes == ("the mixer heads(...), which gives each group an attention of its own",)


def test_the_strict_form_has_no_null_slots():
    with pytest.raises(PartError) as caught:
        layer("strict", null="learned")

    assert caught.value.message == "the strict form of routing has no null slots"
    assert caught.value.label == "a query that may read nothing else reads itself"
    assert caught.value.fixes == ("null=none",)
    assert caught.value.option == "null"


def test_an_encoder_has_no_strict_form():
    with pytest.raises(PartError) as caught:
        layer("none", form="strict")

    assert caught.value.message == "the strict form is for decoders"


# In models ------------------------------------------------------------------------------------------------------------


def model(residual: str = "pre-norm", mixer: str = "", **given):
    """Two layers of two heads, with another attention beside the routing one."""
    routed = "attention(pattern=routing(3, window=5), shared_qk=true)"
    torch.manual_seed(0)
    spec = {
        "xcompose": 1,
        "model": {
            "type": "decoder", "causal": "value", "dim": 16, "heads": 2, "vocab": 11, "layers": 2, "residual": residual,
            "mixer": mixer or f"heads(attention(pattern=window(4)), {routed})",
        },
    } | given  # fmt: skip
    return build(spec).double()


def learnt(made, tokens: Tensor, times: int = 1) -> dict[str, Tensor]:
    """The buffers after one optimizer step, of a model that is left as it was."""
    made, tally = copy.deepcopy(made), Tally()
    for _ in range(times):
        with tally.watching(made):
            out = made(tokens)
        sum(out.losses.values(), out.logits.square().mean()).backward()
    with torch.no_grad():
        tally.teach(made)
    return dict(made.named_buffers())


def seen(made, tokens: Tensor) -> dict[str, Tensor]:
    """The statistics of one call, by module and name, added over layers."""
    tally = Tally()
    with tally.watching(made):
        made(tokens)
    return {".".join(key): value for key, value in tally.sums.items()}


TOKENS = torch.arange(2 * 19).view(2, 19) * 7 % 11


def test_each_layer_counts_for_itself_and_learns_once_a_step():
    made = model().train()
    counts = seen(made, TOKENS)

    assert sorted({key.rpartition(".")[0] for key in counts}) == [
        f"stack.layers.{layer}.mixer.of.1.inner.patterns.0" for layer in (0, 1)
    ]
    assert [float(value.sum()) for key, value in counts.items() if key.endswith("counts")] == [38.0, 38.0]
    one, two = learnt(made, TOKENS), learnt(made, TOKENS, times=2)
    for name, buffer in made.named_buffers():
        if name.endswith("patterns.0.counts"):
            count = counts[name]
            assert torch.allclose(one[name], 0.999 * buffer + 0.001 * count, rtol=0, atol=1e-12)
            assert torch.allclose(two[name], 0.999 * buffer + 0.002 * count, rtol=0, atol=1e-12)
        if name.endswith("patterns.0.means"):
            assert (one[name] != buffer).any()


@pytest.mark.parametrize("how", ["reversible", "recompute"])
def test_what_is_computed_again_is_chosen_alike_and_counted_once(how):
    made = model("reversible" if how == "reversible" else "pre-norm").train()
    other = copy.deepcopy(made)
    if how == "recompute":
        made.stack.recompute = True
        wanted = learnt(other, TOKENS)
    else:
        # Without a gradient nothing is computed again.
        tally = Tally()
        with torch.no_grad(), tally.watching(other):
            other(TOKENS)
            tally.teach(other)
        wanted = dict(other.named_buffers())
    found = learnt(made, TOKENS)

    assert list(found) == list(wanted)
    for name, buffer in found.items():
        assert torch.allclose(buffer, wanted[name], rtol=0, atol=1e-12)


def test_recomputing_gives_the_same_gradients():
    made = model().train()
    again = copy.deepcopy(made)
    again.stack.recompute = True
    gradients = []
    for one in (made, again):
        out = one(TOKENS)
        loss = sum(out.losses.values(), out.logits.square().mean())
        gradients.append(torch.autograd.grad(loss, list(one.parameters())))

    assert len(made(TOKENS).losses) == 2
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-13)


def test_layers_that_share_add_what_they_count_and_learn_once():
    made = model(addons=["share"]).train()
    counts = seen(made, TOKENS)
    name = "stack.layers.0.mixer.of.1.inner.patterns.0"

    assert sorted(counts) == [f"{name}.counts", f"{name}.sums"]
    assert float(counts[f"{name}.counts"].sum()) == 2 * 38
    buffers = dict(made.named_buffers())
    wanted = 0.999 * buffers[f"{name}.counts"] + 0.001 * counts[f"{name}.counts"]
    assert torch.allclose(learnt(made, TOKENS)[f"{name}.counts"], wanted, rtol=0, atol=1e-12)


def test_a_model_that_evaluates_counts_nothing():
    made = model().eval()
    out = made(TOKENS)

    assert (out.losses, out.stats) == ({}, {})


def test_what_was_learnt_is_saved():
    made = model().train()
    made.load_state_dict(learnt(made, TOKENS), strict=False)
    fresh = model()
    fresh.load_state_dict(made.state_dict())

    assert (fresh.eval()(TOKENS).logits == made.eval()(TOKENS).logits).all()
    assert sum("patterns.0" in name for name in made.state_dict()) == 6


def test_relative_positions_are_those_of_the_rows_that_were_gathered():
    """Queries and keys stand side by side in a cluster; their distance is still that in the text."""
    options = attention(
        pattern=pattern("routing", clusters=1, window=99), position=part("position", "relative", clip=4, values=True),
        heads=H, shared_qk=True,
    )  # fmt: skip
    made, dense = mixer(options, DIM, "value"), mixer(dense_instead(options), DIM, "value")
    dense.load_state_dict({k: t for k, t in made.state_dict().items() if ".patterns." not in k}, strict=False)
    x = rows(B, N, DIM)

    assert torch.allclose(made.mix(x, Axis(range(N))).x, dense.mix(x, Axis(range(N))).x, rtol=0, atol=1e-12)


def dense_instead(options):
    """The same attention that reads everything."""
    return attrs.evolve(options, pattern=pattern("dense"))
