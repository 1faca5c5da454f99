"""The spec language as a JSON Schema (draft-07), for editors: what a catalogue knows, and no plugin is imported.

A schema sees one value at a time. It says which keys, names, types and bounds there are; it cannot say what a reference
gives, what stands inside an expression behind its first name, or what two places must have in common.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from xcompose.schema import KINDS, REQUIRED, ComponentSchema, OptionSchema, ValueType
from xcompose.spec.catalogue import Catalogue, article, canonical
from xcompose.spec.expect import PARSERS
from xcompose.spec.json_values import DEFINITIONS, NULL, REFERENCE, VALUES, bounded, either, json_of, texts
from xcompose.spec.scopes import SECTION_OPTIONS
from xcompose.spec.settings import INHERITED, KEYS, SECTIONS, VARIED, VERSION

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
NOTES = "^x-"
PATH = "^[^.]+\\.."
SNAKE = "^([a-z][a-z0-9_]*|x-.*)$"
WORD = "^(?!x-)[a-z][a-z0-9]*(-[a-z0-9]+)*$"
POSITIONS = r"^[0-9]+(\.|$)"
OPERATED = {"pattern"}
"""Kinds whose components may be joined by operators."""
ABOUT = {
    "xcompose": "The version of the language.",
    "name": "What it is called; the file's name if not written.",
    "about": "What it is, in a sentence or two.",
    "paper": "A citation, or a list of them.",
    "extends": "The spec that this one changes, or one file for each section.",
    "let": "Values with a name: ${name} stands for them.",
    "model": "What the model is made of.",
    "addons": "Changes of the built model, from top to bottom.",
    "task": "What it learns: data, loss, metric.",
    "train": "How long and how to train.",
    "search": "What to search, and how.",
    "expect": "The contract that `xcompose check` enforces.",
    "variants": "Named changes: FILE@NAME applies one.",
    "frozen": "What it meant when it was frozen; `xcompose freeze` writes it.",
}
FIRST = {
    "label": "a first model",
    "description": "A small decoder that builds and trains",
    "body": {"xcompose": VERSION, "model": {"type": "decoder", "dim": 256, "layers": 4}, "task": "lm(data=stdlib)"},
}


def json_schema(catalogue: Catalogue) -> Schema:
    """The schema of specs that use what is in a catalogue, as plain data."""
    return _Writer(catalogue).whole()


class _Writer:
    """Writes one schema.

    Args:
        catalogue: the components there are.
    """

    def __init__(self, catalogue: Catalogue):
        self.catalogue = catalogue
        self.layer_keys: dict[str, Schema] = {}
        """Those of all models, for layers that stand in none."""

    def whole(self) -> Schema:
        sections = {name: self._section(name) for name in KEYS}
        return {
            "$schema": DRAFT,
            "title": "xcompose spec",
            "description": "What a model is made of, what it must keep, and how to train it.",
            **_object(sections, ["xcompose"]),
            "if": {"not": {"required": ["extends"]}},
            "then": {"properties": {"model": {"if": {"type": "object"}, "then": {"required": ["type"]}}}},
            "defaultSnippets": [FIRST],
            "definitions": {**DEFINITIONS, **self._kinds(), **self._stacks("layer", self.layer_keys)},
        }

    def _section(self, name: str) -> Schema:
        return {**self._content(name), "description": ABOUT[name]}

    def _content(self, name: str) -> Schema:
        match name:
            case "xcompose":
                return {"enum": [VERSION, str(VERSION)]}
            case "name" | "about":
                return texts()
            case "paper":
                return either({"type": "array", "items": texts(null=False)}, texts())
            case "extends":
                named = {key: {"type": "string"} for key in INHERITED}
                return either({"type": "string"}, _object(named, paths=False), NULL)
            case "let":
                names = {"anyOf": [{"pattern": SNAKE}, {"pattern": PATH}]}
                return {"type": ["object", "null"], "propertyNames": names}
            case "model":
                return either(_ref("model"), NULL)
            case "expect":
                keys = {key: self._expected(key) for key in PARSERS}
                return either(_object(keys), NULL)
            case "variants":
                changes = _object({key: self._section(key) for key in VARIED})
                return {
                    "type": ["object", "null"],
                    "propertyNames": {"pattern": SNAKE},
                    "additionalProperties": changes,
                }
        return either(*self.alternatives(SECTIONS[name]), NULL)

    def _expected(self, key: str) -> Schema:
        words = {"causal": ("strict", "value", "none"), "decode": ("exact", "none")}.get(key)
        one = {"enum": list(words)} if words else VALUES["flag"] if key == "deterministic" else texts(null=False)
        return either(one, {"type": "array", "items": one}, NULL)

    def _kinds(self) -> Schema:
        found: Schema = {}
        for kind in KINDS:
            schemas = [schema for schema in self.catalogue if schema.kind == kind]
            found[kind] = {"description": f"{article(kind).capitalize()}.", **self._kind(kind, schemas)}
            found[f"{kind}.options"] = self._changes(schemas)
            for schema in schemas:
                found[f"{kind}.{canonical(schema)}"] = self._component(schema)
                if kind == "model":
                    owner = f"model.{canonical(schema)}"
                    names = [n for o in schema.options if o.layer for n in (o.name, *o.renamed_from)]
                    keys = {name: _ref(owner, "properties", name) for name in names}
                    self.layer_keys = {**keys, **self.layer_keys}
                    found |= self._stacks(f"{owner}.layer", keys)
        return found

    def _kind(self, kind: str, schemas: list[ComponentSchema]) -> Schema:
        """A component: an expression, or a mapping; one without `type` changes options of what stands there."""
        names = {canonical(schema): schema for schema in schemas}
        known = {n: canonical(schema) for schema in schemas for n in self._spellings(schema)}
        spelled = {name: [n for n, to in known.items() if to == name] for name in names}
        branches = [
            {
                "if": {"properties": {"type": {"enum": spelled[name]}}, "required": ["type"]},
                "then": _ref(f"{kind}.{name}"),
            }
            for name in names
        ]  # fmt: skip
        mapping = {
            "type": "object",
            "properties": {"type": either(_named(names), {"enum": list(known)}, REFERENCE)},
            "if": {"required": ["type"]},
            "then": {"allOf": branches} if branches else {},
            "else": _ref(f"{kind}.options"),
        }
        return either(
            _named(names), {"type": "string", "pattern": _called(known, kind in OPERATED)}, mapping, REFERENCE
        )

    def _spellings(self, schema: ComponentSchema) -> Iterable[str]:
        """Every name by which a spec may say it."""
        for bare in (schema.name, *schema.renamed_from):
            full = f"{schema.namespace}/{bare}" if schema.namespace else bare
            for name in dict.fromkeys((full, bare)):
                yield f"{name}@{schema.version}"
                if schema.version == 1:
                    yield name

    def _component(self, schema: ComponentSchema) -> Schema:
        """The mapping that names this component."""
        layer = f"model.{canonical(schema)}.layer" if schema.kind == "model" else "layer"
        options = self._options(schema.options, layer)
        required = [option for option in schema.options if option.required and not option.inherited]
        found = _object({"type": {}, **options}, ["type", *(o.name for o in required if not o.renamed_from)])
        either_name = [
            {"anyOf": [{"required": [name]} for name in (o.name, *o.renamed_from)]} for o in required if o.renamed_from
        ]  # fmt: skip
        found |= {"allOf": either_name} if either_name else {}
        return {"description": schema.summary, **found}

    def _changes(self, schemas: list[ComponentSchema]) -> Schema:
        """A mapping that changes options of what stands there: of any component of the kind."""
        found: dict[str, list[tuple[Schema, Schema]]] = {}
        for schema in schemas:
            owner = f"{schema.kind}.{canonical(schema)}"
            layer = f"{owner}.layer" if schema.kind == "model" else "layer"
            for name, option in self._options(schema.options, layer).items():
                known = found.setdefault(name, [])
                known += [(option, _ref(owner, "properties", name))] if option not in [o for o, _ in known] else []
        return _object({name: either(*(ref for _, ref in several)) for name, several in found.items()})

    def _stacks(self, layer: str, keys: dict[str, Schema]) -> Schema:
        """A layer, a sequence of layers, blocks, and one of two stacks: with the layer keys of one model."""
        ref, several = _ref(layer), _ref(f"{layer}s")
        block = _object({"use": {"type": "string"}, **keys})
        own = {"use": texts(), "repeat": either(VALUES["count"], REFERENCE, NULL), "each": {"type": "object"}}
        item = either({"type": "integer", "minimum": 0}, {"type": "string", "minLength": 1}, ref)
        patches = {"type": "object", "propertyNames": {"pattern": POSITIONS}, "minProperties": 1}
        section = {o.name: self._option(o, layer) for o in SECTION_OPTIONS}
        return {
            layer: {
                "description": "One layer, or a group of them.",
                "not": {"required": ["repeat", "each"]},
                "if": {"required": ["layers"]},
                "then": _object({"layers": several, "repeat": own["repeat"], "each": own["each"]}),
                "else": _object({**own, **keys}),
                "type": "object",
            },
            f"{layer}s": either(
                {"type": "integer", "minimum": 0}, {"type": "string", "minLength": 1},
                {"type": "array", "items": item}, patches, ref,
            ),
            f"{layer}.blocks": {
                "type": "object", "additionalProperties": False,
                "patternProperties": {NOTES: {}, PATH: {}, WORD: either({"type": "string"}, block, NULL)},
            },
            f"{layer}.section": _object({**section, **keys}),
        }  # fmt: skip

    def _options(self, options: Iterable[OptionSchema], layer: str) -> dict[str, Schema]:
        """Each option under its name, and under those that it had."""
        found = {}
        for option in options:
            found[option.name] = self._option(option, layer)
            for old in option.renamed_from:
                said = f"'{old}' is called '{option.name}' now"
                found[old] = {**found[option.name], "description": said, "deprecationMessage": said}
        return found

    def _option(self, option: OptionSchema, layer: str) -> Schema:
        alternatives = self.alternatives(option.type, option, layer)
        found = either(*alternatives, *([REFERENCE] if option.type.name not in ("text", "any") else []), NULL)
        if option.note:
            found["description"] = " ".join(option.note.split())
        if option.default is not REQUIRED and option.default is not None:
            found["default"] = json_of(option.default)
        return found

    def alternatives(self, type: ValueType, option: OptionSchema | None = None, layer: str = "layer") -> list[Schema]:
        """What a value of a type may be, references and null apart."""
        of = type.of
        match type.name:
            case "component":
                absent = [{"const": "none"}] if type.optional and not self.catalogue.get(type.kind, "none") else []
                return [_ref(type.kind), *absent]
            case "word":
                return [{"enum": [json for word in type.words for json in _as_yaml(word)]}]
            case "layers":
                return [_ref(f"{layer}s")]
            case "blocks" | "section":
                return [_ref(f"{layer}.{type.name}")]
            case "record":
                return [_object(self._options(type.fields, layer))]
            case "map" if of is not None:
                return [{"type": "object", "additionalProperties": either(*self.alternatives(of, option, layer), NULL)}]
            case "list" if of is not None:
                return self._list(of, option, layer)
            case "any":
                return [{}]
            case "text" | "spec":
                return [texts(null=False)]
        return [bounded(VALUES[type.name], option)]

    def _list(self, of: ValueType, option: OptionSchema | None, layer: str) -> list[Schema]:
        """A list, one value that stands for a list of one, a list in the text of an expression, or single changes."""
        one = either(*self.alternatives(of, option, layer), *([REFERENCE] if of.name != "text" else []))
        if option is not None and option.shares:
            share = _object({"shares": either(VALUES["count"], REFERENCE), "use": one}, ["use"])
            one = either(one, share, {"type": "string", "pattern": r"^\s*[0-9]+\s*\*"})
        patches = {"type": "object", "propertyNames": {"pattern": POSITIONS}, "minProperties": 1}
        return [{"type": "array", "items": one}, {"type": "string", "pattern": r"^\s*\["}, patches, one]


def _ref(definition: str, *below: str) -> Schema:
    keys = (key.replace("~", "~0").replace("/", "~1") for key in (definition, *below))
    return {"$ref": "/".join(["#/definitions", *keys])}


def _object(properties: Mapping[str, Any], required: Iterable[str] = (), paths: bool = True) -> Schema:
    """A mapping with these keys, notes, and paths that begin with one of them."""
    heads = "|".join(re.escape(name) for name in properties)
    patterns: Schema = {NOTES: {}, **({f"^({heads})\\.[a-z0-9]": {}} if paths and heads else {})}
    found: Schema = {
        "type": "object", "properties": dict(properties), "patternProperties": patterns, "additionalProperties": False,
    }  # fmt: skip
    needed = list(required)
    return {**found, "required": needed} if needed else found


def _named(names: Mapping[str, ComponentSchema]) -> Schema:
    """The names of components, with what an editor says of each."""
    return {"enum": list(names), "markdownEnumDescriptions": [schema.summary for schema in names.values()]}


def _called(names: Iterable[str], operated: bool) -> str:
    """An expression that begins with one of these names."""
    start = r"^[\s(]*" if operated else r"^\s*"
    listed = "|".join(sorted((re.escape(name).replace("\\-", "-") for name in names), reverse=True))
    more = r"\s*($|\(|[|&-])" if operated else r"\s*($|\()"
    return f"{start}({listed}){more}" if listed else r"^(?!)"


def _as_yaml(word: str) -> list[Any]:
    """A word, and what YAML makes of it where that is something else."""
    plain = {"true": True, "false": False, "null": None}
    return [word, plain[word]] if word in plain else [word]
