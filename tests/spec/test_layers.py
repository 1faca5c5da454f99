"""Sequences, groups, repetitions, `each`, blocks, limits."""

from __future__ import annotations

import pytest

from .helpers import findings_of, layers_of, messages_of, model_of, patterns, spec_of

BLOCKS = """\
blocks:
  near: attention(pattern=window(64))
  far: {mixer: attention(pattern=window(8)), ffn: none}
"""
HEAD = """\
xcompose: 1
model:
  type: decoder
  dim: 256
  blocks: {near: 'attention(pattern=window(64))', far: {ffn: none}}
"""


@pytest.mark.parametrize(
    ("layers", "names"),
    [
        ("3", ["dense"] * 3),
        ("2*3", ["dense"] * 6),
        ("near, far", ["window 64", "window 8"]),
        ("2*(near, 2*far), attention", ["window 64", "window 8", "window 8"] * 2 + ["dense"]),
        ("near, attention(pattern=window(5)), 1", ["window 64", "window 5", "dense"]),
        ("2*(2*(near), far)", ["window 64", "window 64", "window 8"] * 2),
        ("0*near, far", ["window 8"]),
        ("[near, far]", ["window 64", "window 8"]),
        ("'[near, far]'", ["window 64", "window 8"]),
        ("[2*near, 'far, near']", ["window 64", "window 64", "window 8", "window 64"]),
        ("[{use: near, repeat: 2}, {}]", ["window 64", "window 64", "dense"]),
        ("[{repeat: 2, layers: [near, far]}]", ["window 64", "window 8"] * 2),
        ("[{repeat: 2, layers: 'near, far'}, 1]", ["window 64", "window 8", "window 64", "window 8", "dense"]),
        ("[{each: {w: [1, 2, 3]}, mixer: 'attention(pattern=window(${w}))'}]", ["window 1", "window 2", "window 3"]),
        ("[{each: {w: [1, 2]}, layers: ['attention(pattern=window(${w}))', near]}]",
         ["window 1", "window 64", "window 2", "window 64"]),
        ("{use: far, repeat: 3}", ["window 8"] * 3),
    ],
)  # fmt: skip
def test_a_sequence_is_expanded_in_order(layers, names):
    assert patterns(layers_of(BLOCKS + f"layers: {layers}")) == names


def test_each_runs_through_its_lists_side_by_side():
    found = layers_of(
        """
        layers:
          - each: {w: [64, 128, 256], d: [1, 2, 4]}
            mixer: attention(pattern=window(${w}, dilation=${d}))
        """
    )

    assert [layer.options["mixer"].options["pattern"].options for layer in found] == [
        {"size": 64, "dilation": 1}, {"size": 128, "dilation": 2}, {"size": 256, "dilation": 4},
    ]  # fmt: skip


def test_each_may_name_components_and_use_let():
    text = """\
    xcompose: 1
    let: {small: 8}
    model:
      type: decoder
      dim: 256
      layers:
        - each: {p: ["window(${small})", dense, "blocks(4)"]}
          mixer: {type: attention, pattern: "${p}"}
    """
    model = spec_of(text).model
    assert model is not None

    assert patterns(model.options["layers"]) == ["window 8", "dense", "blocks 4"]


def test_a_block_wins_over_a_mixer_of_its_name():
    assert patterns(layers_of("blocks: {sum: 'attention(pattern=window(3))'}\nlayers: sum")) == ["window 3"]


def test_a_block_changed_by_an_item_keeps_the_rest():
    (layer,) = layers_of(BLOCKS + "layers: [{use: far, mixer: {pattern: {size: 2}}, heads: 2}]")

    assert patterns((layer,)) == ["window 2"]
    assert (layer.options["ffn"].name, layer.options["heads"], layer.block) == ("none", 2, "far")


def test_layers_know_where_they_are_written():
    found = layers_of(BLOCKS + "layers: ['2*near', '2*(far, 1)']")

    assert [layer.path for layer in found] == [
        "model.layers.0", "model.layers.0",
        "model.layers.1.layers.0", "model.layers.1.layers.1", "model.layers.1.layers.0", "model.layers.1.layers.1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("layers.0.mixer.pattern.size=3", ["window 3", "window 3", "window 8", "dense"]),
        ("layers.1.0.mixer.pattern.size=3", ["window 64", "window 64", "window 3", "dense"]),
        ("layers.1.1=near", ["window 64", "window 64", "window 8", "window 64"]),
        ("layers.0.repeat=1", ["window 64", "window 8", "dense"]),
        ("layers.0=far", ["window 8", "window 8", "dense"]),
        ("blocks.near.mixer.pattern.size=7", ["window 7", "window 7", "window 8", "dense"]),
        ("blocks.near=far", ["window 8", "window 8", "window 8", "dense"]),
    ],
)
def test_paths_count_items_as_written(override, names):
    assert patterns(layers_of(BLOCKS + "layers: ['2*near', 'far, 1']", override)) == names


def test_sections_take_from_the_model_what_they_do_not_write():
    model = spec_of(
        """\
        xcompose: 1
        model:
          type: encoder-decoder
          dim: 128
          heads: 4
          length: 99
          norm: rms
          encoder: {layers: 2, length: 512, mixer: "attention(pattern=window(8))"}
          decoder: {layers: [near, 1], blocks: {near: {cross: "attention(pattern=window(3))"}}, heads: 2}
        """
    ).model
    assert model is not None
    encoder, decoder = model.options["encoder"], model.options["decoder"]

    assert (encoder.options["length"], decoder.options["length"]) == (512, 99)
    assert patterns(encoder.options["layers"]) == ["window 8", "window 8"]
    assert patterns(decoder.options["layers"]) == ["dense", "dense"]
    assert [x.options["heads"] for x in encoder.options["layers"] + decoder.options["layers"]] == [4, 4, 2, 2]
    assert decoder.options["layers"][0].options["cross"].options["pattern"].name == "window"
    assert {x.options["norm"].name for x in decoder.options["layers"]} == {"rms"}
    assert encoder.path == "model.encoder"


def test_layers_of_an_output_use_the_blocks_too():
    model = model_of(BLOCKS + "output: stacked(layers=(2*near, attention))\nlayers: 1")

    assert patterns(model.options["output"].options["layers"]) == ["window 64", "window 64", "dense"]


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        ("3*nera", "6:13 XC013 no block or mixer is called 'nera'"),
        ("near | far", "6:11 XC017 expected a layer, found patterns joined by '|'"),
        ("[[near, far], far]", "6:12 XC017 expected a layer, found a list"),
        ("[{use: nera}]", "6:18 XC018 no block is called 'nera'"),
        ("[{use: near, repaet: 2}]", "6:24 XC011 'a layer' has no option 'repaet'"),
        ("[{repeat: 2, layers: near, ffn: none}]", "6:38 XC011 'a group of layers' has no option 'ffn'"),
        ("[{repeat: 2, each: {w: [1]}}]", "6:13 XC018 a layer has at most one of 'repeat' and 'each'"),
        ("[{each: {w: [1, 2], d: [1]}}]", "6:19 XC018 the lists of 'each' differ in length"),
        ("[{each: {model: [1, 2]}}]", "6:20 XC024 'model' is a name of 'each' and of a section"),
        (
            "[{each: {w: [1]}, layers: [{each: {w: [2]}}]}]",
            "6:46 XC024 'w' is a name of 'each' and of an 'each' around it",
        ),
        ("[{dim: 3}]", "6:13 XC011 'a layer' has no option 'dim'"),
        ("5000", "6:11 XC027 more than 4,096 layers"),
        ("1000000*(1000*near)", "6:19 XC027 more than 4,096 layers"),
        ("[{repeat: 1T, layers: 100}]", "6:33 XC027 more than 4,096 layers"),
        ("2.5*near", "6:11 XC014 expected a whole number, found '2.5'"),
        ("true", "6:11 XC017 expected a layer, found 'true'"),
        ("null", "3:9 XC012 'decoder' needs 'layers'"),
    ],
)
def test_what_is_said_about_wrong_layers(layers, found):
    assert messages_of(HEAD + f"  layers: {layers}\n") == [found]


def test_every_block_is_checked_used_or_not():
    text = HEAD.replace("far: {ffn: none}", "far: {fnf: none}, mid: {use: mid}, bad: [1]") + "  layers: near\n"

    assert messages_of(text) == [
        "5:57 XC011 'a block' has no option 'fnf'",
        "5:80 XC018 blocks use each other: mid -> mid",
        "5:91 XC017 expected a layer, found a list",
    ]


def test_blocks_are_named_as_sequences_can_say():
    assert messages_of(HEAD.replace("far:", "far_off:") + "  layers: near\n") == [
        "5:51 XC018 a block is named like a component, with '-' between words, found 'far_off'"
    ]


def test_a_wrong_value_is_said_once_however_many_layers_have_it():
    text = "xcompose: 1\nmodel: {type: decoder, dim: 256, norm: lawyer, layers: '4*(1, 1), attention'}\n"

    assert messages_of(text) == ["2:40 XC013 no norm is called 'lawyer'"]


def test_a_path_into_a_sequence_of_several_asks_which():
    assert findings_of(HEAD + "  layers: ['near, far', 1]\n", "layers.0.ffn=none") == (
        "error[XC029]: 'model.layers.0' is a sequence of 2 items\n"
        " --> --set #1:1:8   model.layers.0\n"
        "  |\n"
        "1 | layers.0.ffn=none\n"
        "  |        ^\n"
        "  = fix: go on with a position: model.layers.0.0\n"
        "  = fix: go on with a position: model.layers.0.1"
    )
