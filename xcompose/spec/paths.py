"""Walks a path from the root: names and list positions, through components and layers as they are written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from xcompose.schema import OptionSchema, ValueType
from xcompose.spec import components, layers, lists, renames, tree
from xcompose.spec.merge import Stack, is_position, lookups
from xcompose.spec.resolver import Place
from xcompose.spec.scopes import Scope, model_scope
from xcompose.spec.settings import SECTIONS

if TYPE_CHECKING:
    from xcompose.spec.resolver import Resolver


class Nowhere(Exception):
    """A path leads to nothing."""


@attrs.frozen(eq=False)
class Here:
    """A place on the way: typed, a layer or model (`scope`), or a value of `let`, which has no type yet."""

    place: Place | None
    stack: Stack
    scope: Scope | None = None
    key_of: Scope | None = None
    """The model, section or layer whose key it is."""


def walk(resolver: Resolver, names: list[str], renamed: dict[int, str] | None = None) -> Here:
    """The place that a path from the root leads to; new names for old ones go into `renamed`, by position.

    Raises:
        Nowhere: there is no such place.
        Refused: something on the way is wrong, and reported.
    """
    head, *below = names
    stack = resolver.sections.get(head, [])
    if head == "let":
        return step(resolver, Here(None, stack), below)
    if head == "model":
        if not stack:
            raise Nowhere
        return step(resolver, Here(None, stack, model_scope(resolver)), below, renamed)
    if head not in SECTIONS:
        raise Nowhere
    span = stack[0].span if stack else resolver.origin
    place = Place(head, SECTIONS[head], span, default={} if SECTIONS[head].name == "record" else None)
    return step(resolver, Here(place, stack), below, renamed)


def step(resolver: Resolver, here: Here, names: list[str], renamed: dict[int, str] | None = None) -> Here:
    """Further along a path, whose first name is behind."""
    for number, name in enumerate(names, start=1):
        try:
            here = _one(resolver, here, name)
        except Nowhere:
            new = renames.new_names(_options(resolver, here)).get(name)
            if new is None or renamed is None:
                raise
            renamed[number] = new
            here = _one(resolver, here, new)
    return here


def _options(resolver: Resolver, here: Here) -> Iterable[OptionSchema]:
    """What may stand below a place."""
    if here.scope is not None:
        return here.scope.options.values()
    if here.place is not None and here.place.type.name == "component":
        reduced = components.reduce(resolver, here.place, here.stack)
        return reduced.schema.options if reduced is not None else ()
    return here.place.type.fields if here.place is not None else ()


def _one(resolver: Resolver, here: Here, name: str) -> Here:
    if here.scope is not None:
        return _in_scope(resolver, here.scope, name)
    if here.place is None:
        return Here(None, _untyped(here.stack, name))
    place, stack = here.place, here.stack
    match place.type.name:
        case "component":
            reduced = components.reduce(resolver, place, stack)
            option = reduced.schema.option(name) if reduced is not None else None
            if reduced is None or option is None:
                raise Nowhere
            return Here(*components.option_place(place, reduced, option))
        case "list" if is_position(name):
            items = lists.items(resolver, place, stack)
            if int(name) >= len(items):
                raise Nowhere
            item = lists.unshare(items[int(name)])[1] if lists.is_shared(place) else items[int(name)]
            return Here(lists.item_place(place, int(name)), item)
        case "layers" if is_position(name):
            return Here(None, [], layers.written(resolver, place, stack, int(name)))
        case "blocks" if place.scope is not None and name in place.scope.block_names():
            return Here(None, [], layers.block_scope(resolver, place.scope, name))
        case "map":
            assert place.type.of is not None
            return Here(place.below(name, place.type.of), lookups(stack, name, raw=True))
        case "record":
            field = next((f for f in place.type.fields if f.name == name), None)
            if field is None:
                raise Nowhere
            stack = renames.modern_all(resolver, place, stack, place.type.fields, place.name)
            return Here(place.below(name, field.type, default=field.default, option=field), lookups(stack, name))
    raise Nowhere


def _in_scope(resolver: Resolver, scope: Scope, name: str) -> Here:
    if name == "blocks":
        return Here(Place(f"{scope.path}.blocks", ValueType("blocks"), scope.span, scope=scope), scope.blocks)
    if name not in scope.options:
        raise Nowhere
    if scope.options[name].type.name == "section":
        return Here(None, [], scope.section(name))
    return Here(scope.place(name), scope.stack(name), key_of=scope)


def _untyped(stack: Stack, name: str) -> Stack:
    found = lookups(stack, name)
    if not found and is_position(name) and stack and isinstance(stack[0].value, tree.Sequence):
        items = stack[0].value.items
        found = [stack[0].holds(items[int(name)])] if int(name) < len(items) else []
    if not found:
        raise Nowhere
    return found
