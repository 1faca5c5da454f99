"""Mixers inside memories and outputs are measured as those of the stack are, and blamed by themselves."""

from __future__ import annotations

import attrs
import pytest
import torch

import xcompose as xc
from xcompose.attention.reads import Axis
from xcompose.compose.build import build_model, plan_model
from xcompose.compose.parts import Source
from xcompose.registry import load
from xcompose.verify import alive, causal, deterministic, gradients, padding, saving, spans, work
from xcompose.verify.facts import Facts
from xcompose.verify.runner import Checker
from xcompose.verify.stages import subject_of
from xcompose.verify.subject import Subject

SPEC = {
    "type": "encoder", "dim": 12, "heads": 3, "layers": 1, "embedding": "vectors(3)", "position": "none",
    "ffn": "single", "residual": "post-norm", "mixer": "attention(pattern=none, memory=inducing(5))",
    "output": "pooled-classify(7, seeds=2, layers=1, mixer=attention(scale=dim))",
}  # fmt: skip
MEMORY, POOL, TALK = (
    "stack.layers.0.mixer.inner.memory.0.read.cross", "output.pool.cross", "output.talk.0.mixer"
)  # fmt: skip


def spec(**changes):
    return xc.read({"xcompose": 1, "model": SPEC | changes})


def subject(**changes) -> Subject:
    read = spec(**changes)
    return subject_of(read, plan_model(read), 17, Checker(load(), 0, ()), "sets")


def test_they_are_parts_that_read_another_sequence():
    parts = {part.at: part for part in subject().parts()}

    assert parts[MEMORY].cross
    assert parts[POOL].cross
    assert not parts[TALK].cross
    assert [parts[at].place.title for at in (MEMORY, POOL, TALK)] == [
        "layer 0: cross 'attention'", "cross 'attention'", "mixer 'attention'",
    ]  # fmt: skip
    assert [parts[at].place.path for at in (MEMORY, POOL, TALK)] == [
        "model.layers.0.mixer.memory.mixer", "model.output.mixer", "model.output.mixer",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "certificate", [spans, causal, alive, padding, gradients, deterministic, saving, work],
    ids=lambda c: c.__name__.rpartition(".")[2],
)  # fmt: skip
def test_a_sound_model_has_no_finding(certificate):
    assert certificate.certify(subject(), seed=3) == []


@pytest.mark.parametrize(("at", "title"), [(MEMORY, "layer 0: cross 'attention'"), (POOL, "cross 'attention'")])
def test_one_that_reads_too_little_is_blamed_by_itself(at, title):
    sound = subject()

    def build(seed: int):
        model = build_model(spec(), seed=seed)
        mixer = model.get_submodule(at)
        whole = mixer.mix

        def short(x, axis, source):
            fewer = Source(source.x[:, :-1], Axis(range(source.x.shape[1] - 1), clock="source"))
            return whole(x, axis, fewer)

        mixer.mix = short
        return model

    (finding,) = alive.certify(attrs.evolve(sound, build=build, cache={}), seed=3)

    assert finding.message == f"{title} does not read all of the other sequence"
    assert finding.label == "output 16 did not move when row 20 of the other sequence was replaced"


def test_what_an_output_reads_is_no_reach_of_the_stack():
    near = plan_model(spec(mixer="attention(pattern=window(2))"))

    assert Facts(near).reach(9) == (3, True)
    assert [path for path, *_ in Facts(near).mixers()] == ["stack.layers.0.mixer"]


def test_inputs_are_rows_of_the_width_that_is_read():
    measured = subject()
    tokens = measured.tokens(2, seed=3)

    assert tokens.shape == (2, 17, 3)
    assert (measured.replaced(tokens, 4) != tokens).all()
    assert torch.equal(measured.tokens(2, seed=3), tokens)
