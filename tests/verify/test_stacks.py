"""Certificates of models whose stacks have names of their own: where their parts are, and who is to blame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xcompose import registry
from xcompose.compose.build import plan_model
from xcompose.spec.resolve import load_text
from xcompose.verify import alive, causal, decode, padding
from xcompose.verify.facts import Facts
from xcompose.verify.runner import Checker
from xcompose.verify.stages import subject_of
from xcompose.verify.subject import Subject

IMAGES = """\
xcompose: 1
model:
  type: axial-decoder
  vocab: 11
  grid: [5, 4]
  dim: 8
  heads: 2
  position: axial
  ffn: mlp(1x)
  blocks: {row: attention(pattern=axis(1)), column: attention(pattern=axis(0))}
  outer: {layers: "row, column"}
  inner: {layers: row}
"""
PAIR = """\
xcompose: 1
model:
  type: encoder-decoder
  vocab: 11
  dim: 8
  heads: 2
  encoder: {layers: 1}
  decoder: {layers: 1*attention(pattern=window(3))}
"""


def subject(text: str, n: int, fault: Any = None) -> Subject:
    spec = load_text(text, "made", catalogue=registry.load().catalogue)
    made = subject_of(spec, plan_model(spec), n, Checker(registry.load(), 0, ("contracts",)), "made.xc.yaml")
    if fault is not None:
        fault(made.model())
    return made


@pytest.mark.parametrize("certify", [causal.certify, alive.certify, padding.certify, decode.certify])
def test_a_sound_model_passes(certify):
    assert certify(subject(IMAGES, 18)) == []


def test_parts_are_called_by_their_stack():
    parts = subject(IMAGES, 18).parts()
    mixers = [(part.place.title, part.causal) for part in parts if part.place.kind == "mixer"]

    assert mixers == [
        ("outer layer 0: mixer 'attention'", False), ("outer layer 1: mixer 'attention'", True),
        ("inner layer 0: mixer 'attention'", True),
    ]  # fmt: skip
    assert [part.place.path for part in parts if part.place.kind == "mixer"] == [
        "model.outer.layers.0.mixer", "model.outer.layers.1.mixer", "model.inner.layers.0.mixer",
    ]  # fmt: skip


def test_the_names_of_an_encoder_and_a_decoder_are_not_special():
    parts = subject(PAIR, 9).parts()
    mixers = [(part.place.title, part.causal, part.cross) for part in parts if part.place.kind in ("mixer", "cross")]

    assert mixers == [
        ("encoder layer 0: mixer 'attention'", False, False), ("decoder layer 0: mixer 'attention'", True, False),
        ("decoder layer 0: cross 'attention'", True, True),
    ]  # fmt: skip


def looks_ahead(model: Any) -> None:
    model.outer.stack.blocks[1].mixer.inner.causal = False


def test_a_layer_that_looks_ahead_is_blamed_by_its_stack():
    (found,) = causal.certify(subject(IMAGES, 18, looks_ahead))

    assert found.message == "outer layer 1: mixer 'attention' sees the future"


def test_stacks_that_are_joined_wrongly_are_found():
    def reads_on(model: Any) -> None:
        shifted = model._above

        def above(rows: Any, axis: Any) -> Any:
            found, beside = shifted(rows, axis)
            return found.roll(-1, 1), beside

        model._above = above

    (found,) = causal.certify(subject(IMAGES, 18, reads_on))

    assert found.message == "the model sees the future"


def test_reach_goes_through_both_stacks():
    spec = load_text(IMAGES, "made", catalogue=registry.load().catalogue)
    facts = Facts(plan_model(spec), spec)
    sure, most = alive.reach(subject(IMAGES, 18))

    assert [facts.reach(n) for n in (1, 4, 5, 20)] == [(0, True), (3, True), (4, True), (19, True)]
    wanted = np.tril(np.ones((18, 18), dtype=bool))
    wanted[:, 0] = False
    assert (sure == wanted).all()
    assert (most == wanted).all()


def test_reach_leaves_out_what_reads_a_source():
    spec = load_text(PAIR, "made", catalogue=registry.load().catalogue)

    assert Facts(plan_model(spec), spec).reach(9) == (4, True)
