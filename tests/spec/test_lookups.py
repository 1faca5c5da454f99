"""References: names of `each` and `let`, paths, sums, circles."""

from __future__ import annotations

import pytest

from .helpers import messages_of, model_of, patterns, spec_of

HEAD = "xcompose: 1\nlet: {w: 64, p: 'window(${w})', c: {size: 3}, x: '${w}'}\nmodel:\n  type: decoder\n  dim: 256\n"


@pytest.mark.parametrize(
    ("mixer", "name"),
    [
        ("attention(pattern=window(${w}))", "window 64"),
        ("attention(pattern=window(${let.w}))", "window 64"),
        ("attention(pattern=window(${x}))", "window 64"),
        ("attention(pattern=${p})", "window 64"),
        ("attention(pattern=window(${c.size}))", "window 3"),
        ("attention(pattern=window(${model.dim / 8}))", "window 32"),
        ("attention(pattern=window(${(w + 1) * 2 - model.heads}))", "window 126"),
        ("attention(pattern=window(${model.ffn.width}))", "window 1024"),
        ("attention(pattern=window(${model.blocks.b.mixer.pattern.size}))", "window 7"),
        ("attention(pattern=window(${model.layers.1.mixer.pattern.of.0.size}))", "window 5"),
        ("attention(pattern=${model.blocks.b.mixer.pattern})", "window 7"),
        ("${model.blocks.b.mixer}", "window 7"),
        ("{type: attention, pattern: '${p}'}", "window 64"),
    ],
)
def test_a_reference_stands_for_what_it_points_at(mixer, name):
    text = HEAD + "  blocks: {b: 'attention(pattern=window(7))'}\n"
    text += f"  layers:\n    - mixer: {mixer}\n    - attention(pattern=window(5) | dense)\n"
    model = spec_of(text).model
    assert model is not None

    assert patterns(model.options["layers"])[0] == name


def test_options_change_below_a_reference():
    text = HEAD + "  mixer: attention(pattern=${p})\n  layers: [1, {mixer: {pattern: {dilation: 2}}}]\n"
    model = spec_of(text).model
    assert model is not None

    found = [layer.options["mixer"].options["pattern"].options for layer in model.options["layers"]]
    assert found == [{"size": 64, "dilation": 1}, {"size": 64, "dilation": 2}]


def test_a_reference_is_read_after_all_overrides():
    model = spec_of(HEAD + "  layers: attention(pattern=${p})\n", "let.w=16").model
    assert model is not None

    assert patterns(model.options["layers"]) == ["window 16"]


def test_whole_lists_and_words_can_be_referred_to():
    text = """\
    xcompose: 1
    let: {shape: [4, 8], act: relu, n: 3}
    model:
      type: decoder
      dim: 256
      position: axial(shape=${shape})
      ffn: mlp(act=${act})
      layers: [2, "${n}"]
    """
    model = spec_of(text).model
    assert model is not None

    assert model.options["position"].options["shape"] == (4, 8)
    assert model.options["ffn"].options["act"] == "relu"
    assert len(model.options["layers"]) == 5


def test_text_is_never_a_reference():
    assert spec_of(HEAD + "  layers: 1\nabout: ${w}\n").about == "${w}"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("window(${q})", "6:37 XC021 there is no 'q' to refer to"),
        ("window(${model.dmi})", "6:37 XC021 there is no 'model.dmi' to refer to"),
        ("window(${dim})", "6:37 XC021 there is no 'dim' to refer to"),
        ("window(${model.dim / 7})", "6:37 XC023 256 is not divisible by 7"),
        ("window(${w - 100})", "6:35 XC014 expected a length, found '-36'"),
        ("window(${p})", "2:17 XC014 expected a length, found 'window(${w})'"),
        ("window(${c})", "2:36 XC014 'size' wants a length, found a mapping"),
        ("window(${model.mixer.pattern.size})",
         "6:35 XC022 reference cycle: model.mixer.pattern.size -> model.mixer.pattern.size"),
        ("${model.mixer.pattern}", "6:30 XC022 reference cycle: model.mixer.pattern -> model.mixer.pattern"),
        ("${model.mixer}", "6:10 XC013 no pattern is called 'attention'"),
    ],
)  # fmt: skip
def test_what_is_said_about_a_wrong_reference(pattern, found):
    messages = messages_of(HEAD + f"  mixer: attention(pattern={pattern})\n  layers: 1\n")

    assert messages == [found]


def test_names_of_let_are_no_sections():
    assert messages_of("xcompose: 1\nlet: {train: 3}\n") == ["2:7 XC024 'train' is a name of 'let' and a section"]


def test_a_name_of_each_and_let_is_ambiguous():
    text = HEAD + "  layers:\n    - {each: {w: [1, 2]}, mixer: 'attention(pattern=window(3))'}\n"

    assert messages_of(text) == ["7:15 XC024 'w' is a name of 'each' and of let"]


def test_long_chains_and_bombs_end():
    chain = ", ".join(f"a{i}: '${{a{i + 1}}}'" for i in range(20)) + ", a20: 3"
    text = f"xcompose: 1\nlet: {{{chain}}}\nmodel: {{type: decoder, dim: 256, heads: '${{a0}}', layers: 1}}\n"
    assert [m.split()[1] for m in messages_of(text)] == ["XC022"]

    bomb = (
        ", ".join(f"a{i}: 'sum(${{a{i + 1}}}, ${{a{i + 1}}}, ${{a{i + 1}}})'" for i in range(14)) + ", a14: attention"
    )
    text = f"xcompose: 1\nlet: {{{bomb}}}\nmodel: {{type: decoder, dim: 256, mixer: '${{a0}}', layers: 1}}\n"
    assert "XC027 the spec has more than 5,000 components after expansion" in messages_of(text)[0]


def test_a_default_can_be_referred_to():
    model = model_of("blocks: {b: {heads: 2}}\nheads: ${model.vocab / 64}\nlayers: b")

    assert model.options["heads"] == 4
