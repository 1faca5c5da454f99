"""Reads what a search may choose: places, and values for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xcompose.schema import ValueType
from xcompose.spec.findings import Refused
from xcompose.spec.lists import items
from xcompose.spec.merge import Stack, heads, lookups
from xcompose.spec.origins import text_of
from xcompose.spec.paths import Nowhere, walk
from xcompose.spec.resolver import Place

if TYPE_CHECKING:
    from xcompose.spec.resolver import Resolver

ANY = ValueType("list", of=ValueType("any"))


def choices(resolver: Resolver, stack: Stack) -> dict[str, tuple[str, ...]]:
    """Path to values, each in the spelling that an override takes; every value is read as if it stood at its place."""
    found = {}
    for path in heads(stack, raw=True):
        given = lookups(stack, path, raw=True)
        place = Place(f"search.choices.{path}", ANY, given[0].span)
        try:
            found[path] = tuple(_value(resolver, path, item) for item in items(resolver, place, given))
        except Refused:
            continue
        except Nowhere:
            message = f"there is no place '{path}' to choose for"
            resolver.findings.report("XC029", message, given[0].key or given[0].span)
    return found


def _value(resolver: Resolver, path: str, item: Stack) -> str:
    names = path.split(".")
    here = walk(resolver, names if names[0] in resolver.sections else ["model", *names])
    if here.place is not None:
        resolver.typed(here.place, [*item, *here.stack])
    return text_of(item[0])
