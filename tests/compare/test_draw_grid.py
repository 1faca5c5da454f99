from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.calling import call
from xcompose import registry
from xcompose.attention.grid import Grid
from xcompose.compare.draw import EMPTY, FUTURE, GROUPS, cards_of, rgb
from xcompose.compare.draw_grid import QUERY, GridPage, draw_on_grid, grid_of_model
from xcompose.compose.build import plan_model
from xcompose.compose.model import Model
from xcompose.spec import load_text

SPEC = """\
xcompose: 1
name: small
model:
  type: {kind}
  dim: 32
  heads: 4
  grid: [4, 6]
  grid_block: [2, 2]
  layers: 2*attention(pattern=local([2, 2], memory=[1, 1]))
"""
LETTERS = {QUERY: "Q", GROUPS[0]: "x", EMPTY: ".", FUTURE: " "}


def model(text: str) -> Model:
    return plan_model(load_text(text, "small", catalogue=registry.load().catalogue))


def page_of(kind: str, place: tuple[int, int]) -> tuple[GridPage, tuple]:
    made = model(SPEC.format(kind=kind))
    grid = grid_of_model(made)
    assert grid is not None
    cards = cards_of(made, grid.size)
    return GridPage(cards, grid, place), cards


def spelt(image: np.ndarray) -> list[str]:
    """A letter for each cell."""
    return ["".join(next(x for c, x in LETTERS.items() if np.allclose(cell, rgb(c))) for cell in row) for row in image]


def test_a_decoder_reads_what_lies_around_the_block_and_comes_before():
    page, cards = page_of("decoder", (3, 3))

    assert spelt(page._read(cards[0], cards[0].groups[0], 0)) == [
        "......",
        ".xxxx.",
        ".xxx  ",
        ".xxQ  ",
    ]
    assert page.said() == ("What the query in row 3, column 3 of the grid reads; on the right, what has reached it.")


def test_an_encoder_reads_on_all_sides():
    page, cards = page_of("encoder", (1, 2))

    assert spelt(page._read(cards[0], cards[0].groups[0], 0)) == [
        ".xxxx.",
        ".xQxx.",
        ".xxxx.",
        "......",
    ]


def test_layers_reach_further():
    page, cards = page_of("decoder", (3, 3))

    first, second = (np.isclose(page._reached(card), page._shade(1)).all(2).sum() for card in cards)

    assert first == second == 4 + 3 + 2
    assert np.isclose(page._reached(cards[1]), page._shade(2)).all(2)[0].tolist() == [True] * 6


def test_rows_before_the_tokens_are_left_out():
    text = (
        SPEC.format(kind="encoder")
        .replace("memory=[1, 1])", "memory=[1, 1]) | prefix")
        .replace("  layers", "  embedding: tokens(prefix=3)\n  layers")
    )
    made = model(text)
    cards = cards_of(made, 24)

    page = GridPage(cards, Grid((4, 6), (2, 2)), (1, 2), made.prefix)

    assert (made.prefix, len(cards[0].depth)) == (3, 27)
    assert spelt(page._read(cards[0], cards[0].groups[0], 0)) == [".xxxx.", ".xQxx.", ".xxxx.", "......"]


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_becomes_a_file(tmp_path: Path, suffix):
    made = model(SPEC.format(kind="decoder"))

    path = draw_on_grid(made, tmp_path / f"p.{suffix}", Grid((4, 6), (2, 2)), (0, 0))

    assert path.read_bytes()[:5] in (b"<?xml", b"\x89PNG\r")


def test_models_without_two_sides_have_no_grid_to_draw():
    for keys in ("length: 24", "grid: [24]"):
        text = SPEC.replace("  grid: [4, 6]\n  grid_block: [2, 2]\n", f"  {keys}\n").replace("[2, 2]", "4")
        assert grid_of_model(model(text.replace("[1, 1]", "1").format(kind="decoder"))) is None


def said(arguments: str) -> tuple[int, str]:
    called = call(f"xcompose draw small.xc.yaml {arguments}")
    return called.code, called.said


def test_the_command(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("small.xc.yaml").write_text(SPEC.replace("name: small\n", "").format(kind="decoder"))

    assert said("--at 3,3") == (0, "wrote small.png: 2 layers, 24 tokens")
    assert said("--at 4,3") == (
        2, "error: --at names a row, 0 to 3, and a column, 0 to 5, not '4,3'\n  = fix: --at 2,3",
    )  # fmt: skip
    assert said("--at 4 --length 24") == (
        2, "error: --at shows the whole grid, which has a length of its own\n  = fix: leave --length out",
    )  # fmt: skip
    large = "--set model.grid='[80, 80]'"
    assert said(f"--at 4,4 {large}") == (
        2, "error: --at: a picture shows 4096 tokens at most, the grid has 6400\n  = fix: a smaller grid",
    )  # fmt: skip
    assert said("--at 4,4 --set model.grid=24 --set model.grid_block=null --set model.layers=1") == (
        2, "error: --at: the model has no grid of two sides\n  = fix: draw it without --at",
    )  # fmt: skip
