"""What is seen of the inside of a stack: what it is, where it comes from, and that looking changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from xcompose import registry
from xcompose.compose.build import build_model
from xcompose.compose.inside import looking
from xcompose.compose.model import Model
from xcompose.compose.parts import Mixed, Mixer
from xcompose.spec import load_text

DIM, HEADS, VOCAB, N, B = 12, 3, 17, 11, 2
D = DIM // HEADS
EVERYTHING = ("rows", "q", "k", "v", "map")
NEAR = "attention(pattern=window(3))"


def model(*layers: str, more: str = "", addons: str = "[]") -> Model:
    listed = ", ".join(f'"{layer}"' for layer in layers)
    text = f"""
xcompose: 1
model:
  type: decoder
  vocab: {VOCAB}
  dim: {DIM}
  heads: {HEADS}
  length: 29
  layers: [{listed}]
{more}
addons: {addons}
"""
    return build_model(load_text(text, catalogue=registry.load().catalogue), dtype=torch.float64)


def tokens(n: int = N) -> Tensor:
    return torch.randint(VOCAB, (B, n), generator=torch.Generator().manual_seed(3))


def seen(made: Model, *what: str, layer: int = 0, n: int = N, **given: Tensor) -> dict[str, Tensor]:
    (stack,) = made.stacks().values()
    with looking(stack, {layer: what}) as look:
        made(tokens(n), **given)
    (call,) = look.calls
    return dict(call.layers.get(layer, {}))


def inputs_of(mixer: nn.Module, made: Model) -> Tensor:
    """The rows that a mixer reads."""
    found: list[Tensor] = []
    hook = mixer.register_forward_pre_hook(lambda module, args: found.append(args[0]))
    made(tokens())
    hook.remove()
    return found[0]


def heads_of(t: Tensor) -> Tensor:
    return t.unflatten(-1, (-1, D)).transpose(1, 2)


def test_queries_keys_and_values_are_those_that_are_projected_and_rows_what_leaves_a_layer():
    made = model("attention", "attention")
    mixer = made.layers[1].mixer
    x = inputs_of(mixer, made)
    behind: list[Tensor] = []
    made.stack.norm.register_forward_pre_hook(lambda module, args: behind.append(args[0]))

    found = seen(made, *EVERYTHING, layer=1)

    assert sorted(found) == sorted(EVERYTHING)
    for name in ("q", "k", "v"):
        assert torch.equal(found[name], getattr(mixer, name)(x))
    assert torch.equal(found["rows"], behind[-1])


@pytest.mark.parametrize("pattern", ["dense", "window(3)", "heads(window(2), 2*strided(3))"])
def test_the_map_holds_the_logits_of_the_softmax_that_answers(pattern: str):
    made = model(f"attention(pattern={pattern})", more="  position: none")
    mixer, found = made.layers[0].mixer, seen(made, *EVERYTHING)
    q, k, v = (heads_of(found[name]) for name in ("q", "k", "v"))

    readable = found["map"] > -torch.inf
    answer = mixer.out((found["map"].softmax(-1) @ v).transpose(1, 2).flatten(2))

    logits = q @ k.mT / D**0.5
    torch.testing.assert_close(found["map"], logits.masked_fill(~readable, -torch.inf), rtol=0, atol=1e-12)
    torch.testing.assert_close(answer, mixer(inputs_of(mixer, made), axis()).x, rtol=0, atol=1e-12)
    assert not readable.triu(1).any()
    assert bool(readable.all(1).tril().any()) == (pattern != "none")


def axis():
    from xcompose.attention.reads import Axis

    return Axis(range(N))


def test_positions_and_terms_stand_in_the_map_and_not_in_queries():
    bent = model("attention", more="  position: alibi")
    found = seen(bent, "q", "k", "map")
    q, k = heads_of(found["q"]), heads_of(found["k"])
    added = found["map"] - q @ k.mT / D**0.5
    away = torch.arange(N)[:, None] - torch.arange(N)

    slope = -added[0, :, 1, 0]
    wanted = torch.where(away >= 0, -slope[None, :, None, None] * away, -torch.inf)
    torch.testing.assert_close(added, wanted.expand_as(added), rtol=0, atol=1e-12)
    assert (slope > 0).all()


def test_a_kernel_shows_all_but_a_map():
    made = model("attention(score=linear, kv_heads=1)")
    block = made.layers[0]

    found = seen(made, "q", "k", "v")

    assert [tuple(found[name].shape) for name in "qkv"] == [(B, N, DIM), (B, N, D), (B, N, D)]
    assert block.hides("map") == (
        "its score sums over all keys at once, so that no pair of rows has a weight of its own"
    )


def test_heads_of_different_kinds_stand_side_by_side():
    made = model("heads(2*attention(pattern=window(2)), attention)")
    one, two = made.layers[0].mixer.members
    x = inputs_of(made.layers[0].mixer, made)

    found = seen(made, *EVERYTHING)

    assert torch.equal(found["q"], torch.cat([one.q(x), two.q(x)], -1))
    reach = (found["map"] > -torch.inf).sum((0, 2, 3)) // B
    assert reach.tolist() == [3 * N - 3, 3 * N - 3, N * (N + 1) // 2]


def test_shared_queries_and_keys_are_the_keys_that_are_read():
    found = seen(model("attention(shared_qk=true)"), "q", "k")

    torch.testing.assert_close(heads_of(found["k"]), normalize(heads_of(found["q"]), dim=-1), rtol=0, atol=1e-12)


HIDDEN = {
    "attention(pattern=lsh(buckets=4, chunk=4, form=strict))": {
        "map": "contents choose who reads whom, anew in each call"
    },
    "attention(pattern=window(2), memory=conv(3))": {
        "map": "it reads slots that are none of the rows, those of memory conv"
    },
    "attention(recurrence=segments(4, memory=4))": {
        "map": "it reads slots that are none of the rows, those of recurrence segments"
    },
    "attention(score=synthesizer(dense), position=none)": dict.fromkeys(
        "qk", "its score takes no products of queries and keys, so it has none"
    ),
    "gate(attention, attention(score=linear))": dict.fromkeys(
        ("q", "k", "v", "map"), "it joins several mixers, each with an inside of its own"
    ),
    "chain(attention, attention)": dict.fromkeys(
        ("q", "k", "v", "map"), "it joins several mixers, each with an inside of its own"
    ),
    "heads(2*attention, attention(score=linear))": {
        "map": "its score sums over all keys at once, so that no pair of rows has a weight of its own"
    },
}


@pytest.mark.parametrize("layers", HIDDEN)
def test_what_is_not_there_is_said_to_be_hidden_and_all_else_is_shown(layers: str):
    made = model(layers)
    reasons = {what: made.layers[0].hides(what) for what in ("q", "k", "v", "map")}

    assert {what: reason for what, reason in reasons.items() if reason} == HIDDEN[layers]
    shown = [what for what, reason in reasons.items() if not reason]
    assert sorted(seen(made, *shown, n=12)) == sorted(shown)


def test_a_mixer_that_says_nothing_shows_nothing():
    class Silent(Mixer):
        dim = DIM

        def mix(self, x, axis, source=None):
            return Mixed(x)

    assert Silent().hides("q") == "Silent does not show its inside"


def test_an_encoder_leaves_out_rows_before_the_tokens_and_says_so():
    text = f"""
xcompose: 1
model: {{type: encoder, vocab: {VOCAB}, dim: {DIM}, heads: {HEADS}, layers: 1, embedding: tokens(prefix=2)}}
"""
    made = build_model(load_text(text, catalogue=registry.load().catalogue), dtype=torch.float64)
    mask = torch.tensor([[True] * N, [False] * 4 + [True] * (N - 4)])

    with looking(made.stack, {0: ("rows", "q")}) as look:
        made(tokens(), mask=mask)

    (call,) = look.calls
    assert [tuple(t.shape) for t in (call.embedded, *call.layers[0].values())] == [(B, N, DIM)] * 3
    assert call.valid is not None
    assert call.valid.tolist() == [[True] * N, [True] * (N - 4) + [False] * 4]
    assert made.layers[0].hides("map") == "rows before the tokens stand among its keys"


def test_nothing_is_kept_where_nobody_looks_and_looking_changes_no_answer():
    made = model(NEAR, NEAR)
    before = made(tokens()).logits

    with looking(made.stack, {1: EVERYTHING}):
        during = made(tokens()).logits

    assert torch.equal(before, during)
    assert made.stack.look is None
    assert all(block.mixer.wanted == frozenset() and block.mixer.inner.watched is None for block in made.layers)


def of_inside(found: dict[str, Tensor]) -> Tensor:
    """Some number that depends on all that was seen."""
    return sum(torch.where(t > -torch.inf, t, 0.0).square().mean() * (i + 1) for i, t in enumerate(found.values()))


def gradients(made: Model, layer: int = 1) -> dict[str, Tensor]:
    made.train()
    with looking(made.stack, {layer: EVERYTHING}) as look:
        out = made(tokens())
    loss = out.logits.square().mean() + of_inside(dict(look.calls[0].layers[layer]))
    made.zero_grad()
    loss.backward()
    assert len(look.calls) == 1
    return {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}


def test_layers_that_are_computed_again_give_the_same_gradients():
    made = model(NEAR, NEAR, NEAR)
    plain = gradients(made)
    made.stack.recompute = True

    again = gradients(made)

    assert plain.keys() == again.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_reversible_layers_give_the_gradients_of_their_formula(layer: int, monkeypatch: pytest.MonkeyPatch):
    made = model(NEAR, NEAR, NEAR, more="  residual: reversible")
    found = gradients(made, layer)
    kind = type(made.layers[0].residual)
    streams = kind.enter(made.layers[0].residual, torch.zeros(1))
    monkeypatch.setattr(kind, "enter", lambda self, x: type(streams)(x, x, None))

    wanted = gradients(made, layer)

    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-11)


def test_shared_layers_are_seen_once_for_each_application():
    made = model(NEAR, NEAR, NEAR, addons="[share]")

    with looking(made.stack, {0: ("q",), 2: ("q",)}) as look:
        made(tokens())

    (call,) = look.calls
    assert sorted(call.layers) == [0, 2]
    assert made.layers[0].mixer is made.layers[2].mixer
    assert not torch.equal(call.layers[0]["q"], call.layers[2]["q"])
