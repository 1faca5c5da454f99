"""Which layers use one set of weights, as `xcompose build` says it."""

from __future__ import annotations

import pytest

import xcompose as xc
from xcompose.compose.build import plan_model
from xcompose.compose.summary import summarise
from xcompose.compose.summary_sets import told
from xcompose.compose.summary_text import text

MODEL = {"type": "decoder", "dim": 24, "heads": 2, "vocab": 17, "layers": 6}


def headings(*addons: str, **keys) -> list[str]:
    """The lines of a summary that stand for layers."""
    spec = xc.read({"xcompose": 1, "model": {**MODEL, **keys}, "addons": list(addons)})
    return [line.strip() for line in text(summarise(plan_model(spec))).splitlines() if " ×" in line]


def of_mixers(*used: int, at: int = 0) -> str:
    return told([{}] * at + [{"mixer": number} for number in used], at, 1, len(used))


class TestWords:
    @pytest.mark.parametrize(
        ("used", "words"),
        [
            ((0, 1, 2), ""),
            ((0, 0, 0), "one set of weights"),
            ((0, 0, 2, 2), "2 sets of weights, each 2 times in a row"),
            ((0, 1, 0, 1, 0), "2 sets of weights in turns"),
            ((0, 1, 2, 2, 1, 0), "3 sets of weights: 0 1 2 2 1 0"),
            ((0, 0, 0, 3), "2 sets of weights: 0 0 0 1"),
        ],
    )
    def test_orders(self, used, words):
        assert of_mixers(*used) == words

    def test_weights_of_an_earlier_layer(self):
        assert of_mixers(1, 1, at=3) == "weights of layer 1"
        assert of_mixers(3, 3, at=3) == "one set of weights"

    def test_parts_that_are_shared_otherwise(self):
        sets = [{"mixer": 0, "ffn": number, "norms": number} for number in range(3)]

        assert told(sets, 0, 1, 3) == "one set of weights for mixer"
        alike = [{**one, "ffn": 0} for one in sets]
        assert told(alike, 0, 1, 3) == "one set of weights for mixer and ffn"

    def test_layers_that_are_repeated_together(self):
        assert told([{"mixer": i % 2} for i in range(6)], 0, 2, 3) == "one set of weights"


class TestSummary:
    @pytest.mark.parametrize(
        ("addon", "heading"),
        [
            ("share(all)", "6 × (one set of weights)"),
            ("share(attention)", "6 × (one set of weights for mixer)"),
            ("share([mixer, ffn])", "6 × (one set of weights for mixer and ffn)"),
            ("share(groups=2)", "6 × (2 sets of weights, each 3 times in a row)"),
            ("share(groups=4, order=cycle)", "6 × (4 sets of weights in turns)"),
            ("share(groups=3, order=cycle-reversed)", "6 × (3 sets of weights: 0 1 2 2 1 0)"),
        ],
    )
    def test_one_line_says_it(self, addon, heading):
        assert headings(addon) == [heading]

    def test_a_block_of_two_layers(self):
        layers = "3*(attention, attention(pattern=window(3)))"

        assert headings("universal(3)", layers=layers, position="none") == ["3 × (one set of weights)", "1 ×", "1 ×"]

    def test_layers_of_which_only_a_part_is_alike(self):
        layers = "2*attention, 4*attention(pattern=window(3))"

        assert headings("share(ffn)", layers=layers) == [
            "2 × (one set of weights for ffn)",
            "4 × (weights of layer 0 for ffn)",
        ]

    def test_what_stands_before_a_layer_is_told(self):
        spec = {"xcompose": 1, "model": {**MODEL, "position": "none"}, "addons": ["universal"]}
        shown = text(summarise(plan_model(xc.read(spec))))

        assert "    before    waves of position and step" in shown
