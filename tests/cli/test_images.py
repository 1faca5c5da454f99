"""Models of images, from the files to pictures that they draw."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.test_docs import ROOT, blocks, commands, fits
from tests.train.test_images import idx
from tests.train.test_png import read

from .calling import call

SPEC = """\
xcompose: 1
model:
  type: decoder
  grid: [4, 6]
  grid_block: [2, 2]
  dim: 16
  heads: 2
  position: axial
  mixer: attention(pattern=local([2, 2], memory=[1, 2]))
  layers: 1
task: pixels(data=squares)
train: {budget: 2 steps, batch: 2, eval: {batches: 1}}
"""


@pytest.fixture(autouse=True)
def squares(here):
    Path("squares.xc.yaml").write_text(SPEC)
    Path("train-images-idx3-ubyte").write_bytes(idx(40, 8, 12))


def train(*more: str):
    return call("xcompose train squares.xc.yaml --data train-images-idx3-ubyte", *more)


def test_from_images_to_pictures():
    trained = train()
    assert trained.code == 0
    assert "train-images-idx3-ubyte: 1 file, 38 images of 8 x 12 to train on, 2 held out" in trained.out
    assert "bits per dim without any context: 6.83" in trained.out
    assert "pixels/s" in trained.out
    assert trained.out.splitlines()[-1] == "written to runs/squares; next:  xcompose generate runs/squares"

    written = call("xcompose generate runs/squares")
    assert written.out == "wrote runs/squares/generated.png: 16 images of 4 x 6\n"
    assert tuple(read(Path("runs/squares/generated.png").read_bytes()).shape) == (4 * 78 + 2, 4 * 116 + 2, 1)

    drawn = json.loads(call("xcompose generate runs/squares --count 3 -o some.png --format json").out)
    assert drawn["output"] == "some.png"
    assert [len(tokens) for tokens in drawn["tokens"]] == [24] * 3
    assert Path("some.png").exists()

    for option, value in (("--prompt", "a"), ("--tokens", "7")):
        called = call(f"xcompose generate runs/squares {option} {value}")
        assert (called.code, called.err) == (
            2, f"error: this run generates images of 4 x 6, for which {option} means nothing\n"
            f"  = fix: leave {option} out\n",
        )  # fmt: skip


def test_text_is_no_picture():
    assert call("xcompose train mine.xc.yaml").code == 0

    called = call("xcompose generate runs/mine --count 3")

    assert (called.code, called.err) == (
        2, "error: this run generates text, for which --count means nothing\n  = fix: leave --count out\n",
    )  # fmt: skip


def test_what_does_not_fit_is_shown_where_it_stands():
    called = train("--set", "train.length=12")

    assert called.code == 1
    assert called.said == (
        "error[XC041]: a sequence is a whole image of 24 pixels, train.length is 12\n"
        "  --> squares.xc.yaml:11:7   task\n"
        "   |\n"
        "11 | task: pixels(data=squares)\n"
        "   |       ^^^^^^\n"
        "   = fix: train.length: 24, or none"
    )


def test_images_are_asked_for():
    called = call("xcompose train squares.xc.yaml")

    assert called.code == 1
    assert called.said.startswith(
        "error[XC083]: no images come with xcompose, 'squares' must be given\n --> task.data\n"
    )


def test_the_page_about_images_prints_what_it_shows(here):
    page = ROOT / "docs" / "images.md"
    for title, text in blocks(page, "yaml"):
        Path(title).write_text(text)

    for command, expected in commands(page):
        called = call(command)
        assert fits(expected.split("\n"), called.said.split("\n")), called.said

    assert Path("digits.png").exists()
