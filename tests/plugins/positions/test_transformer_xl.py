"""Transformer-XL's position against the formula of the paper, pair by pair."""

from __future__ import annotations

from math import cos, sin, sqrt
from unittest import mock

import pytest
import torch
from torch import Tensor

from tests.plugins.helpers import attention, context, in_unison, mixer, part, pattern, ragged, rows, sizes
from xcompose.attention.reads import Axis
from xcompose.diagnostics import PartError

B, N, C, H, D = 2, 7, 10, 2, 3


def waves(distance: int) -> Tensor:
    angles = [distance / 10000 ** (2 * s / C) for s in range(C // 2)]
    return torch.tensor([sin(a) for a in angles] + [cos(a) for a in angles], dtype=torch.float64)


def naive(made, x: Tensor, clamp: int | None, causal: bool) -> Tensor:
    position = made.inner.position
    q, k, v = (layer(x).reshape(B, N, H, D) for layer in (made.q, made.k, made.v))
    out = []
    for b in range(B):
        for i in range(N):
            for h in range(H):
                logits = []
                keys = range(i + 1) if causal else range(N)
                for j in keys:
                    distance = i - j if clamp is None else max(-clamp, min(clamp, i - j))
                    seen = (position.r.weight @ waves(distance)).reshape(H, D)[h]
                    content = (q[b, i, h] + position.u[h]) @ k[b, j, h]
                    logits.append((content + (q[b, i, h] + position.v[h]) @ seen) / sqrt(D))
                weights = torch.stack(logits).softmax(0)
                out.append(sum(w * v[b, j, h] for w, j in zip(weights, keys, strict=True)))
    return made.out(torch.stack(out).reshape(B, N, H * D))


@pytest.mark.parametrize("clamp", [None, 3])
@pytest.mark.parametrize("causal", [True, False])
def test_formula_and_gradients(clamp, causal):
    options = attention(heads=H, head_dim=D, position=part("position", "transformer-xl", clamp=clamp))
    made, x = mixer(options, C, "strict" if causal else "none"), rows(B, N, C).requires_grad_()

    found, wanted = made(x, Axis(range(N), total=None if causal else N)).x, naive(made, x, clamp, causal)

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)
    inputs, upstream = [x, *made.parameters()], rows(B, N, C, seed=3)
    for one, other in zip(*(torch.autograd.grad(y, inputs, upstream) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_groups_of_heads_see_their_own_part():
    groups = pattern("heads", of=((1, pattern("dense")), (1, pattern("window", size=N))))
    grouped = mixer(attention(heads=H, head_dim=D, position="transformer-xl", pattern=groups), C)
    plain = mixer(attention(heads=H, head_dim=D, position="transformer-xl"), C)
    x = rows(B, N, C)

    torch.testing.assert_close(grouped(x, Axis(range(N))).x, plain(x, Axis(range(N))).x, rtol=0, atol=1e-12)


def test_u_and_v_are_the_same_in_all_layers_and_the_projection_is_not():
    around = context(C)
    first, second = (around.build(attention(heads=H, head_dim=D, position="transformer-xl")) for _ in range(2))

    assert first.inner.position.u is second.inner.position.u
    assert first.inner.position.v is second.inner.position.v
    assert first.inner.position.r is not second.inner.position.r


def test_untied_layers_have_their_own_u_and_v():
    around = context(C)
    options = attention(heads=H, head_dim=D, position=part("position", "transformer-xl", untied=True))
    first, second = (around.build(options).inner.position for _ in range(2))

    assert first.u is not second.u
    assert first.v is not second.v


def recurrent(length: int, memory: int, same_length: bool = False, **given):
    return attention(
        heads=H,
        head_dim=D,
        position=part("position", "transformer-xl", **given),
        recurrence=part("recurrence", "segments", length=length, memory=memory, same_length=same_length),
    )


def in_segments(made, x: Tensor, length: int, memory: int, clamp: int | None) -> Tensor:
    """Segment after segment with a memory that begins empty, distances counted within the rows that are read."""
    position, kept, found = made.inner.position, x[:, :0], []
    for begin in range(0, x.shape[1], length):
        own = x[:, begin : begin + length]
        read = torch.cat([kept.detach(), own], 1)
        q = made.q(own).reshape(B, -1, H, D)
        k, v = (layer(read).reshape(B, -1, H, D) for layer in (made.k, made.v))
        out = []
        for i in range(own.shape[1]):
            here = kept.shape[1] + i
            for h in range(H):
                logits = []
                for j in range(here + 1):
                    distance = here - j if clamp is None else min(clamp, here - j)
                    seen = (position.r.weight @ waves(distance)).reshape(H, D)[h]
                    content = ((q[:, i, h] + position.u[h]) * k[:, j, h]).sum(-1)
                    logits.append((content + (q[:, i, h] + position.v[h]) @ seen) / sqrt(D))
                weights = torch.stack(logits, -1).softmax(-1)
                out.append(sum(weights[:, j, None] * v[:, j, h] for j in range(here + 1)))
        found.append(made.out(torch.stack(out, 1).reshape(B, -1, H * D)))
        kept = torch.cat([kept, own], 1)[:, -memory:]
    return torch.cat(found, 1)


@pytest.mark.parametrize(("length", "memory", "clamp"), [(3, 5, None), (3, 5, 4), (4, 2, None)])
def test_with_segments_forward_and_gradients(length, memory, clamp):
    made = mixer(recurrent(length, memory, clamp=clamp), C)
    x = rows(B, 11, C).requires_grad_()

    found, wanted = made(x, Axis(range(11))).x, in_segments(made, x, length, memory, clamp)

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)
    inputs, upstream = [x, *made.parameters()], rows(B, 11, C, seed=3)
    for one, other in zip(*(torch.autograd.grad(y, inputs, upstream) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("same_length", [False, True])
def test_one_pass_is_segment_after_segment_is_token_after_token_is_ragged(same_length):
    made, x = mixer(recurrent(4, 5, same_length, clamp=6), C), rows(B, 13, C)
    at_once = made(x, Axis(range(13))).x

    for cuts in ([4, 8, 12], range(13), [1, 6, 7]):
        found, state = in_unison(made, x, cuts)
        torch.testing.assert_close(found, at_once, rtol=0, atol=1e-12)
        assert sizes(state) == made.state_shape(13)
    found = ragged(made, x, [(4, 1), (1, 4), (0, 4), (7, 1), (1, 3)])[0]
    torch.testing.assert_close(found, at_once, rtol=0, atol=1e-12)


def test_few_queries_are_projected_and_give_the_same():
    """Fewer queries than a head is wide are turned into model width, instead of all distances into head width."""
    options = attention(heads=H, head_dim=29, position=part("position", "transformer-xl"))
    made, x = mixer(options, C), rows(1, 23, C)

    torch.testing.assert_close(in_unison(made, x, range(23))[0], made(x, Axis(range(23))).x, rtol=0, atol=1e-12)


def test_numbers_of_waves_are_dropped_in_training_only():
    options = attention(heads=H, head_dim=D, position=part("position", "transformer-xl", dropout=0.5))
    made, x = mixer(options, C), rows(B, N, C)
    plain = mixer(attention(heads=H, head_dim=D, position="transformer-xl"), C)
    plain.load_state_dict(made.state_dict())
    torch.manual_seed(3)
    kept = torch.nn.functional.dropout(torch.ones(N, C, dtype=torch.float64), 0.5)

    torch.manual_seed(3)
    found = made.train()(x, Axis(range(N))).x
    with mock.patch.object(type(plain.inner.position), "waves", lambda self, at: kept[at] * true_waves(at)):
        torch.testing.assert_close(plain(x, Axis(range(N))).x, found, rtol=0, atol=1e-12)
    torch.testing.assert_close(made.eval()(x, Axis(range(N))).x, naive(made, x, None, True), rtol=0, atol=1e-11)


def true_waves(at: Tensor) -> Tensor:
    return torch.stack([waves(int(t)) for t in at])


def projected(made):
    """Gets how many distances are projected, each time."""
    position, calls = made.inner.position, []
    seen = position.seen
    position.seen = lambda distances: calls.append(len(distances)) or seen(distances)
    return calls


def test_only_distances_that_are_read_are_projected_and_once_for_all_tiles():
    made = mixer(attention(heads=H, head_dim=D, position="transformer-xl", pattern=pattern("window", size=30)), C)
    calls = projected(made)
    made(rows(1, 500, C), Axis(range(500)))

    assert calls == [64 + 30]  # the rows of a tile, and how far its first row reaches


@pytest.mark.parametrize("clamp", [None, 9])
@pytest.mark.parametrize("distance", ["index", "time"])
def test_each_source_of_compressive_recurrence_is_projected_once_for_all_tiles(distance, clamp):
    past = part("recurrence", "compressive", length=40, memory=40, compressed=20, rate=2, distance=distance)
    position = part("position", "transformer-xl", clamp=clamp)
    made = mixer(attention(heads=H, head_dim=D, position=position, recurrence=past), C)
    calls = projected(made)
    with torch.no_grad():
        made(rows(1, 500, C), Axis(range(500)))

    # Of a segment's queries 0 .. 39: tokens 0 .. 39 before them, rows 1 .. 79, and behind these 20 slots of one step or
    # of two.
    farthest = 39 + 40 + 20 if distance == "index" else 39 + 40 + 39
    assert calls == ([40, 79, farthest - 40] if clamp is None else [10, 9, 1])


def test_chosen_slots_are_projected_once_for_all_rounds():
    pieces = part("pattern", "lsh", buckets=4, rounds=3, chunk=4)
    position = part("position", "transformer-xl", clamp=5)
    made = mixer(attention(heads=H, head_dim=D, position=position, pattern=pieces), C)
    calls = projected(made)
    made(rows(1, 50, C), Axis(range(50)))

    assert calls == [5 + 1]


def test_outside_attention_it_has_no_parameters():
    assert not list(context(C).build(part("position", "transformer-xl")).parameters())


def test_an_odd_width_is_refused():
    with pytest.raises(PartError) as caught:
        context(7).build(part("position", "transformer-xl"))

    assert caught.value.message == "position 'transformer-xl' needs an even 'dim', found 7"
