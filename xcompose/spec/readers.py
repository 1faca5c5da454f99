"""Reads the value of each type of place."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from xcompose.diagnostics import Diagnostic, Span
from xcompose.schema import REQUIRED, OptionSchema
from xcompose.spec import components, files, layers, lists, renames, tree
from xcompose.spec.findings import BROKEN, Refused
from xcompose.spec.merge import Fixed, Given, Stack, entries, heads, lookups, until_null
from xcompose.spec.model import Record
from xcompose.spec.values import Problem, WidthValue, check_bounds, length_hint, parse_value

if TYPE_CHECKING:
    from xcompose.spec.resolver import Place, Reader, Resolver

WORD = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
NUMBERS = ("count", "length", "real", "width")


def scalar(resolver: Resolver, place: Place, stack: Stack) -> Any:
    """A number, flag, word, text or budget; None for an optional one that is not written."""
    given = next(resolver.unfold(place, stack), None)
    if given is None:
        default = resolver.default(place)
        if not default or not isinstance(place.default, str) or place.type.name in ("text", "word"):
            return place.default
        given = default[0]
    text = text_of(resolver, place, given)
    value = parse_value(place.type, text, given.span, place.path)
    if isinstance(value, Diagnostic):
        resolver.findings.add(value)
        raise Refused
    if isinstance(value, WidthValue):
        value = _features(resolver, place, given, value)
    if place.type.name == "length" and given.source.role != "default":
        _hint(resolver, place, text, given.span)
    if place.option is None or place.type.name not in NUMBERS:
        return value
    wrong = check_bounds(place.option, value, given.span, place.path)
    if wrong is not None:
        resolver.findings.add(wrong)
        raise Refused
    return value


def text_of(resolver: Resolver, place: Place, given: Given) -> str:
    """The text of a value that is neither a list nor a mapping nor a call.

    Raises:
        Refused: it is one of these.
    """
    value = given.value
    match value:
        case tree.Scalar(text=text):
            return text
        case tree.Name(text=text) | tree.Literal_(text=text):
            return text
        case Fixed(value=bool() as flag):
            return "true" if flag else "false"
        case Fixed(value=number):
            return str(number)
    resolver.expected(place, given)
    raise AssertionError


def _features(resolver: Resolver, place: Place, given: Given, width: WidthValue) -> int:
    dim = 1
    if width.relative:
        dim = place.scope.dim() if place.scope is not None else None
    if dim is None:
        message = f"'{width}' is a multiple of the model's width, and there is none"
        resolver.findings.refuse("XC014", message, given.span, path=place.path)
    if dim is BROKEN:
        raise Refused
    try:
        return width.of(dim)
    except Problem as problem:
        resolver.findings.refuse(
            problem.code, problem.message, given.span, problem.label, fixes=problem.fixes, path=place.path
        )


def _hint(resolver: Resolver, place: Place, text: str, span: Span) -> None:
    hint = length_hint(text)
    if hint:
        resolver.findings.report("XC019", hint, span, severity="hint", path=place.path)


def component(resolver: Resolver, place: Place, stack: Stack) -> Any:
    return components.component(resolver, place, stack)


def list_(resolver: Resolver, place: Place, stack: Stack) -> Any:
    return lists.list_(resolver, place, stack)


def layers_(resolver: Resolver, place: Place, stack: Stack) -> Any:
    assert place.scope is not None
    return layers.layers(resolver, place, stack, place.scope)


def blocks(resolver: Resolver, place: Place, stack: Stack) -> None:
    """Check every block, used or not; layers hold what they use, so blocks have no value of their own."""
    assert place.scope is not None
    mappings(resolver, place, stack)
    for name in place.scope.block_names():
        _check_name(resolver, place, name)
        layers.block(resolver, place.scope, name)


def _check_name(resolver: Resolver, place: Place, name: str) -> None:
    if not WORD.fullmatch(name):
        span = lookups(place.scope.blocks, name)[0].key if place.scope else None
        fixes = (f"write {name.lower().replace('_', '-')}",)
        message = f"a block is named like a component, with '-' between words, found '{name}'"
        resolver.findings.report("XC018", message, span, fixes=fixes, path=place.path)


def section(resolver: Resolver, place: Place, stack: Stack) -> Any:
    assert place.scope is not None
    return place.scope.section(place.name).read()


def mappings(resolver: Resolver, place: Place, stack: Stack) -> Stack:
    """The mappings that count for a place, newest first; anything else is refused."""
    found = list(resolver.unfold(place, stack))
    for given in found:
        if not isinstance(given.value, tree.Mapping):
            resolver.expected(place, given)
    return found


def map_(resolver: Resolver, place: Place, stack: Stack) -> Any:
    """A mapping of names to values; mappings merge."""
    assert place.type.of is not None
    found = mappings(resolver, place, stack)
    if not found:
        found = mappings(resolver, place, resolver.default(place))
    if not found:
        return None if place.type.optional or place.default is None else MappingProxyType({})
    values = {}
    for name in heads(found, raw=True):
        given = until_null(lookups(found, name, raw=True))
        if given:
            values[name] = resolver.typed(place.below(name, place.type.of), given)
    return BROKEN if BROKEN in values.values() else values


def record(resolver: Resolver, place: Place, stack: Stack) -> Any:
    """A mapping with the keys of an option class."""
    found = mappings(resolver, place, stack)
    if not found and (place.type.optional or place.default is REQUIRED):
        return None if place.type.optional else resolver.missing(place)
    found += mappings(resolver, place, resolver.default(place)) if isinstance(place.default, dict) else []
    fields = {field.name: field for field in place.type.fields}
    owner = place.owner if place.name.isdigit() else place.name
    found = renames.modern_all(resolver, place, found, place.type.fields, owner)
    unknown(resolver, place, found, fields, owner)
    values, spans, span = {}, {}, found[0].span if found else None
    for name, field in fields.items():
        below = place.below(name, field.type, default=field.default, option=field, owner=owner, span=span)
        given = lookups(found, name)
        values[name] = resolver.typed(below, given)
        if given:
            spans[name] = given[0].span
    return BROKEN if BROKEN in values.values() else Record(values, span, spans)


def unknown(resolver: Resolver, place: Place, stack: Stack, known: dict[str, OptionSchema], owner: str) -> None:
    """Report keys that a mapping does not have."""
    for given in stack:
        for name, value in entries(given):
            if name not in known:
                components.report_unknown(resolver, place, name, value, list(known), owner)


def spec(resolver: Resolver, place: Place, stack: Stack) -> Any:
    """Another spec, by the name of its file; its place is checked, the spec itself is read by whoever needs it."""
    given = resolver.first(place, stack)
    if given is None:
        return None
    return files.named(resolver, text_of(resolver, place, given), given)


def anything(resolver: Resolver, place: Place, stack: Stack) -> Any:
    """Texts, tuples and mappings as they are written."""
    given = resolver.first(place, stack)
    return None if given is None else _raw(resolver, place, given)


def _raw(resolver: Resolver, place: Place, given: Given) -> Any:
    value = given.value
    match value:
        case tree.Mapping():
            return {name: _raw(resolver, place, below) for name, below in entries(given, raw=True)}
        case tree.Sequence(items=items) | tree.List(items=items):
            return tuple(_raw(resolver, place, given.holds(item)) for item in items)
        case Fixed(value=fixed):
            return fixed
    return text_of(resolver, place, given)


READERS: dict[str, Reader] = {
    **dict.fromkeys(("count", "length", "real", "width", "flag", "word", "text", "budget"), scalar),
    "component": component,
    "list": list_,
    "layers": layers_,
    "blocks": blocks,
    "section": section,
    "map": map_,
    "record": record,
    "spec": spec,
    "any": anything,
}
