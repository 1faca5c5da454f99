"""The one override rule, inheritance, defaults, `null`, overrides."""

from __future__ import annotations

import attrs
import pytest

from xcompose.spec import Node

from .helpers import findings_of, layers_of, messages_of, model_of, spec_of

WORKED = """\
xcompose: 1
let: {w: 128}
model:
  type: decoder
  length: 16Ki
  dim: 384
  norm: rms
  ffn: gated
  blocks:
    near:
      mixer: attention(pattern=heads(2*window(${w}), window(${w}, dilation=8)))
    far:
      mixer: attention(score=linear)
      position: none
    exact:
      mixer: attention(kv_heads=2)
      ffn: {width: 4x}
  layers: 3*near, far, near, exact, near, far, 3*near, far
addons: [precision(bf16)]
task: lm(data=stdlib)
train: {budget: 5k steps, batch: 16, length: 2Ki, lr: 1e-3, schedule: cosine(warmup=200)}
expect: {layers: 12, causal: strict, decode: exact, time: O(n^2), state: ..40MiB at 64Ki}
variants:
  no_exact:
    model.layers: 3*(3*near, far)
    expect: {time: O(n), state: ..6MiB at 64Ki}
  tiny: {let: {w: 16}, model: {dim: 192, length: 512, layers: "near, far, exact"}}
"""
MINIMAL = "xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 4}\n"


def named(node: Node) -> str:
    return node.name


def test_the_worked_example_has_the_facts_of_layer_5():
    model = spec_of(WORKED).model
    assert model is not None
    layer = model.options["layers"][5]
    mixer = layer.options["mixer"]

    assert layer.block == "exact"
    assert (mixer.name, mixer.options["pattern"]) == ("attention", None)
    assert (mixer.options["heads"], mixer.options["kv_heads"], mixer.options["head_dim"]) == (6, 2, 64)
    assert named(mixer.options["position"]) == "rotary"
    assert (layer.options["ffn"].name, layer.options["ffn"].options["width"]) == ("gated", 1536)
    assert named(layer.options["norm"]) == "rms"
    assert named(layer.options["residual"]) == "pre-norm"


def test_the_worked_example_has_twelve_layers_and_its_variants_others():
    blocks = [layer.block for layer in spec_of(WORKED).model.options["layers"]]
    tiny = spec_of(WORKED, variants=("tiny",)).model

    assert blocks == [*["near"] * 3, "far", "near", "exact", "near", "far", *["near"] * 3, "far"]
    assert [layer.block for layer in tiny.options["layers"]] == ["near", "far", "exact"]
    assert tiny.options["layers"][0].options["mixer"].options["pattern"].options["of"][0][1].options["size"] == 16
    assert (tiny.options["layers"][0].options["heads"], tiny.options["length"]) == (3, 512)


def test_words_and_growths_stay_in_a_variant_and_numbers_lapse():
    kept = {(e.key, e.text) for e in spec_of(WORKED, variants=("no_exact",)).expect}

    assert kept == {("causal", "strict"), ("decode", "exact"), ("time", "O(n)"), ("state", "..6MiB at 64Ki")}


def test_the_smallest_spec_has_all_defaults():
    spec = spec_of(MINIMAL)
    model = spec.model
    assert model is not None
    layer = model.options["layers"][0]

    assert {k: v for k, v in model.options.items() if not isinstance(v, Node | tuple)} == {
        "heads": 4, "kv_heads": 4, "head_dim": 64, "bias": True, "dropout": 0.0, "dim": 256, "vocab": 256,
        "length": None, "grid": None, "grid_block": None, "causal": "strict", "blocks": None,
    }  # fmt: skip
    assert len(model.options["layers"]) == 4
    assert model.options["embedding"] == Node(
        "embedding", "tokens", {"rank": None, "norm": False, "types": 0, "scaled": False}
    )
    assert model.options["output"] == Node("output", "lm", {"tied": True, "bias": False})
    assert model.options["init"] == Node("init", "normal", {"std": 0.02})
    assert layer.options["ffn"] == Node("ffn", "mlp", {"width": 1024, "act": "gelu", "chunk": None, "bias": True})
    assert layer.options["norm"] == Node("norm", "layer", {})
    assert layer.options["mixer"].options["score"] == Node("score", "softmax", {})
    assert layer.options["mixer"].options["position"] == Node("position", "rotary", {})
    assert (spec.task, spec.train, spec.search, spec.addons, spec.expect) == (None, {}, {}, (), ())


def test_the_length_is_the_size_of_the_grid_unless_it_is_written():
    grid = "grid: [6, 10], grid_block: [2, 5]"
    text = "xcompose: 1\nmodel: {{type: decoder, dim: 64, layers: 1, {}}}\n"

    found = [spec_of(text.format(keys)).model.options["length"] for keys in (grid, f"{grid}, length: 50")]

    assert found == [60, 50]


def test_null_takes_an_optional_list_away():
    text = "xcompose: 1\nmodel: {type: decoder, dim: 64, layers: 1, grid: [6, 10], grid_block: [2, 5]}\n"

    model = spec_of(text, "model.grid_block=null").model

    assert (model.options["grid"], model.options["grid_block"]) == ((6, 10), None)


def test_written_tells_defaults_from_what_somebody_wrote():
    (layer,) = layers_of("layers: attention(pattern=window(64), bias=false)")
    mixer = layer.options["mixer"]

    assert mixer.written == {"pattern", "bias"}
    assert mixer.options["pattern"].written == {"size"}
    assert set(mixer.option_spans) == {"pattern", "bias"}


def test_a_component_that_names_its_type_replaces_the_old_one():
    model = model_of(
        """
        ffn: mlp(2x, act=relu)
        layers:
          - {ffn: gated}
          - {ffn: {width: 512}}
          - {ffn: {type: mlp}}
          - {ffn: null}
        """
    )
    ffns = [layer.options["ffn"] for layer in model.options["layers"]]

    assert [(f.name, f.options["width"], f.options["act"]) for f in ffns] == [
        ("gated", 1024, "gelu"), ("mlp", 512, "relu"), ("mlp", 1024, "gelu"), ("mlp", 1024, "gelu"),
    ]  # fmt: skip


def test_options_change_through_an_expression():
    layers = layers_of(
        """
        blocks:
          near: attention(pattern=window(64, dilation=2) | global(4))
        layers:
          - near
          - {use: near, mixer: {pattern: {type: window, size: 8}}}
          - {use: near, mixer: {score: linear}}
        """
    )
    union = layers[0].options["mixer"].options["pattern"]

    assert union.name == "union"
    assert [part.options for part in union.options["of"]] == [{"size": 64, "dilation": 2}, {"first": 4, "last": 0}]
    assert layers[1].options["mixer"].options["pattern"].options == {"size": 8, "dilation": 1}
    assert layers[2].options["mixer"].options["score"].name == "linear"
    assert layers[2].options["mixer"].options["pattern"] == union


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("model.layers.0.mixer.pattern.of.0.size=7", 7),
        ("layers.0.mixer.pattern.of.0={size: 9}", 9),
        ("layers.0.mixer.pattern.of.0.type=blocks", 64),
        ("layers.0.mixer={pattern: {of: [blocks(5)]}}", 5),
        ("let.w=11", 11),
    ],
)
def test_a_path_goes_through_expressions(path, size):
    text = """\
    xcompose: 1
    let: {w: 64}
    model:
      type: decoder
      dim: 256
      layers:
        - 3*attention(pattern=window(${w}) | global(4))
        - attention
    """
    model = spec_of(text, path).model
    assert model is not None

    assert model.options["layers"][0].options["mixer"].options["pattern"].options["of"][0].options["size"] == size
    assert len(model.options["layers"]) == 4


def test_an_override_without_a_section_means_the_model():
    spec = spec_of(MINIMAL, "dim=512", "model.heads=2", "layers=2*attention(pattern=window(8, dilation=2)), 1")
    assert spec.model is not None

    assert (spec.model.options["dim"], spec.model.options["heads"]) == (512, 2)
    assert len(spec.model.options["layers"]) == 3


def test_the_last_override_wins_and_null_takes_away():
    spec = spec_of(MINIMAL, "heads=2", "heads=8", "ffn=gated", "ffn=null")
    assert spec.model is not None

    assert spec.model.options["heads"] == 8
    assert spec.model.options["ffn"].name == "mlp"


def test_null_drops_what_is_inherited():
    text = """\
    xcompose: 1
    model: {type: decoder, dim: 256, heads: 2, layers: 1}
    variants:
      none: {model: {heads: null}}
      required: {model: {dim: null}}
    """

    assert spec_of(text, variants=("none",)).model.options["heads"] == 4
    assert messages_of(text, variants=("required",)) == ["2:15 XC012 'decoder' needs 'dim'"]


def test_variants_apply_in_their_order():
    text = MINIMAL + "variants:\n  a: {model: {dim: 512, heads: 8}}\n  b: {model.dim: 128}\n"
    model = spec_of(text, variants=("a", "b")).model
    other = spec_of(text, variants=("b", "a"))
    assert model is not None
    assert other.model is not None

    assert (model.options["dim"], model.options["heads"]) == (128, 8)
    assert (other.model.options["dim"], other.name) == (512, "s@b+a")


def test_a_layer_inherits_from_block_stack_and_model():
    layers = layers_of(
        """
        dropout: 0.1
        position: learned
        blocks:
          one: {position: none, heads: 2}
          two: {use: one, dropout: 0.3}
        layers: one, two, 1
        """
    )

    values = [(named(x.options["position"]), x.options["heads"], x.options["dropout"]) for x in layers]
    assert values == [("none", 2, 0.1), ("none", 2, 0.3), ("learned", 4, 0.1)]
    assert [named(x.options["mixer"].options["position"]) for x in layers] == ["none", "none", "learned"]
    assert [x.options["mixer"].options["heads"] for x in layers] == [2, 2, 4]
    assert [x.options["head_dim"] for x in layers] == [128, 128, 64]
    assert layers[0].options["mixer"].options["dropout"] == 0.0


def test_an_inherited_component_can_be_changed_where_it_is_used():
    (layer,) = layers_of(
        "position: relative(clip=8)\nlayers:\n  - mixer: {type: attention, position: {per_head: false}}"
    )

    assert layer.options["mixer"].options["position"].options == {"clip": 8, "per_head": False}
    assert layer.options["position"].options == {"clip": 8, "per_head": True}


def test_heads_are_asked_for_where_they_do_not_come_out_whole():
    text = "xcompose: 1\nmodel: {type: decoder, dim: 100, layers: 2}\n"

    assert findings_of(text) == (
        "error[XC012]: dim 100 is not a multiple of 64, so 'heads' must be written\n"
        " --> s:2:29   model.layers.0\n"
        "  |\n"
        "2 | model: {type: decoder, dim: 100, layers: 2}\n"
        "  |                             ^^^\n"
        "  = fix: write heads: followed by a count"
    )
    assert messages_of(text, "heads=3") == ["1:7 XC015 3 heads do not divide dim 100"]
    assert messages_of(text, "heads=3", "head_dim=32") == []
    assert messages_of(text, "layers=[{heads: 5}, {heads: 4}]") == []


def test_shares_inside_groups_count_the_heads_of_the_group():
    nested = "layers: heads(3*attention(pattern=heads(window(3), 2*window(5))), attention)"
    assert len(layers_of(nested)) == 1

    text = "xcompose: 1\nmodel: {type: decoder, dim: 256, layers: "
    text += "'heads(2*attention(pattern=heads(3*dense, dense)), 2*attention)'}"
    assert messages_of(text) == ["2:75 XC015 2 heads cannot be shared 3 + 1"]


def test_shares_have_a_mapping_spelling():
    text = """
    layers:
      - mixer: {type: heads, of: [{shares: 3, use: "attention(score=linear)"}, {use: attention}]}
      - mixer: heads(3*attention(score=linear), attention)
      - mixer: {type: heads, of: ["attention(score=linear)", attention]}
    """
    one, two, three = (layer.options["mixer"] for layer in layers_of(text))

    assert one == two
    assert [share for share, _ in one.options["of"]] == [3, 1]
    assert [share for share, _ in three.options["of"]] == [1, 1]


def test_records_stand_in_lists():
    text = """
    layers:
      - mixer:
          type: rows
          of:
            - {rows: first(1), use: "attention(shared_qk=true)"}
            - use: attention
    """
    (layer,) = layers_of(text)
    first, rest = layer.options["mixer"].options["of"]

    assert (named(first["rows"]), first["use"].options["shared_qk"]) == ("first", True)
    assert (rest["rows"], named(rest["use"])) == (None, "attention")
    assert sorted(first.spans) == ["rows", "use"]
    assert sorted(rest.spans) == ["use"]
    assert (rest.span.line, rest.spans["use"].line) == (first.span.line + 1,) * 2


def test_what_a_record_needs_is_said_where_it_stands():
    text = "xcompose: 1\nmodel:\n  type: decoder\n  dim: 64\n  layers: 1\n  mixer:\n    type: rows\n    of:\n"

    assert findings_of(f"{text}      - rows: first(1)\n        uze: attention\n") == (
        "error[XC012]: 'rows' needs 'use'\n"
        " --> s:9:9   model.mixer.of.0.use\n"
        "  |\n"
        "9 |       - rows: first(1)\n"
        "  |         ^^^^^^^^^^^^^^\n"
        "  = fix: write use: followed by a mixer\n"
        "\n"
        "error[XC011]: 'rows' has no option 'uze'\n"
        "  --> s:10:9   model.mixer.of.0\n"
        "   |\n"
        "10 |         uze: attention\n"
        "   |         ^^^\n"
        "   = fix: did you mean 'use'?"
    )


def test_a_width_is_a_multiple_of_the_model():
    assert model_of("ffn: mlp(0.5x)\nlayers: 1").options["ffn"].options["width"] == 128
    assert messages_of("xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 1, ffn: 'mlp(0.3x)'}") == [
        "2:55 XC014 0.3x of 256 is 76.8, not whole"
    ]


def test_one_value_stands_for_a_list_of_one():
    spec = spec_of(MINIMAL + "paper: arXiv:1\naddons: share\n")

    assert spec.paper == ("arXiv:1",)
    assert [addon.name for addon in spec.addons] == ["share"]


def test_lists_replace_and_paths_change_single_items():
    text = (
        MINIMAL
        + "addons: [share(ffn), share(all)]\nvariants:\n"
        + "  a: {addons: [precision(bf16)]}\n  b: {addons.1.what: attention}\n"
    )

    assert [a.name for a in spec_of(text, variants=("a",)).addons] == ["precision"]
    assert [a.options["what"] for a in spec_of(text, variants=("b",)).addons] == ["ffn", "attention"]
    assert findings_of(text, variants=("a", "b")) == (
        "error[XC029]: there is no item 1 in 'addons'\n"
        " --> s:6:14   addons\n"
        "  |\n"
        "6 |   b: {addons.1.what: attention}\n"
        "  |              ^ the list has 1 item, counted from 0\n"
        " ::: s:5:15\n"
        "  |\n"
        "5 |   a: {addons: [precision(bf16)]}\n"
        "  |               ----------------- the list stands here"
    )


def test_notes_are_never_read():
    assert spec_of(MINIMAL.replace("layers: 4", "layers: 4, x-why: [1, {a: b}]") + "x-todo: ${nothing}\n").model


def test_a_path_in_a_plain_file_is_an_error():
    assert findings_of(MINIMAL + "model.heads: 2\n") == (
        "error[XC011]: a spec has no section 'model.heads'\n"
        " --> s:3:1\n"
        "  |\n"
        "3 | model.heads: 2\n"
        "  | ^^^^^^^^^^^\n"
        "  = fix: keys may be paths in variants and in files with `extends` only"
    )


def test_one_place_written_twice_in_one_text_is_an_error():
    text = MINIMAL + "variants:\n  tiny: {model: {heads: 2}, model.heads: 4}\n"

    assert findings_of(text, variants=("tiny",)) == (
        "error[XC006]: 'heads' is written twice\n"
        " --> s:4:35   model.heads\n"
        "  |\n"
        "4 |   tiny: {model: {heads: 2}, model.heads: 4}\n"
        "  |                                   ^^^^^\n"
        " ::: s:4:18\n"
        "  |\n"
        "4 |   tiny: {model: {heads: 2}, model.heads: 4}\n"
        "  |                  ----- and here"
    )


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("dmi=3", "1:1 XC029 'decoder' has no option 'dmi'"),
        ("name.x=3", "1:8 XC014 'name' wants text, found a mapping"),
        ("xcompose=2", "1:1 XC028 'xcompose' cannot be changed by an override"),
        ("layers.4.ffn=none", "1:8 XC029 there is no item 4 in 'layers'"),
        ("layers.0.fnf=none", "1:10 XC029 'a layer' has no option 'fnf'"),
        ("ffn=mlp(widht=3)", "1:9 XC011 'mlp' has no option 'widht'"),
        ("ffn=window(3)", "1:5 XC013 no ffn is called 'window'"),
        ("ffn.act=tanh", "1:9 XC014 expected gelu, gelu-tanh, quick-gelu, relu or silu, found 'tanh'"),
        ("dropout=1.5", "1:9 XC015 'dropout' must be at most 1, found 1.5"),
        ("heads=0", "1:7 XC015 'heads' must be at least 1, found 0"),
        ("mixer=12", "1:7 XC014 'mixer' wants a mixer, found '12'"),
        ("mixer=[attention]", "1:7 XC014 'mixer' wants a mixer, found a list"),
        ("mixer=attention(pattern=2*window(3))", "1:25 XC017 expected one pattern, found '2 *'"),
        ("dim=[1, 2]", "1:5 XC014 'dim' wants a count, found a list"),
        ("embedding.rank=attention(heads=2)", "1:16 XC014 expected a whole number, found 'attention(heads=2)'"),
    ],
)
def test_what_is_said_about_a_wrong_override(override, found):
    text = MINIMAL.replace("layers: 4", "layers: [2, 1, 1, attention]")

    assert messages_of(text, override) == [found]


def test_an_option_given_twice_or_without_a_main_one():
    text = "xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 1}\n"

    assert messages_of(text, "mixer=attention(pattern=window(3, size=4))") == ["1:35 XC016 'size' is given twice"]
    assert messages_of(text, "mixer=attention(dense)") == ["1:17 XC016 'attention' takes no unnamed argument"]


def test_options_without_a_type_need_something_to_change():
    text = "xcompose: 1\nmodel: {type: decoder, dim: 256, layers: 1, mixer: {memory: {pattern: dense}}}\n"

    assert messages_of(text) == ["2:53 XC012 there is no memory whose options could change"]
    assert messages_of("xcompose: 1\nmodel: {dim: 256, layers: 1}\n") == ["2:1 XC012 'model' needs 'type'"]


def test_specs_that_are_written_differently_but_mean_the_same_are_equal():
    one = spec_of("xcompose: 1\nmodel: {type: decoder, dim: 256, layers: [2, 2]}")
    two = spec_of(
        "xcompose: 1\nlet: {n: 4}\nmodel:\n  type: decoder\n  dim: 0.25k\n  heads: 4\n  layers: 4*attention()\n",
        "dim=256",
    )

    assert one.model == two.model
    assert attrs.evolve(one, let={}) == attrs.evolve(two, let={})


NULLS = """\
xcompose: 1
let: {w: 8, gone: 3}
model:
  type: decoder
  dim: 256
  blocks: {near: {heads: 2}, far: {heads: 1}}
  layers: near
addons: share
train: {batch: 2}
extends: null
variants:
  sections: {train: null, addons: null, model.layers: 1, model.blocks: null}
  block: {model.blocks.far: null}
  lost: {model.blocks.near: null}
  model: {model: null}
  name: {let.gone: null, model.heads: "${gone}"}
"""


def test_null_takes_sections_blocks_and_names_away():
    sections = spec_of(NULLS, variants=("sections",))

    assert (sections.train, sections.addons) == ({}, ())
    assert spec_of(NULLS, variants=("model",)).model is None
    assert spec_of(NULLS, variants=("block",)).model == spec_of(NULLS).model
    assert messages_of(NULLS, variants=("lost",)) == ["7:11 XC013 no block or mixer is called 'near'"]
    assert messages_of(NULLS, variants=("name",)) == ["16:42 XC021 there is no 'gone' to refer to"]


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        ("heads: 4", "a spec has no section 'heads'", "'heads' belongs under 'model'; check the indentation"),
        ("batch: 4", "a spec has no section 'batch'", "'batch' belongs under 'train'; check the indentation"),
        ("model.dim: 4", "a spec has no section 'model.dim'",
         "keys may be paths in variants and in files with `extends` only"),
        ("let: {my-w: 3}", "a name of 'let' is snake_case, found 'my-w'", "use lower-case letters, digits and _"),
    ],
)  # fmt: skip
def test_a_key_in_a_wrong_place_is_sent_home(text, message, fix):
    from xcompose.spec import check_text

    from .catalogue import CATALOGUE

    _, (found,) = check_text(MINIMAL + text + "\n", "s", (), CATALOGUE)

    assert (found.message, found.fixes) == (message, (fix,))


def test_a_layer_key_inside_a_component_is_sent_up():
    text = "xcompose: 1\nmodel: {type: decoder, dim: 256, layers: [{mixer: {type: attention, ffn: none}}]}\n"

    assert findings_of(text) == (
        "error[XC011]: 'attention' has no option 'ffn'\n"
        " --> s:2:69   model.layers.0.mixer\n"
        "  |\n"
        "2 | model: {type: decoder, dim: 256, layers: [{mixer: {type: attention, ffn: none}}]}\n"
        "  |                                                                     ^^^\n"
        "  = fix: 'ffn' belongs to the layer; check the indentation"
    )


def test_findings_say_which_variant_they_are_about():
    from xcompose.spec import check_text

    from .catalogue import CATALOGUE

    _, (found,) = check_text(NULLS, "s", (), CATALOGUE, variants=("lost", "block"))

    assert (found.spec, found.stage) == ("s@lost+block", "schema")
