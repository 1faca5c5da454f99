"""What a model looks like in the terminal."""

from __future__ import annotations

import json

import pytest

import xcompose as xc
from xcompose.compose.build import plan_model
from xcompose.compose.spelling import Speller, heads_of
from xcompose.compose.summary import Repeat, Row, fold, summarise
from xcompose.compose.summary_text import binary, text
from xcompose.registry import load

MINIMAL = """\
spec   decoder, 3,225,088 parameters, any length, state O(n): 8.0 MiB at 1Ki

  tokens      256 → 256                                            65,536
  4 ×
    norm      layer                                                   512
    attention dense, softmax, rotary        4 heads of 64         263,168
    norm      layer                                                   512
    mlp       256 → 1024 → 256, gelu                              525,568
  norm        layer                                                   512
  lm          256 → 256, tied to tokens                                 0

You wrote type, dim, layers. The rest are defaults: `xcompose freeze spec` prints them."""


def summary(model: dict, *, addons=(), explain: bool = False):
    return summarise(plan_model(xc.read({"xcompose": 1, "model": model, "addons": list(addons)})), explain=explain)


def lines(model: dict, **how) -> list[str]:
    """The middle of the text, blanks folded."""
    return [" ".join(line.split()) for line in text(summary(model, **how)).splitlines()[2:-2]]


def test_the_smallest_spec():
    assert text(summary({"type": "decoder", "dim": 256, "layers": 4})) == MINIMAL


class TestLines:
    def test_blocks_are_named_and_what_is_unusual_is_said(self):
        model = {
            "type": "decoder", "dim": 32, "heads": 2, "norm": "rms", "ffn": "gated(2x)", "output": "lm(tied=false)",
            "blocks": {
                "near": {"mixer": "attention(pattern=window(8) | global(2))", "residual": "parallel"},
                "far": {"mixer": "attention(score=linear)", "position": "none", "ffn": "none", "residual": "parallel"},
            },
            "residual": "parallel", "layers": "2*near, far",
        }  # fmt: skip

        assert lines(model) == [
            "tokens 256 → 32 8,192",
            "2 × near, parallel",
            "norm rms 32",
            "attention window(8) | global(2), softmax, rotary 2 heads of 16 4,224",
            "gated 32 → 64 → 32, silu 6,304",
            "far, parallel",
            "norm rms 32",
            "attention dense, linear 2 heads of 16 4,224",
            "norm rms 32",
            "lm 32 → 256 8,192",
        ]

    def test_two_stacks(self):
        side = {"layers": 1}
        model = {
            "type": "encoder-decoder", "dim": 32, "heads": 2, "residual": "post-norm", "position": "learned",
            "encoder": {"length": 2048, **side}, "decoder": {"length": 100, "heads": 1, **side},
        }  # fmt: skip
        whole = text(summary(model))

        assert whole.splitlines()[0] == (
            "spec   encoder-decoder, 106,624 parameters, encoder length 2Ki, decoder length 100, state O(n): 25.8 KiB "
            "at 100"
        )
        assert lines(model) == [
            "tokens 256 → 32 8,192",
            "encoder",
            "position learned 65,536",
            "1 × post-norm",
            *["attention dense, softmax, learned 2 heads of 16 4,224", "norm layer 64"],
            *["mlp 32 → 128 → 32, gelu 8,352", "norm layer 64"],
            "decoder",
            "position learned 3,200",
            "1 × post-norm",
            *["attention dense, softmax, learned 1 head of 32 4,224", "norm layer 64"],
            *["attention cross, dense, softmax, learned 1 head of 32 4,224", "norm layer 64"],
            *["mlp 32 → 128 → 32, gelu 8,352", "norm layer 64"],
            "lm 32 → 256, tied to tokens 0",
        ]

    def test_sharing_and_adapters(self):
        model = {"type": "encoder", "dim": 32, "heads": 2, "layers": 3}
        whole = text(summary(model, addons=["share(all)", "adapter(4, behind=ffn)"]))

        assert whole.splitlines()[0] == "spec   encoder, 21,836 parameters (876 trainable), any length"
        assert lines(model, addons=["share(all)"])[1] == "3 × (one set of weights)"
        assert "behind ffn 292" in lines(model, addons=["adapter(4, behind=ffn)"])

    @pytest.mark.parametrize("aware", ["", ", aware=true"])
    def test_what_is_stored_when_training_is_over_is_trained(self, aware):
        pytest.importorskip("torchao", reason="pip install 'xcompose[quantize]'")
        model = {"type": "encoder", "dim": 32, "heads": 2, "layers": 1}
        plain, stored = (summary(model, addons=addons) for addons in ([], [f"quantize(int8{aware})"]))
        frozen = summary(model, addons=["quantize(int8)", "adapter(4, behind=ffn)"])

        assert stored.trainable == stored.parameters == plain.parameters
        assert frozen.trainable == 292

    def test_executors_stand_below_their_mixer(self):
        model = {"type": "decoder", "dim": 32, "heads": 2, "layers": "attention(pattern=window(8)), attention"}
        made = summary(model, explain=True)
        rows = [row for repeat in made.rows if isinstance(repeat, Repeat) for row in repeat.rows]
        choices = [row.executors for row in rows if isinstance(row, Row) and row.name == "attention"]

        assert [[choice.read for choice in each] for each in choices] == [["tokens"], ["tokens"]]
        for choice in (choices[0][0], choices[1][0]):
            assert f"tokens: {choice.executor}, {choice.reason}" in lines(model, explain=True)


class TestGrowth:
    @pytest.mark.parametrize(
        ("layers", "expected"),
        [
            ("attention", "O(n)"),
            ("attention(pattern=window(64))", "O(1)"),
            ("attention(score=linear)", "O(1)"),
            ("attention(score=linear), attention", "O(n)"),
            ("attention(recurrence=segments(100, memory=300), position=none)", "O(1)"),
            ("attention(pattern=blocks(1000))", "O(1)"),
            ("attention(pattern=none, memory=conv(3, null=zero))", "O(n)"),
        ],
    )
    def test_of_the_state(self, layers, expected):
        assert summary({"type": "decoder", "dim": 32, "heads": 2, "layers": layers}).growth == expected


def test_the_same_as_data():
    found = json.loads(json.dumps(summary({"type": "decoder", "dim": 64, "layers": 2}).as_json()))

    assert found["parameters"] == 116_480
    assert found["rows"][1]["times"] == 2
    assert found["rows"][1]["rows"][3] == {
        "name": "mlp", "detail": "64 → 256 → 64, gelu", "note": "", "parameters": 33_088, "executors": [],
    }  # fmt: skip


class TestFold:
    def fold(self, word: str):
        def shape(rows):
            return [(r.times, r.title or shape(r.rows)) for r in rows if isinstance(r, Repeat)]

        layers = [Repeat(1, (Row(letter, "", "", 0),), letter) for letter in word]
        return shape(fold(layers, [{}] * len(layers)))

    @pytest.mark.parametrize(
        ("word", "expected"),
        [
            ("a", [(1, "a")]),
            ("aaa", [(3, "a")]),
            ("aab", [(2, "a"), (1, "b")]),
            ("ababab", [(3, [(1, "a"), (1, "b")])]),
            ("aabaabc", [(2, [(2, "a"), (1, "b")]), (1, "c")]),
            ("abc", [(1, "a"), (1, "b"), (1, "c")]),
        ],
    )
    def test_what_recurs_is_written_once(self, word, expected):
        assert self.fold(word) == expected


class TestSpelling:
    @pytest.mark.parametrize(
        "written",
        [
            "window(256, dilation=2)",
            "window(256) | global(4)",
            "(window(256) | global(4)) & strided(8)",
            "heads(2*window(3), window(3, dilation=2))",
            "dense - global(4)",
        ],
    )
    def test_as_a_spec_would_write_it(self, written):
        model = {"type": "decoder", "dim": 48, "heads": 3, "layers": 1, "mixer": {"pattern": written}}
        node = xc.read({"xcompose": 1, "model": model}).model
        assert node is not None
        pattern = node.options["layers"][0].options["mixer"].options["pattern"]

        assert Speller(load()).spelled(pattern) == written

    @pytest.mark.parametrize("written", ["synthesizer(dense)", "synthesizer(random, content, std=0.5)"])
    def test_a_list_of_words(self, written):
        model = {"type": "decoder", "dim": 64, "layers": 1, "mixer": {"score": written}}
        node = xc.read({"xcompose": 1, "model": model}).model
        assert node is not None

        assert Speller(load()).spelled(node.options["layers"][0].options["mixer"].options["score"]) == written

    def test_records(self):
        items = [{"rows": "first(1)", "use": "attention"}, {"use": "attention(pattern=window(8))"}]
        model = {"type": "encoder", "dim": 48, "heads": 3, "layers": 1, "mixer": {"type": "rows", "of": items}}
        node = xc.read({"xcompose": 1, "model": model}).model
        assert node is not None
        mixer = node.options["layers"][0].options["mixer"]
        items = "{rows: first(1), use: attention}, {use: attention(pattern=window(8))}"

        assert Speller(load()).detail(mixer) == items
        assert Speller(load()).spelled(mixer) == f"rows(of={items})"

    def test_heads(self):
        model = {"type": "decoder", "dim": 48, "heads": 4, "kv_heads": 2, "layers": 1}
        node = xc.read({"xcompose": 1, "model": model}).model
        assert node is not None

        assert heads_of(node.options["layers"][0].options["mixer"]) == "4 heads of 12, 2 key/value"
        assert heads_of(node.options["ffn"]) == ""


@pytest.mark.parametrize(("count", "expected"), [(1000, "1000"), (1024, "1Ki"), (2**20, "1Mi"), (1536, "1536")])
def test_lengths_for_people(count, expected):
    assert binary(count) == expected


def test_add_ons_are_told():
    model = {"type": "decoder", "dim": 64, "layers": 2}
    made = xc.build({"xcompose": 1, "model": model, "addons": ["share(mixer)", "adapter(8)"]})

    assert summarise(made).addons == ("share(mixer)", "adapter(8)")
    assert "\n\n  add-ons: share(mixer), then adapter(8)\n\nYou wrote" in text(summarise(made))
