"""Layers that read pieces, stacks without a norm, and what reaches what through a stack."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch

from tests.compose.fakes import layer, node, registry
from xcompose.attention.reads import Axis
from xcompose.attention.visible import receptive_field
from xcompose.compose.composer import Composer
from xcompose.compose.parts import Context
from xcompose.compose.stack import Stack, reached_from
from xcompose.decode.state import size_of_state
from xcompose.spec.model import Layer

C, PIECE = 12, 3


def stack(count: int = 2, piece: int | None = PIECE, norm: bool = False) -> Stack:
    composer = Composer(registry())
    written = [layer(number=i, mixer=node("mixer", "mean", loss=True)) for i in range(count)]
    layers = [
        Layer({k: composer.options(v) if hasattr(v, "kind") else v for k, v in one.options.items()}) for one in written
    ]
    context = attrs.evolve(Context(dim=C, causal="strict"), builder=composer.build, finder=composer.finding)

    def one_in_two(layer: Layer, own: Context) -> int | None:
        return piece if own.layer % 2 == 0 else None

    last = composer.options(node("norm", "layer")) if norm else None
    return Stack(layers, context, last, piece=one_in_two).double()


def rows(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, n, C, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_piece_is_a_sequence_by_itself():
    made, x = stack(1), rows(4 * PIECE)
    whole, beside = made(x, Axis(range(4 * PIECE)))

    for start in range(0, 4 * PIECE, PIECE):
        alone, _ = made(x[:, start : start + PIECE], Axis(range(PIECE)))
        torch.testing.assert_close(whole[:, start : start + PIECE], alone, rtol=0, atol=1e-12)
    assert list(beside.losses) == ["0.mixer.size"]


def test_padded_pieces_change_nothing():
    made, x = stack(1), rows(4 * PIECE)
    valid = torch.arange(4 * PIECE) < torch.tensor([2 * PIECE, 4 * PIECE])[:, None]

    found, _ = made(x, Axis(range(4 * PIECE), valid))

    torch.testing.assert_close(found[0, : 2 * PIECE], made(x[:1, : 2 * PIECE], Axis(range(2 * PIECE)))[0][0])
    assert torch.isfinite(found).all()


def test_such_a_layer_looks_ahead_and_remembers_nothing():
    made = stack(4)

    assert [(block.piece, block.causal) for block in made.blocks] == [(PIECE, "none"), (None, "strict")] * 2
    assert [name for name, _ in made.applications()] == ["1.mixer", "3.mixer"]
    like = rows(1)[:, :0]
    assert list(made.start(2, like)) == ["1.mixer", "3.mixer"]


def test_pieces_in_steps_are_pieces_at_once():
    made, x = stack(2), rows(4 * PIECE)
    whole, _ = made(x, Axis(range(4 * PIECE)))
    states, found = made.start(2, x[:, :0]), []
    for start, end in ((0, PIECE), (PIECE, 3 * PIECE), (3 * PIECE, 4 * PIECE)):
        out, beside = made(x[:, start:end], Axis(range(start, end)), states)
        states = beside.states
        found.append(out)

    torch.testing.assert_close(torch.cat(found, 1), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", [True, False])
def test_a_stack_may_end_without_a_norm(norm):
    assert (stack(norm=norm).norm is not None) == norm


def test_tracing_back_meets_what_goes_forward():
    made, n = stack(3, piece=None), 9
    draws = np.random.default_rng(1)
    matrices = [draws.random((n, n)) < 0.2 for _ in made.blocks]
    forward = receptive_field(matrices)[-1]

    assert (made.trace(np.eye(n, dtype=bool), lambda block, n: matrices[block.number]) == forward).all()
    for row in range(n):
        found = made.trace(np.arange(n)[None] == row, lambda block, n: matrices[block.number])
        assert (found == forward[row]).all()
        assert found.shape == (1, n)


def test_rows_pass_themselves_on():
    wanted = np.array([[True, False, False], [False, True, True]])
    layer = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 0]], dtype=bool)

    assert reached_from(wanted, layer).tolist() == [[True, False, False], [True, True, True]]
    assert reached_from(wanted[1:], layer).tolist() == [[True, True, True]]


def test_tokens_in_a_state_are_integers():
    assert size_of_state({"line.tokens": (3,), "x": (2, 5)}, 4) == 3 * 8 + 10 * 4
