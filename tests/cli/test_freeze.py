"""`xcompose freeze`, and what `check` and weights make of a frozen spec that does not mean the same."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

import xcompose as xc
from xcompose.compose.weights import save_weights
from xcompose.train.run import load_spec

from .calling import call


@pytest.fixture
def text() -> str:
    """A frozen spec, in frozen.xc.yaml."""
    assert call("xcompose freeze mine.xc.yaml -o frozen.xc.yaml").out == "wrote frozen.xc.yaml\n"
    return Path("frozen.xc.yaml").read_text()


def frozen(text: str) -> None:
    Path("frozen.xc.yaml").write_text(text)


def said(stage: str = "build") -> str:
    return call(f"xcompose check frozen.xc.yaml --stage {stage}").said


def test_a_frozen_spec_passes_and_holds_what_its_model_holds(text):
    facts = text.partition("\nfrozen:\n")[2]

    assert "  language: 1\n" in facts
    assert "    window: xcompose " in facts
    assert f"  parameters: {sum(p.numel() for p in xc.build('mine.xc.yaml').parameters())}\n" in facts
    assert "1 spec: 0 findings" in said()


def test_one_edited_by_hand_is_refused_until_it_is_frozen_again(text):
    frozen(text.replace("size=4", "size=5"))

    assert "error[XC044]: the spec was edited since it was frozen\n" in said("schema")
    assert call("xcompose build frozen.xc.yaml").code == 1
    called = call("xcompose freeze frozen.xc.yaml -o frozen.xc.yaml")
    assert called.code == 0
    assert called.err.startswith("warning[XC044]: the spec was edited since it was frozen\n")
    assert "1 spec: 0 findings" in said()


def test_equal_options_that_build_another_model_are_refused(text):
    head, _, rest = text.partition("  parameters: ")
    frozen(f"{head}  parameters: 7\n{rest.partition(chr(10))[2]}")
    lines = said().splitlines()

    assert lines[0] == "error[XC044]: the model has 10,688 parameters, and had 7 when the spec was frozen"
    assert lines[4].endswith("^ equal options build another model now")


def test_a_spec_that_cannot_be_composed_is_not_frozen():
    called = call("xcompose freeze mine.xc.yaml --set layers=attention(pattern=window(4),memory=linformer(4))")

    assert (called.code, called.out) == (1, "")
    assert called.err.startswith("error[XC")


def test_weights_that_fit_are_loaded_with_a_warning(monkeypatch):
    model = xc.build("mine.xc.yaml", seed=3)
    place = save_weights(model, Path("w.safetensors"))
    monkeypatch.setattr("xcompose.spec.drift.meaning", lambda *_: "another")

    with pytest.warns(UserWarning, match=r"^mine: the spec was edited since it was frozen"):
        again = xc.load(place)

    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_the_spec_of_a_run_is_read_with_a_warning(text, monkeypatch):
    monkeypatch.setattr("xcompose.spec.drift.meaning", lambda *_: "another")

    with pytest.warns(UserWarning, match=r"^mine: the spec was edited since it was frozen"):
        assert load_spec(Path("frozen.xc.yaml")).model is not None


def test_equal_options_and_tensors_that_read_other_rows_are_refused(text, monkeypatch):
    window = importlib.import_module("xcompose_plugins.patterns.window").Window
    assert "\n  reads: 64 " in text
    allows = window.allows
    monkeypatch.setattr(window, "allows", lambda self, q, k: allows(self, q, k) & (q.at - k.at != 2))
    lines = said().splitlines()

    assert lines[0] == "error[XC044]: the model's mixers may read other rows than when the spec was frozen"
    assert lines[1].endswith("   frozen.reads")
    assert lines[4].endswith("^ equal options read other rows of a text of 64 now")


def test_a_record_of_before_is_not_asked_who_reads_whom(text):
    head, _, rest = text.partition("\n  reads: ")
    frozen(f"{head}\n{rest.partition(chr(10))[2]}")

    assert "1 spec: 0 findings" in said()


TEACHER = "xcompose: 1\nmodel: {type: decoder, dim: 16, heads: 2, length: 64, layers: %s}\n"


@pytest.fixture
def taught() -> Path:
    """A frozen spec that names a teacher, of which there are two."""
    for name, layers in (("t1", "2"), ("t2", "attention(pattern=window(4)), 1")):
        Path(name).mkdir()
        Path(name, "t.xc.yaml").write_text(TEACHER % f"'{layers}'")
    Path("taught.xc.yaml").write_text(
        "xcompose: 1\nextends: mine.xc.yaml\ntrain.addons: ['distill(\"t1/t.xc.yaml\")']\n"
    )
    called = call("xcompose freeze taught.xc.yaml -o frozen.xc.yaml")
    assert called.out == "wrote frozen.xc.yaml\n", called.said
    return Path("frozen.xc.yaml")


def test_another_teacher_of_the_same_name_is_seen(taught):
    assert "1 spec: 0 findings" in said("schema")
    taught.write_text(taught.read_text().replace("t1/t.xc.yaml", "t2/t.xc.yaml"))

    lines = said("schema").splitlines()
    assert lines[0] == ("error[XC044]: 't2/t.xc.yaml' is not the model that it was when the spec was frozen")
    assert lines[1].endswith("   frozen.specs")


def test_a_teacher_that_was_edited_is_seen_and_one_that_moved_or_got_a_comment_is_none(taught):
    teacher = Path("t1/t.xc.yaml")
    teacher.write_text("# here\n" + teacher.read_text())
    assert "1 spec: 0 findings" in said("schema")

    teacher.write_text(TEACHER % "3")
    assert "'t1/t.xc.yaml' is not the model that it was" in said("schema")

    teacher.write_text("xcompose: 1\n")
    assert "'t1/t.xc.yaml' is not the model that it was" in said("schema")


def test_two_that_name_each_other_end(taught):
    called = call("xcompose freeze frozen.xc.yaml --set train.addons=['distill(\"frozen.xc.yaml\")'] -o loop.xc.yaml")
    assert called.code == 0, called.said
    taught.write_text(Path("loop.xc.yaml").read_text().replace("frozen.xc.yaml", "loop.xc.yaml"))

    assert "1 spec: 0 findings" in call("xcompose check loop.xc.yaml --stage schema").said
