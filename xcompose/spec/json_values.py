"""Single values in a JSON Schema. YAML turns plain text into numbers and flags, which mean what their text means."""

from __future__ import annotations

from typing import Any

from xcompose.schema import OptionSchema

Schema = dict[str, Any]

NUMBER = r"(0|[1-9][0-9]*)(\.[0-9]+)?(e[+-]?[0-9]+)?"
NULL: Schema = {"type": "null"}
REFERENCE: Schema = {"$ref": "#/definitions/reference"}
WHOLE: Schema = {"type": "integer", "minimum": 0}
WRITTEN: dict[str, Schema] = {
    "reference": {"description": "What stands elsewhere: ${w}, ${model.dim / 8}.", "pattern": r"^\s*\$\{[^}]*\}\s*$"},
    "count": {"description": "12, 1.5k, 4Ki", "pattern": rf"^\s*{NUMBER}([KMGT]i|[kMGT])?\s*$"},
    "real": {"description": "0.1, 3e-4", "pattern": rf"^\s*-?{NUMBER}\s*$"},
    "width": {"description": "2048, or 4x: times the model's width", "pattern": rf"^\s*{NUMBER}([KMGT]i|[kMGTx])?\s*$"},
    "budget": {
        "description": "200 steps, 3 epochs, 2M tokens, 60 trials, 90s, 2min, 3h",
        "pattern": rf"^\s*({NUMBER}\s*(s|min|h)|{NUMBER}([KMGT]i|[kMGT])? +(step|epoch|token|trial)s?)\s*$",
    },
}
"""Definitions of values that are text to YAML."""
DEFINITIONS = {name: {"type": "string", **facts} for name, facts in WRITTEN.items()}


def either(*schemas: Schema) -> Schema:
    """One of several; those that are several themselves are taken apart."""
    flat: list[Schema] = []
    for schema in schemas:
        several = schema["anyOf"] if schema.keys() == {"anyOf"} else [schema]
        flat += [one for one in several if one not in flat]
    return {"anyOf": flat} if len(flat) > 1 else dict(flat[0])


def texts(null: bool = True) -> Schema:
    """Any text; a plain number or flag is one, too."""
    return {"type": ["string", "number", "boolean", *(["null"] if null else [])]}


VALUES: dict[str, Schema] = {
    "count": {"anyOf": [WHOLE, {"$ref": "#/definitions/count"}]},
    "length": {"anyOf": [WHOLE, {"$ref": "#/definitions/count"}]},
    "real": {"anyOf": [{"type": "number"}, {"$ref": "#/definitions/real"}]},
    "width": {"anyOf": [WHOLE, {"$ref": "#/definitions/width"}]},
    "flag": {"enum": [True, False, "true", "false"]},
    "budget": {"$ref": "#/definitions/budget"},
}
"""By type: what a value of it may be."""


def bounded(schema: Schema, option: OptionSchema | None) -> Schema:
    """A number within the bounds of its option; for numbers in quotes or with a unit, the loader looks at them."""
    if option is None or "anyOf" not in schema:
        return schema
    limits: Schema = {"minimum": option.at_least, "maximum": option.at_most, "exclusiveMinimum": option.above}
    written = {key: value for key, value in limits.items() if value is not None}
    return {
        "anyOf": [{**one, **written} if "type" in one else one for one in schema["anyOf"]]
    }  # fmt: skip


def json_of(value: Any) -> Any:
    """A default as JSON has it."""
    if isinstance(value, dict):
        return {str(key): json_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_of(item) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)
