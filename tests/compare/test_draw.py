from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from xcompose import registry
from xcompose.compare.draw import cards_of, draw, drawing, seen, summary, telling_length
from xcompose.compose.build import plan_model
from xcompose.compose.model import Model
from xcompose.compose.parts import Mixer
from xcompose.spec import load_text


def model(layers: str, kind: str = "decoder", more: str = "") -> Model:
    text = f"xcompose: 1\nname: small\nmodel:\n  type: {kind}\n  dim: 32\n  heads: 4\n  layers: {layers}\n{more}"
    return plan_model(load_text(text, "small", catalogue=registry.load().catalogue))


def test_layers_show_what_each_group_of_heads_reads():
    mixed = model("2*attention(pattern=heads(3*window(2), window(2, dilation=3))), attention(score=linear)")
    n = 13

    cards = cards_of(mixed, n)

    i, j = np.arange(n)[:, None], np.arange(n)[None]
    near, far = (i - j >= 0) & (i - j <= 2), (i - j >= 0) & (i - j <= 6) & ((i - j) % 3 == 0)
    assert [card.title for card in cards] == ["layer 0", "layer 1", "layer 2"]
    assert [[g.heads for g in card.groups] for card in cards] == [[3, 1], [3, 1], [4]]
    assert np.array_equal(cards[0].groups[0].matrix, near)
    assert np.array_equal(cards[0].groups[1].matrix, far)
    assert np.array_equal(cards[2].groups[0].matrix, i >= j)
    assert all(card.causal for card in cards)


def test_depth_counts_the_layers_that_something_needs():
    n = 11
    cards = cards_of(model("3*attention(pattern=window(2))"), n)

    for layer, card in enumerate(cards, start=1):
        for i in range(n):
            for j in range(n):
                steps = -(-(i - j) // 2) if i >= j else -1
                assert card.depth[i, j] == (steps if 0 <= steps <= layer else -1)


def test_an_encoder_looks_both_ways():
    cards = cards_of(model("1*attention(pattern=window(1))", "encoder"), 5)

    assert not cards[0].causal
    assert (cards[0].depth >= 0).sum() == 13


def test_two_stacks_are_drawn_one_behind_the_other():
    text = """\
xcompose: 1
model:
  type: encoder-decoder
  dim: 32
  heads: 2
  encoder: {layers: 1}
  decoder: {layers: 2}
"""
    both = plan_model(load_text(text, "both", catalogue=registry.load().catalogue))

    cards = cards_of(both, 7)

    assert [card.title for card in cards] == ["encoder layer 0", "decoder layer 0", "decoder layer 1"]
    assert [card.causal for card in cards] == [False, True, True]


def test_blocks_have_their_names():
    named = model("near, far", more="  blocks: {near: {ffn: none}, far: {ffn: none}}\n")

    assert [card.title for card in cards_of(named, 5)] == ["layer 0 · near", "layer 1 · far"]


def test_a_mixer_that_declares_nothing_is_said_to():
    plain = model("2")
    block = plain.layers[0]

    class Dark(Mixer):
        def mix(self, x: Tensor, axis: object, source: object = None):  # type: ignore[override]
            raise AssertionError

    block.mixer = Dark()

    (first, _) = summary(plain, 5)

    assert first["groups"] == [{"label": "not declared", "heads": 1, "pairs": 25, "exact": False}]


def test_the_length_shows_structure():
    assert telling_length(model("1*attention(pattern=window(3))")) == 32
    assert telling_length(model("1*attention(pattern=window(40))")) == 128
    assert telling_length(model("2")) == 32
    assert telling_length(model("2", more="  length: 20\n")) == 20


def test_data_says_the_same():
    assert summary(model("1*attention(pattern=window(1)), 1"), 5) == [
        {"layer": "layer 0", "groups": [{"label": "heads 0-3", "heads": 4, "pairs": 9, "exact": True}], "reach": 2},
        {"layer": "layer 1", "groups": [{"label": "heads 0-3", "heads": 4, "pairs": 15, "exact": True}], "reach": 5},
    ]


@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml"), ("a.PNG", b"\x89PNG")])
def test_files_are_written(tmp_path: Path, name: str, start: bytes):
    path = draw(model("12"), tmp_path / "new" / name, n=9)

    assert path.read_bytes().startswith(start)


def test_other_files_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"^a picture ends in .svg or .png, 'a.jpeg' does not$"):
        draw(model("1"), Path("a.jpeg"))


def test_the_picture_says_what_its_colours_mean():
    figure = drawing(model("2*attention(pattern=heads(window(2), window(2, dilation=3)))"), n=9)

    said = [text.get_text() for text in figure.texts]
    assert said == [
        "small",
        "A row for each query, a column for each key, 9 tokens; on the right, what has reached a row.",
        "layer 0",
        "heads(window(2), window(2, dilation=3)), softmax, rotary",
        "layer 1",
        "heads(window(2), window(2, dilation=3)), softmax, rotary",
        "read, group 1",
        "read, group 2",
        "not read",
        "reached after 1 layer",
        "reached after 2 layers",
    ]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["heads 0-1", "heads 2-3", "reached"] * 2


def test_nothing_lies_outside_the_page():
    for layers in ("1", "4", "12", "24"):
        figure = drawing(model(layers), n=5)
        for axes in figure.axes:
            box = axes.get_position()
            assert 0 <= box.x0 < box.x1 <= 1
            assert 0 <= box.y0 < box.y1 <= 1
        for text in figure.texts:
            assert 0 <= text.get_position()[0] < 1
            assert 0 <= text.get_position()[1] < 1


def test_each_of_several_stacks_is_drawn_by_itself():
    blocks = "{row: attention(pattern=axis(1)), column: attention(pattern=axis(0))}"
    text = (
        "xcompose: 1\nmodel:\n  type: axial-decoder\n  dim: 8\n  heads: 2\n  grid: [3, 4]\n"
        f"  blocks: {blocks}\n  outer: {{layers: 'row, column'}}\n  inner: {{layers: row}}\n"
    )
    made = plan_model(load_text(text, "image", catalogue=registry.load().catalogue))

    cards = cards_of(made, 12)
    assert [card.title for card in cards] == ["outer layer 0 · row", "outer layer 1 · column", "inner layer 0 · row"]
    assert [card.causal for card in cards] == [False, False, True]
    assert [int((card.depth >= 0).sum()) for card in cards] == [48, 96, 30]


@pytest.mark.parametrize("n", [80, 81, 500])
@pytest.mark.parametrize("causal", [False, True])
def test_no_pair_is_too_small_to_be_seen(n, causal):
    """A panel shows few places along a side: each pair is as wide as one of them."""
    single, size = np.zeros((n, n), dtype=bool), -(-n // 80)
    single[n - 1, 3] = single[0, 0] = True

    wide = seen(single, causal)

    assert wide[single].all()
    rows, columns = (np.unique(part) for part in wide[n // 2 :].nonzero())
    assert (len(columns), 3 in columns) == (size, True)
    assert len(rows) == (n - 1) % size + 1
    assert not causal or not np.triu(wide, 1).any()
    assert (wide == single).all() == (size == 1)
