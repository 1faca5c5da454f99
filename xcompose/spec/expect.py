"""Reads `expect`, the contract of a spec, and bounds of the same kind elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from xcompose.diagnostics.suggest import suggest
from xcompose.schema import ValueType
from xcompose.spec.findings import Refused
from xcompose.spec.merge import Given, Stack, heads, lookups
from xcompose.spec.model import Expectation
from xcompose.spec.resolver import Place
from xcompose.spec.values import Problem, Range, parse_bound, parse_count, parse_flag, parse_range, parse_word

if TYPE_CHECKING:
    from xcompose.spec.resolver import Resolver

TEXTS = ValueType("list", of=ValueType("text"))


def _lengths(text: str) -> str:
    multiple = re.fullmatch(r"multiple of (\S+)", text)
    if text == "any":
        return text
    if multiple and parse_count(multiple[1]):
        return f"multiple of {parse_count(multiple[1])}"
    raise Problem(f"expected 'any' or 'multiple of N', found '{text}'")


PARSERS: dict[str, Callable[[str], Any]] = {
    "params": parse_range,
    "trainable": parse_range,
    "layers": parse_range,
    "time": lambda text: parse_bound(text, "FLOP"),
    "memory": lambda text: parse_bound(text, "B"),
    "state": lambda text: parse_bound(text, "B"),
    "causal": lambda text: parse_word(text, ("strict", "value", "none")),
    "decode": lambda text: parse_word(text, ("exact", "none")),
    "deterministic": parse_flag,
    "reach": lambda text: text if text == "all" else parse_range(text),
    "lengths": _lengths,
}


def metric(text: str) -> Range:
    """A range of a metric: any numbers."""
    return parse_range(text, whole=False)


def latency(text: str) -> Range:
    """A range of seconds, at a length: `..20ms at 4Ki`."""
    found = parse_range(text, "s", whole=False)
    if found.low is not None and found.low == found.high:
        raise Problem(f"no measured time is exactly '{text}'", fixes=(f"write ..{text}",))
    return found


def expectations(
    resolver: Resolver, path: str, stack: Stack, newest: int = 0, other: Callable[[str], Any] | None = None,
    more: Mapping[str, Callable[[str], Any]] | None = None,
) -> tuple[Expectation, ...]:  # fmt: skip
    """What is expected, element by element.

    Numbers given below stage `newest` have lapsed; words and growths stay. Keys that are no contract are metrics, read
    by `other`, where that is given; `more` reads contracts that only this place has.
    """
    place = Place(path, ValueType("map", of=TEXTS), stack[0].span if stack else resolver.origin, default=None)
    from xcompose.spec.readers import mappings

    try:
        found = mappings(resolver, place, stack)
    except Refused:
        return ()
    values: list[Expectation] = []
    for key in heads(found):
        below = place.below(key, TEXTS, default=())
        parse = {**PARSERS, **(more or {})}.get(key, other)
        given = lookups(found, key)
        if parse is None:
            fixes = tuple(suggest(key, PARSERS))
            message = f"'{path.rpartition('.')[2]}' has no key '{key}'"
            resolver.findings.report("XC011", message, given[0].key, fixes=fixes, path=path)
            continue
        try:
            values += _elements(resolver, below, key, given, newest, parse)
        except Refused:
            continue
    return tuple(values)


def _elements(
    resolver: Resolver, place: Place, key: str, stack: Stack, newest: int, parse: Callable[[str], Any]
) -> list[Expectation]:
    from xcompose.spec.lists import item_place, items
    from xcompose.spec.readers import text_of

    resolver.trace.setdefault(place.path, stack)
    found = []
    for number, item in enumerate(items(resolver, place, stack)):
        given = resolver.first(item_place(place, number), item)
        if given is None:
            continue
        text = text_of(resolver, place, given)
        value = _parsed(resolver, place, given, text, parse)
        lapsed = isinstance(value, Range) and given.source.stage < newest
        if not lapsed:
            found.append(Expectation(key, text, value, given.span, place.path))
    return found


def _parsed(resolver: Resolver, place: Place, given: Given, text: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(text)
    except Problem as problem:
        resolver.findings.refuse(
            problem.code, problem.message, given.span, problem.label, fixes=problem.fixes, path=place.path
        )
