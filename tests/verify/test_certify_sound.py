"""Sound models pass every certificate, so that a finding means something."""

from __future__ import annotations

import pytest
import torch
from small_models import SOUND, BlockMeans, ReadsPooled, Small, TwoWindows, Windowed, subject

from xcompose.verify import alive, batches, causal, decode, deterministic, gradients, padding, saving, spans, work
from xcompose.verify.decode import cuts
from xcompose.verify.measure import gradients as slopes
from xcompose.verify.measure import moved, spread
from xcompose.verify.padding import layouts
from xcompose.verify.subject import redraw

CERTIFICATES = [batches, spans, causal, alive, padding, decode, gradients, deterministic, saving, work]
named = {"ids": lambda c: c.__name__.rpartition(".")[2]}


@pytest.mark.parametrize("certificate", CERTIFICATES, **named)
@pytest.mark.parametrize("kind", ["strict", "value", "none"])
def test_a_sound_model_has_no_finding(certificate, kind):
    assert certificate.certify(subject(*SOUND, causal=kind), seed=3) == []


@pytest.mark.parametrize("certificate", [batches, spans, causal, alive, gradients, deterministic, saving], **named)
def test_sound_memories_have_no_finding(certificate):
    sound = subject(mixers=lambda: [BlockMeans(), ReadsPooled(), Windowed(), TwoWindows()])

    assert certificate.certify(sound, seed=3) == []


def test_what_is_cut_off_at_zero_is_alive_if_other_rows_get_through(monkeypatch):
    cuts_off = subject("cuts some rows off")
    assert alive.certify(cuts_off, seed=3) == []

    monkeypatch.setattr(alive, "DRAWS", 1)
    assert alive.certify(cuts_off, seed=3) != []


def test_what_learns_from_a_loss_of_its_own_in_training_alone_is_alive():
    assert gradients.certify(subject("", model="learns aside"), seed=3) == []


def test_value_causal_models_are_held_to_their_gradients_only():
    chooses = subject("chooses by the future", causal="value")

    assert causal.certify(chooses, seed=3) == []
    assert causal.kind(chooses, seed=3) == "value"
    assert causal.certify(subject("chooses by the future"), seed=3) != []


def test_the_kind_of_a_model_is_measured_whatever_it_promises():
    kinds = [causal.kind(s, seed=3) for s in (subject(""), subject("leaks by one"), subject("", causal="none"))]

    assert kinds == ["strict", "none", "none"]


def test_decoding_is_cut_in_several_ways_that_cover_the_text():
    ways = cuts(17)

    assert [sum(sizes) for sizes in ways] == [17] * len(ways)
    assert [1] * 17 in ways
    assert len({tuple(sizes) for sizes in ways}) == 4


def test_padding_comes_in_every_layout():
    masks = dict(layouts(17))

    assert masks["no padding"].all()
    assert not masks["nothing but padding"].any()
    assert masks["left padding"].int().diff().tolist().count(1) == 1
    assert masks["padding in the middle"].int().diff().abs().sum() == 2
    assert len(masks) == 7


def test_moved_says_how_far_each_output_moves_when_one_row_is_replaced():
    x, other = torch.randn(2, 1, 7, 3, dtype=torch.float64)

    matrix = moved(lambda t: t.cumsum(1), x, other)

    assert ((matrix > 0) == torch.ones(7, 7).tril().bool()).all()
    scale = x.cumsum(1).abs().max()
    assert matrix[5, 2] == pytest.approx(float((other - x)[0, 2].abs().max() / scale))


def test_an_output_that_is_no_number_counts_as_moved():
    x, other = torch.randn(2, 1, 3, 2, dtype=torch.float64)

    assert torch.isinf(moved(lambda t: t / 0 * 0, x, other)).all()


def test_gradients_are_those_of_the_rows():
    x = torch.randn(1, 5, 2, dtype=torch.float64)

    matrix = slopes(lambda t: t.cumsum(1), x, [0, 4], torch.ones(2, dtype=torch.float64))

    assert matrix.tolist() == [[1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]


def test_positions_are_spread_from_the_first_to_the_last():
    assert spread(5, 24) == [0, 1, 2, 3, 4]
    assert spread(101, 5) == [0, 25, 50, 75, 100]


def test_redrawn_weights_leave_no_parameter_at_zero_and_tied_ones_tied():
    model = Small()
    model.output.out.weight = model.embedding.weight.weight
    torch.nn.init.zeros_(model.output.out.weight)

    redraw(model, seed=1)

    assert all((p != 0).all() for p in model.parameters())
    assert model.output.out.weight is model.embedding.weight.weight
