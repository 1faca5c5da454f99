"""Models of two sequences, from lines in two languages to lines that they write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .calling import call

SPEC = """\
xcompose: 1
model:
  type: encoder-decoder
  dim: 16
  heads: 2
  encoder:
    length: 32
    layers: 1
    mixer:
      type: rows
      share: [out]
      of:
        - {rows: first(1), use: attention}
        - {use: "attention(pattern=window(4) | global(1))"}
  decoder: {length: 40, layers: 1}
task: translate(data=numbers, source=en, target=de)
train: {budget: 2 steps, batch: 2, length: 16, eval: {batches: 1}}
variants:
  near: {model.encoder.mixer: attention(pattern=window(4))}
"""


@pytest.fixture(autouse=True)
def numbers(here):
    Path("lines.xc.yaml").write_text(SPEC)
    Path("lines").mkdir()
    for name, text in (("en", "one\ntwo\nthree\nfour\n"), ("de", "eins\nzwei\ndrei\nvier\n")):
        Path(f"lines/train.{name}").write_text(text)
        Path(f"lines/val.{name}").write_text(text)


def test_from_lines_to_lines():
    trained = call("xcompose train lines.xc.yaml --data lines")
    assert trained.code == 0
    assert "lines: from en to de, 4 pairs of lines to train on, 4 held out" in trained.out
    assert trained.out.splitlines()[-1] == 'written to runs/lines; next:  xcompose generate runs/lines --source "..."'

    written = json.loads(call("xcompose generate runs/lines --source two --tokens 9 --format json").out)
    assert (written["prompt"], written["source"]) == ("", "two")
    assert len(written["tokens"]) <= 9
    assert 10 not in written["tokens"]
    begun = call("xcompose generate runs/lines --source two --prompt zw --tokens 3")
    assert begun.out.startswith("zw")

    for options, message, fix in (
        ("", "this model reads a source", '--source "A dog runs."'),
        ("--source " + "x" * 33, "a source of 33 bytes, and the model reads 32", "a shorter one"),
    ):
        called = call(f"xcompose generate runs/lines {options}")
        assert (called.code, called.err) == (2, f"error: {message}\n  = fix: {fix}\n")


def test_a_run_of_one_sequence_has_no_source():
    assert call("xcompose train mine.xc.yaml").code == 0

    called = call("xcompose generate runs/mine --source two")

    assert (called.code, called.err) == (
        2, "error: this model reads no source\n  = fix: leave --source out\n",
    )  # fmt: skip


def test_lines_are_asked_for():
    called = call("xcompose train lines.xc.yaml")

    assert called.code == 1
    assert "error[XC083]: there is no built-in data 'numbers'" in called.said


def test_a_model_of_one_sequence_is_refused():
    called = call("xcompose train mine.xc.yaml --recipe lines.xc.yaml --data lines")

    assert called.code == 1
    assert "error[XC031]: task 'translate' needs a model that reads a source" in called.said
    assert "= fix: type: encoder-decoder" in called.said


def test_specs_are_compared():
    called = call(
        "xcompose compare lines.xc.yaml lines.xc.yaml@near --recipe lines.xc.yaml --data lines --budget '2 steps'"
    )

    assert called.code == 0, called.err
    assert "lines@near" in called.out
