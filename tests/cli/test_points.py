"""Models of rows of numbers, from the files to figures; and what they cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_docs import ROOT, blocks, commands, fits
from tests.train.test_images import idx

from .calling import call

SPEC = """\
xcompose: 1
model:
  type: encoder
  embedding: vectors(3)
  dim: 16
  heads: 2
  position: none
  residual: post-norm
  ffn: single
  mixer: attention(pattern=none, memory=inducing(3))
  output: pooled-classify(40)
  layers: 1
task: points(data=drawings)
train: {budget: 2 steps, batch: 2, length: 9, eval: {batches: 1}}
"""


@pytest.fixture(autouse=True)
def drawings(here):
    Path("sets.xc.yaml").write_text(SPEC)
    Path("train-images-idx3-ubyte").write_bytes(idx(40, 8, 12))
    Path("train-labels-idx1-ubyte").write_bytes(idx(40))


def test_from_drawings_to_classes():
    trained = call("xcompose train sets.xc.yaml --data train-images-idx3-ubyte")

    assert trained.code == 0
    assert "40 classes; saying 38 each time is right in 50.0 %" in trained.out
    assert "points/s" in trained.out
    assert trained.out.splitlines()[-1] == "written to runs/sets"
    called = call("xcompose generate runs/sets")
    assert (called.code, called.err) == (
        2, "error: this model sees whole sequences and does not generate\n"
        "  = fix: generate from the run of a decoder\n",
    )  # fmt: skip


def test_it_is_counted_and_timed_as_others_are():
    assert call("xcompose cost sets.xc.yaml --length 16,32").code == 0
    timed = call("xcompose bench sets.xc.yaml --lengths 16,32")
    assert timed.code == 0
    assert "sets" in timed.out
    assert "vectors         3 → 16" in call("xcompose build sets.xc.yaml --explain").out


def test_the_page_about_sets_says_what_is_so(monkeypatch):
    page = ROOT / "docs" / "sets.md"
    ((title, text),) = blocks(page, "yaml")
    Path(title).write_text(text)
    monkeypatch.setenv("COLUMNS", "140")
    for command, expected in commands(page):
        assert fits(expected.split("\n"), call(command).said.split("\n")), command
