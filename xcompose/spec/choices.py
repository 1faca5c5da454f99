"""Reads what a search may choose: places, and values for each."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from xcompose.schema import ValueType
from xcompose.spec import renames, tree
from xcompose.spec.expression import unparse
from xcompose.spec.findings import Refused
from xcompose.spec.lists import items
from xcompose.spec.merge import Given, Stack, heads, lookups
from xcompose.spec.paths import Nowhere, walk
from xcompose.spec.resolver import Place
from xcompose.spec.settings import KEYS

if TYPE_CHECKING:
    from xcompose.spec.resolver import Resolver

ANY = ValueType("list", of=ValueType("any"))
PLAIN = re.compile(r"[^\s,:#&*!|>'\"%@`{}\[\]][^,:#'\"{}\[\]\n]*")
"""What needs no quotes, wherever it stands."""


def choices(resolver: Resolver, stack: Stack) -> dict[str, tuple[str, ...]]:
    """Path to values, each in the spelling that an override takes; every value is read as if it stood at its place."""
    from xcompose.spec.readers import mappings

    found = {}
    whole = Place("search.choices", ValueType("map", of=ANY), stack[0].span if stack else resolver.origin, default=None)
    try:
        stack = mappings(resolver, whole, stack)
    except Refused:
        return {}
    for path in heads(stack, raw=True):
        given = lookups(stack, path, raw=True)
        place = Place(f"search.choices.{path}", ANY, given[0].span)
        renamed: dict[int, str] = {}
        try:
            values = [_value(resolver, path, item, renamed) for item in items(resolver, place, given)]
        except Refused:
            continue
        except Nowhere:
            message = f"there is no place '{path}' to choose for"
            resolver.findings.report("XC029", message, given[0].key or given[0].span)
        else:
            found[_modern(resolver, place, path, given[0], renamed)] = tuple(dict.fromkeys(values))
            if not values:
                resolver.findings.report("XC014", f"there is nothing to choose for '{path}'", given[0].span)
    return found


def _modern(resolver: Resolver, place: Place, path: str, given: Given, renamed: dict[int, str]) -> str:
    """A path with the new names of what was renamed."""
    names = path.split(".")
    shift = 0 if names[0] in KEYS else 1
    renamed = {number - shift: new for number, new in renamed.items()}
    if renamed and given.key is not None:
        quoted = given.key.end_column - given.key.column != len(path)
        scalar = tree.Scalar(path, given.key, places=((0, given.key.line, given.key.column + quoted),))
        renames.segment(resolver, place, given.source, scalar, renamed)
    return ".".join(renamed.get(number, name) for number, name in enumerate(names))


def _value(resolver: Resolver, path: str, item: Stack, renamed: dict[int, str]) -> str:
    names = path.split(".")
    here = walk(resolver, names if names[0] in KEYS else ["model", *names], renamed)
    if here.place is not None:
        resolver.typed(here.place, [*item, *here.stack])
    return spelled(item[0].value)


def spelled(value: object, inside: bool = False) -> str:
    """A value as `--set` takes it, on one line.

    Args:
        value: as it was read.
        inside: whether it stands in a list or a mapping.
    """
    match value:
        case tree.Scalar(text=text):
            bare = PLAIN.fullmatch(text) if inside else text.strip() and text[0] not in "[{\"'" and "\n" not in text
            return text if bare else json.dumps(text, ensure_ascii=False)
        case tree.Mapping(entries=entries):
            return "{" + ", ".join(f"{e.key.text}: {spelled(e.value, True)}" for e in entries) + "}"
        case tree.Sequence(items=found):
            return "[" + ", ".join(spelled(item, True) for item in found) + "]"
    return unparse(value)  # type: ignore[arg-type]
