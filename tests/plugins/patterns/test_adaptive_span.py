"""Adaptive spans against the paper's formula, written with loops."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from xcompose_plugins.patterns.adaptive_span import AdaptiveSpan, Behind

from tests.plugins.helpers import attention, context, in_unison, mixer, part, pattern, ragged, rows, sizes
from xcompose import build
from xcompose.api import AfterStep, Axis, PartError, Point
from xcompose.attention.counts import kept, pairs
from xcompose.attention.explain import recording
from xcompose.attention.visible import visible_matrix

from .owed import last_readers, owes

N, DIM, HEADS, SIZE, RAMP = 29, 12, 3, 17, 5.0
SHARES = (0.03, 0.31, 0.83)
"""Spans of 0.51, 5.27 and 14.11 positions."""
REACHES = [6, 11, 17]


def spans(**given) -> AdaptiveSpan:
    made = context(DIM, heads=HEADS).build(pattern("adaptive-span", **{"size": SIZE, "ramp": RAMP} | given)).double()
    with torch.no_grad():
        made.v.copy_(torch.tensor(SHARES))
    return made


def layer(**given):
    options = attention(pattern=pattern("adaptive-span", size=SIZE, ramp=RAMP, loss=0.7), heads=HEADS, **given)
    made = mixer(options, DIM)
    with torch.no_grad():
        made.inner.patterns[0].v.copy_(torch.tensor(SHARES))
    return made


def naive(made, x: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Equations of the paper, one query, one head and one key at a time."""
    b, n, c = x.shape
    d = c // HEADS
    q, k, v = (projection(x).view(b, n, HEADS, d) for projection in (made.q, made.k, made.v))
    read = torch.zeros(b, n, HEADS, d, dtype=x.dtype)
    for i in range(b):
        for t in range(n):
            for h in range(HEADS):
                before = range(max(0, t - SIZE), t)
                weights = [
                    torch.clamp((RAMP + SIZE * shares[h] - (t - j - 1)) / RAMP, 0, 1)
                    * torch.exp(q[i, t, h] @ k[i, j, h] / math.sqrt(d))
                    for j in before
                ]
                if weights:
                    total = sum(weights)
                    read[i, t, h] = sum(w / total * v[i, j, h] for w, j in zip(weights, before, strict=True))
    return made.out(read.flatten(2))


def test_it_is_the_formula_with_the_gradients_of_rows_weights_and_spans():
    made, x = layer(), rows(2, N, DIM).requires_grad_()
    weight = rows(2, N, DIM, seed=1)
    shares = made.inner.groups[0].pattern.v

    found = made.mix(x, Axis(range(N)))
    wanted = naive(made, x, shares)
    got = torch.autograd.grad((found.x * weight).sum(), [x, *made.parameters()], retain_graph=True)
    expected = torch.autograd.grad((wanted * weight).sum(), [x, *made.parameters()])

    assert torch.allclose(found.x, wanted, rtol=0, atol=1e-12)
    for one, other in zip(got, expected, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-11)
    assert (expected[-1] != 0).all()
    assert torch.allclose(found.losses["span"], 0.7 * SIZE * torch.tensor(SHARES).double().mean(), rtol=1e-7)


def test_a_key_where_the_ramp_ends_has_its_gradient():
    """Spans start there: z is 0, and the first key that is not read has a mask of 0 and a slope."""
    made, x = layer(), rows(1, N, DIM)
    shares = made.inner.patterns[0].v
    with torch.no_grad():
        shares[:2] = torch.tensor([0, 2 / SIZE], dtype=torch.float64)
    weight = rows(1, N, DIM, seed=1)

    found, wanted = made.mix(x, Axis(range(N))).x, naive(made, x, shares)
    (got,) = torch.autograd.grad((found * weight).sum(), [shares])
    (expected,) = torch.autograd.grad((wanted * weight).sum(), [shares])

    assert torch.allclose(found, wanted, rtol=0, atol=1e-12)
    assert torch.allclose(got, expected, rtol=0, atol=1e-11)


def test_the_loss_pulls_every_span_alike():
    made = layer()
    (pull,) = torch.autograd.grad(made.mix(rows(1, 3, DIM), Axis(range(3))).losses["span"], [made.inner.patterns[0].v])

    assert pull.tolist() == pytest.approx([0.7 * SIZE / HEADS] * HEADS)


def test_the_first_query_reads_nothing_and_says_nothing():
    made = layer(bias=False)

    assert made.mix(rows(1, N, DIM), Axis(range(N))).x[:, 0].abs().max() == 0


def test_without_any_ramp_left_it_is_a_window_that_leaves_out_the_query():
    made = layer()
    with torch.no_grad():
        made.inner.groups[0].pattern.v.fill_(1)
    other = copy.deepcopy(made)
    other.inner.groups = [other.inner.groups[0]._replace(pattern=Behind(SIZE), terms=())]
    x = rows(2, N, DIM)

    assert torch.allclose(made.mix(x, Axis(range(N))).x, other.mix(x, Axis(range(N))).x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("reach", [0, 1, 3, 31, 100])
def test_what_a_head_reads_is_covered_once(reach):
    for n in (1, 2, 13, 29):
        owes(Behind(reach), n, lambda i, j: 1 <= i - j <= reach)


def test_longer_than_a_tile():
    owes(Behind(90), 200, lambda i, j: 1 <= i - j <= 90)


def test_each_head_reads_as_far_as_its_mask_is_above_zero():
    made = spans()
    matrix = visible_matrix(made, 40, True, HEADS)

    assert made.reaches() == REACHES
    for h, share in enumerate(SHARES):
        z = SIZE * share
        seen = [[0 < i - j <= SIZE and RAMP + z - (i - j - 1) > 0 for j in range(40)] for i in range(40)]
        assert matrix[h].tolist() == seen


def test_pairs_are_the_closed_form():
    made = spans()
    for n in (1, 7, 40):
        closed = [sum(min(i, math.ceil(SIZE * share) + RAMP, SIZE) for i in range(n)) for share in SHARES]
        assert visible_matrix(made, n, True, HEADS).sum((1, 2)).tolist() == closed
        assert [pairs(Behind(reach), n, True) for reach in made.reaches()] == closed
        assert pairs(made, n, True) == max(closed)


def test_a_slot_is_kept_for_the_widest_head():
    made = spans()
    with torch.no_grad():
        made.v.mul_(0.5)

    assert made.reaches() == [6, 8, 13]
    assert [made.last_reader(at) for at in range(20)] == last_readers(made.widest(), 20, 60)
    assert (kept(made, 50), kept(made, 9)) == (13, 9)


def test_plans_are_made_in_steps_of_64_and_never_beyond_the_whole():
    made = spans(size=1000, ramp=32)
    reached = []
    for share in (0.0, 0.03, 0.0321, 0.9, 1.0):
        with torch.no_grad():
            made.v.fill_(share)
        reached.append((made.reaches()[0], made.present()))

    assert reached == [
        (32, Behind(64)), (62, Behind(64)), (65, Behind(128)), (932, Behind(960)), (1000, Behind(1000)),
    ]  # fmt: skip


def test_on_the_meta_device_it_costs_the_whole():
    assert spans(size=500).to("meta").reaches() == [500] * HEADS


def test_few_plans_serve_spans_that_move():
    made = layer()
    x = rows(1, N, DIM)
    with recording() as choices:
        for share in (0.0, 0.01, 0.02):
            with torch.no_grad():
                made.inner.groups[0].pattern.v.fill_(share)
            made.mix(x, Axis(range(N)))

    assert {choice.executor for choice in choices} == {"explicit"}
    assert {choice.reason for choice in choices} == {"terms are added to the logits"}


def test_after_a_step_spans_stay_between_nothing_and_all():
    made = spans()
    with torch.no_grad():
        made.v.copy_(torch.tensor([-0.25, 0.5, 1.75]))
        assert isinstance(made, AfterStep)
        made.after_step()

    assert made.v.tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("cuts", [range(1, N), (7, 8, 20), (1,)])
def test_step_by_step_it_is_the_same(cuts):
    made, x = layer(), rows(2, N, DIM)

    with torch.no_grad():
        found, _ = in_unison(made, x, cuts)

    assert torch.allclose(found, made.mix(x, Axis(range(N))).x, rtol=0, atol=1e-12)


def test_ragged_steps_are_the_same():
    made, x = layer(), rows(2, N, DIM)
    steps = [[11, 3], [0, 9], [18, 17]]

    with torch.no_grad():
        found, _ = ragged(made, x, steps)

    assert torch.allclose(found, made.mix(x, Axis(range(N))).x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shares", [SHARES, (0.0, 0.1, 0.2)])
def test_the_state_is_what_the_widest_head_reads(shares):
    made, x = layer(), rows(1, N, DIM)
    with torch.no_grad():
        made.inner.groups[0].pattern.v.copy_(torch.tensor(shares))
    reach = min(SIZE, math.ceil(SIZE * max(shares)) + int(RAMP))

    for n in (1, 6, N):
        with torch.no_grad():
            _, state = in_unison(made, x[:, :n], range(1, n))
        assert sizes(state) == made.state_shape(n)
        assert made.state_shape(n)["tokens.0.k"] == (min(n, reach), HEADS, DIM // HEADS)


def test_a_batch_of_one_is_a_row_of_a_padded_one():
    made, x = layer(), rows(2, N, DIM)
    valid = torch.arange(N) < torch.tensor([[N], [13]])

    padded = made.mix(x * valid[..., None], Axis(range(N), valid)).x

    assert torch.allclose(padded[1, :13], made.mix(x[1:, :13], Axis(range(13))).x[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("causal", ["none", "cross"])
def test_elsewhere_it_is_refused(causal):
    role = {"role": "cross"} if causal == "cross" else {}
    with pytest.raises(PartError) as error:
        mixer(attention(pattern=pattern("adaptive-span", size=8), heads=HEADS), DIM, "none", **role)

    assert str(error.value) == "adaptive-span works in a decoder's own attention only"
    assert error.value.label == "its distances count from a query back into its past"
    assert tuple(error.value.fixes) == ("type: decoder", "window(size) reads both sides")


def test_a_query_that_reads_nothing_must_be_wanted():
    with pytest.raises(PartError) as error:
        mixer(attention(pattern=pattern("adaptive-span", size=8), heads=HEADS, silence="refuse"), DIM)

    assert str(error.value) == "pattern 'adaptive-span' leaves queries without a key"
    assert error.value.label == "query 0 may read no key at all (3 of 96 queries read nothing)"


@pytest.mark.parametrize("name", ["union", "intersection", "difference"])
def test_a_set_does_not_hold_weights(name):
    several = pattern(name, of=(pattern("window", size=2), pattern("adaptive-span", size=8)))
    with pytest.raises(PartError) as error:
        mixer(attention(pattern=several, heads=HEADS), DIM)

    assert str(error.value) == f"{name} cannot join a pattern that weighs the pairs it allows"
    assert error.value.label == (
        "a set of pairs has no weights, so a pair that another pattern has, too, would have none or two"
    )


def test_some_heads_of_a_layer_need_an_attention_of_their_own():
    grouped = pattern("heads", of=((2, pattern("adaptive-span", size=8)), (1, pattern("window", size=2))))
    with pytest.raises(PartError) as error:
        mixer(attention(pattern=grouped, heads=HEADS), DIM)

    assert str(error.value) == "adaptive-span has a span for each of 3 heads and cannot serve 2 of them"


def test_rows_of_earlier_segments_are_weighed_like_the_segment_s_own():
    made, x = layer(), rows(2, N, DIM)
    carried = layer(recurrence=part("recurrence", "segments", length=7, memory=SIZE))
    carried.load_state_dict(made.state_dict())

    found = carried.mix(x, Axis(range(N)))
    with torch.no_grad():
        stepped, _ = in_unison(carried, x, range(1, N))

    assert torch.allclose(found.x, made.mix(x, Axis(range(N))).x, rtol=0, atol=1e-12)
    assert torch.allclose(stepped, found.x, rtol=0, atol=1e-12)
    assert carried.visible(N)[0].matrix.tolist() == made.visible(N)[0].matrix.tolist()


def test_slots_that_stand_for_many_positions_keep_their_weight():
    made = spans()
    (term,) = made.terms(HEADS)
    q = torch.zeros(1, 1, HEADS, 4, dtype=torch.float64)
    label = term.label(
        Point(at=torch.tensor([[30]])),
        Point(at=torch.tensor([1, 1]), start=torch.tensor([1, 0]), end=torch.tensor([1, 3])),
    )

    assert label.tolist() == [[29, 0]]
    assert term.bias(q, label).tolist() == [[[-math.inf, 0.0]]] * HEADS


def test_a_model_trains_its_spans_and_saves_them():
    torch.manual_seed(0)
    model = build(
        {
            "xcompose": 1,
            "model": {
                "type": "decoder", "dim": 8, "heads": 2, "vocab": 11, "layers": 2,
                "mixer": "attention(pattern=adaptive-span(16, ramp=4, start=0.5, loss=0.001), silence=zero)",
            },
        }
    )  # fmt: skip
    names = [name for name in model.state_dict() if name.endswith(".v")]
    tokens = torch.randint(11, (2, 13))
    out = model(tokens)
    (out.logits.sum() + sum(out.losses.values())).backward()

    assert len(names) == 2
    assert all((p.grad is not None) for p in model.parameters())
    assert [round(value.item(), 9) for value in out.losses.values()] == [0.008, 0.008]
    assert np.isfinite(out.logits.detach().numpy()).all()


class Alone(torch.nn.Module):
    """A layer as a function of its rows."""

    def __init__(self, made):
        super().__init__()
        self.made = made

    def forward(self, x):
        mixed = self.made.mix(x, Axis(range(x.shape[1])))
        return mixed.x, mixed.losses["span"]


def test_an_exported_graph_serves_any_spans():
    made, x = layer(), rows(1, N, DIM)
    graph = torch.export.export(Alone(made), (x,)).module()
    graph.load_state_dict(Alone(made).state_dict())

    with torch.no_grad():
        for parameter in (made.inner.patterns[0].v, graph.get_parameter("made.inner.patterns.0.v")):
            parameter.copy_(torch.tensor([0.9, 0.05, 0.0]))
        wanted, found = Alone(made)(x), graph(x)

    assert torch.allclose(found[0], wanted[0], rtol=0, atol=1e-12)
    assert torch.allclose(found[1], wanted[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("recurrence", [None, part("recurrence", "segments", length=7, memory=SIZE)])
def test_a_compiled_layer_serves_any_spans(recurrence):
    torch._dynamo.reset()
    made, x = layer(recurrence=recurrence), rows(1, N, DIM)
    compiled = torch.compile(Alone(made), fullgraph=True, backend="aot_eager")

    for shares in (SHARES, (0.9, 0.05, 0.0)):
        with torch.no_grad():
            made.inner.patterns[0].v.copy_(torch.tensor(shares))
        assert torch.allclose(compiled(x)[0], Alone(made)(x)[0], rtol=0, atol=1e-12)


def test_groups_of_heads_with_attention_of_their_own_have_spans_of_their_own():
    model = build(
        {
            "xcompose": 1,
            "model": {
                "type": "decoder", "dim": 24, "heads": 3, "layers": 1, "mixer":
                "heads(2*attention(pattern=adaptive-span(16, ramp=4), silence=zero), attention(pattern=window(4)))",
            },
        }
    )  # fmt: skip
    spans_of = [module for module in model.modules() if isinstance(module, AdaptiveSpan)]

    assert [len(pattern.v) for pattern in spans_of] == [2]
    assert [round(value.item(), 9) for value in model(torch.zeros(1, 9, dtype=torch.long)).losses.values()] == [0.0]
