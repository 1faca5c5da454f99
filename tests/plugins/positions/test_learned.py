"""Learned positions: a table, and the end of it."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.helpers import context, part, rows
from xcompose.attention.reads import Axis
from xcompose.compose.parts import Position
from xcompose.diagnostics import PartError

LENGTH, C = 7, 12


def made() -> Position:
    return context(C, length=LENGTH).build(part("position", "learned")).double()


def test_adds_the_vector_of_each_place():
    position, x = made(), rows(2, 4, C)

    found = position.embed(x, Axis(range(2, 6)))

    for i in range(4):
        assert torch.equal(found[:, i], x[:, i] + position.places.weight[i + 2])


def test_sequences_at_their_own_times_and_padding_beyond_the_table():
    position, x = made(), rows(2, 3, C)
    axis = Axis(torch.tensor([[4, 5, 6], [6, 7, 8]]), torch.tensor([[True, True, True], [True, False, False]]))

    found = position.embed(x, axis)

    assert torch.equal(found[0], x[0] + position.places.weight[4:7])
    assert torch.equal(found[1, 0], x[1, 0] + position.places.weight[6])


@pytest.mark.parametrize(
    "axis",
    [
        Axis(range(8)),
        Axis(torch.tensor([[0, 7]])),
        Axis(torch.tensor([[6, 7]]), torch.tensor([[True, True]])),
    ],
)
def test_a_longer_sequence_is_refused(axis):
    with pytest.raises(ValueError, match="^a sequence of 8 tokens is longer than the 7 places of position 'learned'$"):
        made().embed(rows(1, axis.n, C), axis)


def test_padding_that_is_longer_than_the_table_is_no_token():
    position, x = made(), rows(1, 9, C)
    axis = Axis(range(9), torch.arange(9)[None] < 7)

    assert torch.equal(position.embed(x, axis)[:, :7], x[:, :7] + position.places.weight)


def test_a_model_without_a_length_is_refused():
    with pytest.raises(PartError) as caught:
        context(C).build(part("position", "learned"))

    assert caught.value.message == "position 'learned' needs the length of the model"
    assert caught.value.label == "it has one vector for each place"
    assert caught.value.fixes == ("model.length: 1Ki", "position: rotary")


def test_it_does_nothing_inside_attention():
    position, t = made(), rows(1, 3, 2, 6)

    assert position.turn(t, torch.arange(3), "key") is t
    assert position.terms(2, 6) == ()
