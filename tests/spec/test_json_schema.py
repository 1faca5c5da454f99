"""Schema and checker agree: what the checker takes, the schema takes, and both refuse what a schema can see.

A schema cannot see: what a reference gives; what stands in an expression behind its first name; bounds of numbers in
quotes or with a unit; paths behind their first name, and whether a file may have them at all; whether a block exists, a
file exists, heads divide a width, or shares come out whole. YAML's own faults are seen by whoever reads YAML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from xcompose.diagnostics import SpecError
from xcompose.registry import load
from xcompose.schema import ComponentSchema, OptionSchema, ValueType
from xcompose.spec import Catalogue, check_text, find_specs, tree, yaml
from xcompose.spec.catalogue import canonical
from xcompose.spec.freeze import dump
from xcompose.spec.json_schema import json_schema

from .catalogue import CATALOGUE
from .helpers import BAD, EXAMPLES, GOOD
from .test_renames import TODAY

ROOT = Path(__file__).parent.parent.parent
INTEGER = re.compile(r"[-+]?[0-9]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
PLAIN = {"null": None, "~": None, "true": True, "false": False}


def seen(value: Any) -> Any:
    """A text as YAML 1.2 reads it, which is what an editor validates."""
    match value:
        case tree.Mapping(entries=entries):
            return {entry.key.text: seen(entry.value) for entry in entries}
        case tree.Sequence(items=items):
            return [seen(item) for item in items]
        case tree.Scalar(text=text, style="plain"):
            if text in PLAIN:
                return PLAIN[text]
            return int(text) if INTEGER.fullmatch(text) else float(text) if FLOAT.fullmatch(text) else text
    return value.text


@pytest.fixture(scope="module")
def built_in() -> Catalogue:
    return Catalogue(schema for schema in load().catalogue if not schema.namespace)


@pytest.fixture(scope="module")
def installed(built_in) -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json_schema(built_in))


@pytest.fixture(scope="module")
def examples() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json_schema(CATALOGUE))


def accepted(validator: jsonschema.Draft7Validator, text: str) -> bool:
    return validator.is_valid(seen(yaml.parse(text, "s")))


def fine(text: str, catalogue: Catalogue) -> bool:
    variants = ("tiny",) if "variants: {tiny" in text else ()
    return check_text(text, "s", (), catalogue, variants=variants, folder=EXAMPLES)[0] is not None


def test_it_is_a_schema(installed):
    jsonschema.Draft7Validator.check_schema(installed.schema)


def test_every_shipped_spec_fits(installed, built_in):
    for path in find_specs([ROOT / "specs"]):
        errors = [error.message for error in installed.iter_errors(seen(yaml.load_file(path)))]
        assert errors == [], path


@pytest.mark.parametrize("name", GOOD)
def test_every_good_example_fits(name, examples):
    errors = [error.message for error in examples.iter_errors(seen(yaml.load_file(EXAMPLES / name)))]

    assert errors == []


UNSEEN = {"dash": False, "refs": False, "stale-variant": False, "text": None, "anchors": None, "flow-comma": None,
          "flow-list": None, "flow-ref": None, "many": True, "old-options-leak": True,
          "memory-and-dense": False}  # fmt: skip
"""By bad example: whether the schema refuses it; None where YAML cannot read it."""


def test_bad_examples_are_refused_as_far_as_a_schema_sees(examples, monkeypatch):
    monkeypatch.chdir(EXAMPLES)
    found = {}
    for name in BAD:
        stem = Path(name).name.removesuffix(".xc.yaml")
        try:
            found[stem] = not examples.is_valid(seen(yaml.load_file(name)))
        except SpecError:
            found[stem] = None

    assert found == UNSEEN


# every option of every component, right and wrong -------------------------------------------------------------------

AT_MODEL = ("mixer", "position", "recurrence", "ffn", "norm", "residual", "embedding", "output", "init")
IN_MIXER = ("pattern", "score", "memory")
IN_TRAINING = ("optimizer", "schedule")
WRONG = {"count": "many", "length": "long", "real": "some", "width": "wide", "flag": 3, "budget": "soon",
         "text": [1, 2], "spec": [1, 2], "component": {"type": "no-such-thing"}, "record": {"zz": 1}}  # fmt: skip


def around(kind: str, value: Any) -> dict[str, Any]:
    """A spec with a component of that kind."""
    spec: dict[str, Any] = {"xcompose": 1, "model": {"type": "decoder", "dim": 256, "length": 64, "layers": 2}}
    if kind in AT_MODEL:
        spec["model"][kind] = value
    elif kind in IN_MIXER:
        spec["model"]["mixer"] = {"type": "attention", kind: value}
    elif kind in IN_TRAINING:
        spec["train"] = {kind: value}
    else:
        spec |= {"addon": {"addons": [value]}, "task": {"task": value}, "strategy": {"search": {"strategy": value}}}[
            kind
        ]
    return spec


def right(option: OptionSchema, type: ValueType, catalogue: Catalogue) -> Any:
    """A value that the option may have."""
    match type.name:
        case "count" | "length" | "width":
            return (
                int(max(option.at_least or 0, (option.above or 0) + 1, 2))
                if option.at_most is None
                else int(option.at_most)
            )
        case "real":
            return float(
                option.at_most if option.at_most is not None else max(option.at_least or 0, (option.above or 0) + 0.5)
            )
        case "word":
            return type.words[-1]
        case "component":
            plain = (s for s in catalogue if s.kind == type.kind and not any(o.required for o in s.options))
            return {"type": canonical(next(plain))}
        case "list":
            assert type.of is not None
            return [right(option, type.of, catalogue)]
        case "record":
            return {field.name: right(field, field.type, catalogue) for field in type.fields if field.required}
    return {"flag": True, "budget": "2 steps", "text": "some text", "spec": "minimal.xc.yaml", "any": "even"}[type.name]


def wrong(option: OptionSchema, type: ValueType) -> Iterator[Any]:
    """Values that the option may not have."""
    if type.name == "word":
        yield "no-such-word"
    elif type.name == "list":
        assert type.of is not None
        yield from ([value] for value in wrong(option, type.of))
    elif type.name in WRONG:
        yield WRONG[type.name]
    if type.name == "component":
        yield "no-such-thing(3)"
        yield [3]
    if type.name in ("count", "length", "real"):
        yield from (limit - 1 for limit in [option.at_least] if limit is not None and limit > 1)
        yield from (limit for limit in [option.above] if limit is not None)
        yield from (limit + 1 for limit in [option.at_most] if limit is not None)


def cases(schema: ComponentSchema, catalogue: Catalogue) -> Iterator[tuple[str, str, bool]]:
    """(what, text, whether it is wrong) for one component."""
    needed = {o.name: right(o, o.type, catalogue) for o in schema.options if o.required and not o.inherited}
    whole = {"type": canonical(schema), **needed}
    made: list[tuple[str, Any, bool]] = [("as it is", whole, False), ("unknown", {**whole, "zz_top": 1}, True)]
    made += [(f"without {name}", {k: v for k, v in whole.items() if k != name}, True) for name in needed]
    for option in schema.options:
        if option.type.name in ("layers", "blocks", "section", "any"):
            continue
        made.append((option.name, {**whole, option.name: right(option, option.type, catalogue)}, False))
        made += [
            (f"{option.name}={value}", {**whole, option.name: value}, True) for value in wrong(option, option.type)
        ]
        made.append((f"{option.name} null", {**whole, option.name: None}, False))
    for what, value, bad in made:
        yield f"{schema.kind} {schema.name}: {what}", dump(around(schema.kind, value)), bad


def agree(validator: jsonschema.Draft7Validator, catalogue: Catalogue, every: int) -> None:
    """Take each `every`-th case to both."""
    schemas = [schema for schema in catalogue if schema.kind != "model"]
    found = [case for schema in schemas for case in cases(schema, catalogue)][::every]
    taken = 0
    for what, text, bad in found:
        by_checker, by_schema = fine(text, catalogue), accepted(validator, text)
        assert by_schema or not by_checker, f"the schema alone refuses {what}\n{text}"
        assert not (bad and by_checker), f"the checker takes {what}\n{text}"
        assert not (bad and by_schema), f"the schema takes {what}\n{text}"
        taken += by_checker
    assert taken > len(found) / 4, "most right ones are right"


def test_both_say_the_same_of_every_option(installed, built_in):
    agree(installed, built_in, every=13)


@pytest.mark.slow
def test_both_say_the_same_of_every_option_without_sampling(installed, built_in):
    agree(installed, built_in, every=1)


HEAD = "xcompose: 1\nmodel:\n  type: decoder\n  dim: 256\n  layers: 2\n"
REFUSED = {
    "no version": "model: {type: decoder, dim: 256, layers: 2}\n",
    "another version": "xcompose: 2\n",
    "a section that is not there": "xcompose: 1\nmodle: {}\n",
    "a key of the model": HEAD + "  head: 4\n",
    "a model without its type": "xcompose: 1\nmodel: {dim: 256, layers: 2}\n",
    "a model without its width": "xcompose: 1\nmodel: {type: decoder, layers: 2}\n",
    "a width that is no number": HEAD.replace("256", "wide"),
    "a name in an expression": HEAD + "  norm: lawyer\n",
    "a name in a call": HEAD + "  mixer: atention(score=linear)\n",
    "a mapping of another component": HEAD + "  ffn: {type: mlp, groups: 2}\n",
    "a change of what no component has": HEAD + "  ffn: {widht: 2x}\n",
    "a key of a layer": HEAD.replace("2\n", "\n    - {repeat: 2, mixr: attention}\n"),
    "repeat and each": HEAD.replace("2\n", "\n    - {repeat: 2, each: {w: [1]}}\n"),
    "a key of a group": HEAD.replace("2\n", "\n    - {layers: 2, ffn: none}\n"),
    "a key of a block": HEAD + "  blocks: {near: {mixr: attention}}\n",
    "the name of a block": HEAD + "  blocks: {Near_By: {}}\n",
    "a key of training": HEAD + "train: {tiem: 3}\n",
    "a bound of training": HEAD + "train: {batch: 0}\n",
    "a budget": HEAD + "train: {budget: 3 hours and more}\n",
    "a key of what is expected": HEAD + "expect: {parms: 3M}\n",
    "a word of what is expected": HEAD + "expect: {causal: maybe}\n",
    "a section of a variant": HEAD + "variants: {tiny: {modle: {}}}\n",
    "a key in a variant": HEAD + "variants: {tiny: {model: {dmi: 64}}}\n",
    "the first name of a path": HEAD + "variants: {tiny: {modle.dim: 64}}\n",
    "what a base brings": "xcompose: 1\nextends: {modle: minimal.xc.yaml}\n",
}
TAKEN = {
    "notes anywhere": HEAD + "  x-why: [1, {a: 2}]\nx-note: text\ntrain: {x-old: 3}\n",
    "a reference for anything": "xcompose: 1\nlet: {n: 2, m: attention, f: true}\n"
    "model: {type: decoder, dim: 256, layers: '${n}', mixer: '${m}', bias: '${f}', heads: '${n}'}\n",
    "nothing for anything": HEAD + "  heads: null\n  norm: null\ntrain: null\naddons: null\ntask: null\n",
    "numbers with units and in quotes": HEAD + '  vocab: "1Ki"\n  heads: "4"\n  dropout: "0.1"\n  ffn: mlp(2x)\n',
    "one for a list": HEAD + "paper: one\naddons: share\nexpect: {time: O(n^2)}\n",
    "a list in an expression": HEAD + "  init: {type: normal}\naddons: '[share(ffn), share(ffn)]'\n",
    "paths in a variant": HEAD + "variants: {tiny: {model.ffn.width: 2x, model: {layers: {0: {ffn: none}}}}}\n",
    "operators": HEAD + "  mixer: {pattern: (window(3) | global(1)) & dense}\n",
    "a layer of each kind": HEAD.replace("2\n", "\n    - 2\n    - near, 2*attention\n    - {use: near, repeat: 2}\n"
    "    - {layers: [near], repeat: 2}\n    - {each: {w: [1, 2]}, mixer: 'attention(pattern=window(${w}))'}\n")
    + "  blocks: {near: {mixer: attention}, far: near}\n",
    "a version of a name": HEAD + "  norm: layer@1\n  ffn: {type: mlp@1, width: 2x}\n",
}  # fmt: skip
UNSEEN_FAULTS = {
    "a reference to nothing": HEAD + "  heads: ${nothing}\n",
    "behind the first name": HEAD + "  mixer: attention(patern=window(3))\n",
    "a bound in quotes": HEAD + "train: {batch: '0'}\n",
    "behind the first name of a path": HEAD + "variants: {tiny: {model.ffn.widht: 2x}}\n",
    "a path where none may be": HEAD + "  ffn.width: 2x\n",
    "a block that is not there": HEAD.replace("2\n", "near, far\n") + "  blocks: {near: {}}\n",
    "a file that is not there": "xcompose: 1\nextends: nowhere.xc.yaml\n",
    "heads that do not divide": HEAD + "  heads: 3\n",
}


@pytest.mark.parametrize("case", REFUSED)
def test_both_refuse(case, examples):
    assert not accepted(examples, REFUSED[case])
    assert not fine(REFUSED[case], CATALOGUE)


@pytest.mark.parametrize("case", TAKEN)
def test_both_take(case, examples):
    assert accepted(examples, TAKEN[case])
    assert fine(TAKEN[case], CATALOGUE)


@pytest.mark.parametrize("case", UNSEEN_FAULTS)
def test_the_checker_alone_sees(case, examples):
    assert accepted(examples, UNSEEN_FAULTS[case])
    assert not fine(UNSEEN_FAULTS[case], CATALOGUE)


# what an editor makes of it -----------------------------------------------------------------------------------------


def test_an_editor_completes_options_behind_a_type(installed):
    window = installed.schema["definitions"]["pattern.window"]

    assert list(window["properties"]) == ["type", "size", "dilation"]
    assert window["properties"]["size"]["description"] == "Keys on each side of the query, itself not counted."
    assert window["properties"]["dilation"]["default"] == 1
    assert window["required"] == ["type", "size"]
    assert window["description"].startswith("Window: ")


def test_an_editor_completes_names_and_says_what_they_are(installed):
    names = installed.schema["definitions"]["score"]["anyOf"][0]

    assert "softmax" in names["enum"]
    assert len(names["enum"]) == len(names["markdownEnumDescriptions"])
    assert all(names["markdownEnumDescriptions"])


def test_an_editor_completes_keys_of_the_model(installed):
    decoder = installed.schema["definitions"]["model.decoder"]["properties"]

    assert {"dim", "layers", "heads", "norm", "length", "blocks"} <= set(decoder)
    assert decoder["norm"]["default"] == "layer"


def test_every_reference_inside_leads_somewhere(installed):
    schema = installed.schema

    def refs(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            yield from [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            for item in value.values():
                yield from refs(item)
        elif isinstance(value, list):
            for item in value:
                yield from refs(item)

    for ref in set(refs(schema)):
        here: Any = schema
        for key in ref.removeprefix("#/").split("/"):
            here = here[key.replace("~1", "/").replace("~0", "~")]


def test_an_old_name_is_known_and_marked():
    schema = json_schema(TODAY)
    text = (
        HEAD + "  n_heads: 8\n  ffn: {type: feed-forward, inner: 2x}\n  mixer: {pattern: {type: window, extent: 3}}\n"
    )

    assert accepted(jsonschema.Draft7Validator(schema), text)
    said = "'extent' is called 'size' now"
    assert schema["definitions"]["pattern.window"]["properties"]["extent"]["deprecationMessage"] == said


def test_a_component_with_a_namespace_is_known_under_each_of_its_names():
    validator = jsonschema.Draft7Validator(json_schema(TODAY))

    for name in ("acme/mean", "mean", "acme/mean@1", "acme/average"):
        assert accepted(validator, HEAD + f"  mixer: {{pattern: none, memory: {name}}}\n"), name
        assert accepted(validator, HEAD + f"  mixer: {{pattern: none, memory: {{type: {name}}}}}\n"), name
    assert not accepted(validator, HEAD + "  mixer: {pattern: none, memory: acme/maen}\n")


def test_every_shipped_spec_names_the_shipped_schema():
    for path in find_specs([ROOT / "specs"]):
        first = path.read_text().partition("\n")[0]
        assert first == "# yaml-language-server: $schema=../schema.json", path
