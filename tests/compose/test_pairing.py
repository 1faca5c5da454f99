"""Layers of two models in pairs, and a student that starts as its teacher."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from xcompose import registry
from xcompose.compose.build import build_model
from xcompose.compose.model import Model
from xcompose.compose.pairing import paired_layers, start_as
from xcompose.diagnostics import PartError
from xcompose.spec import load_text


def model(layers: str, seed: int, more: str = "", addons: str = "[]") -> Model:
    text = f"""
xcompose: 1
model: {{type: decoder, vocab: 17, dim: 12, heads: 3, layers: "{layers}"{more}}}
addons: {addons}
"""
    return build_model(load_text(text, catalogue=registry.load().catalogue), seed=seed)


def said(error: pytest.ExceptionInfo[PartError]) -> str:
    return "\n".join([error.value.message, *(f"fix: {fix}" for fix in error.value.fixes)])


@pytest.mark.parametrize(
    ("layers", "own", "theirs", "pairs"),
    [
        ("even", 4, 12, ((0, 2), (1, 5), (2, 8), (3, 11))),
        ("even", 3, 3, ((0, 0), (1, 1), (2, 2))),
        ("even", 1, 5, ((0, 4),)),
        ("last", 4, 6, ((3, 5),)),
        ((("0", "1"), ("1", "3")), 2, 4, ((0, 1), (1, 3))),
        (((0, 3), (0, 1)), 1, 4, ((0, 3), (0, 1))),
    ],
)
def test_layers_are_paired_as_a_spec_says(layers: Any, own: int, theirs: int, pairs: Any):
    assert paired_layers(layers, own, theirs) == pairs


EVEN = "fix: layers=last\nfix: a list of pairs: layers=[[0, 1], [1, 3]]"
NO_PAIRS = (
    "layers are 'even', 'last', or a list of pairs of a student's and a teacher's layer\nfix: layers=[[0, 1], [1, 3]]"
)


@pytest.mark.parametrize(
    ("layers", "own", "theirs", "message"),
    [
        ("even", 3, 4, f"4 layers of the teacher do not divide evenly among 3 of the student\n{EVEN}"),
        ("even", 4, 2, f"2 layers of the teacher do not divide evenly among 4 of the student\n{EVEN}"),
        ("first", 4, 2, NO_PAIRS),
        ((), 4, 2, NO_PAIRS),
        (("0", "1"), 4, 2, NO_PAIRS),
        ((("0", "1", "2"),), 4, 2, NO_PAIRS),
        ((("0", "-1"),), 4, 2, NO_PAIRS),
        ((("2", "1"),), 2, 4, "the student has no layer 2, its last one is 1"),
        ((("1", "7"),), 2, 4, "the teacher has no layer 7, its last one is 3"),
        (
            (("0", "1"), ("1", "1"), ("00", "1")), 2, 4,
            "layer 0 of the student and layer 1 of the teacher are a pair twice\nfix: write each pair once",
        ),
    ],
)  # fmt: skip
def test_layers_that_are_not_there_are_refused(layers: Any, own: int, theirs: int, message: str):
    with pytest.raises(PartError) as error:
        paired_layers(layers, own, theirs)

    assert said(error) == message


def test_a_student_starts_with_every_second_layer_and_all_around_them():
    student, teacher = model("2*attention(score=linear)", 1), model("4*attention", 2)

    count = start_as(student, teacher, "even")

    own, theirs = student.state_dict(), teacher.state_dict()
    for name in own:
        source = name.replace("layers.1.", "layers.3.").replace("layers.0.", "layers.1.")
        assert torch.equal(own[name], theirs[source]), name
    assert count == len({id(t) for t in student.state_dict(keep_vars=True).values()})


def test_layers_without_a_pair_start_alone():
    student, alone, teacher = model("2*attention", 1), model("2*attention", 1), model("4*attention", 2)

    start_as(student, teacher, "last")

    for name, tensor in student.state_dict().items():
        other = alone if "layers.0." in name else teacher
        assert torch.equal(tensor, other.state_dict()[name.replace("layers.1.", f"layers.{len(other.layers) - 1}.")])


def test_what_the_teacher_has_not_got_starts_alone():
    student, teacher = model("1*attention(score=favor)", 1), model("1*attention", 2)
    before = {name: t.clone() for name, t in student.state_dict().items()}

    start_as(student, teacher, "even")

    extra = [name for name in before if name not in teacher.state_dict()]
    assert extra
    assert all(torch.equal(before[name], student.state_dict()[name]) for name in extra)


def test_other_shapes_are_refused():
    with pytest.raises(PartError) as error:
        start_as(model("1*attention", 1, ", ffn: mlp(2x)"), model("1*attention", 2), "even")

    assert said(error) == (
        "the student cannot start as its teacher: stack.layers.0.ffn.up.weight is (24, 12), the teacher's "
        "stack.layers.0.ffn.up.weight (48, 12)\nfix: start=own"
    )


def test_shared_weights_cannot_start_as_two_layers():
    student, teacher = model("2*attention", 1, addons="[share]"), model("4*attention", 2)

    with pytest.raises(PartError) as error:
        start_as(student, teacher, "even")

    assert said(error) == (
        "the student cannot start as its teacher: stack.layers.1.mixer.q.weight is shared, and would have to be both "
        "stack.layers.1.mixer.q.weight and stack.layers.3.mixer.q.weight of the teacher\n"
        "fix: start=own\nfix: layers=[[0, 0]], one layer for the shared weights"
    )
    start_as(student, teacher, ((0, 2),))
    assert torch.equal(student.layers[1].mixer.q.weight, teacher.layers[2].mixer.q.weight)
