"""The table of costs, whole."""

from __future__ import annotations

import pytest

from xcompose import registry
from xcompose.cost.report import report
from xcompose.diagnostics import SpecError
from xcompose.spec.resolve import load_text

MINIMAL = "xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 4}\n"


def spec(text: str = MINIMAL):
    return load_text(text, "mine", catalogue=registry.load().catalogue)


def test_the_table_says_work_state_and_how_they_grow():
    found = report(spec(), [1024, 16384, 2**20], training=False)

    assert found.text() == (
        "mine                        n = 1,024      n = 16,384   n = 1,048,576\n"
        "  work, forward            8.73 GFLOP       655 GFLOP      2.26 PFLOP   O(n^2)\n"
        "    of it attention              25 %            84 %          99.7 %\n"
        "  decode state                8.0 MiB         128 MiB         8.0 GiB   O(n)\n"
        "  parameters         3,225,088"
    )


def test_an_encoder_has_no_decode_state():
    text = "xcompose: 1\nmodel: {type: encoder, dim: 64, layers: 1}\n"
    found = report(spec(text), [512], training=False)

    assert "decode state" not in found.text()
    assert set(found.as_data()["growth"]) == {"time"}


def test_a_training_step_and_its_activations_are_asked_for():
    lines = report(spec(), [1024]).text().splitlines()

    assert [line.split("  ")[1].strip() for line in lines[1:]] == [
        "work, forward", "", "work, training step", "activations", "decode state", "parameters",
    ]  # fmt: skip


def test_data_for_programs_holds_numbers():
    data = report(spec(), [1024], training=False).as_data()

    assert data["spec"] == "mine"
    assert data["parameters"] == {"total": 3225088, "trainable": 3225088}
    assert data["growth"] == {"time": "O(n^2)", "state": "O(n)"}
    assert data["lengths"][0]["n"] == 1024


def test_a_length_that_the_model_does_not_take_is_refused_with_its_reason():
    text = "xcompose: 1\nmodel: {type: decoder, dim: 64, layers: 1, length: 16, position: learned}\n"
    with pytest.raises(SpecError) as refused:
        report(spec(text), [17])
    (finding,) = refused.value.diagnostics

    assert (finding.code, finding.message) == ("XC041", "the model does not take a text of 17 tokens")
    assert finding.label == "a sequence of 17 tokens is longer than the 16 places of position 'learned'"
    assert finding.fixes == ("another --length",)
