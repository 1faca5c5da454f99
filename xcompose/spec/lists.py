"""Reads lists: the nearest one replaces the others; paths change single items of it."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import attrs

from xcompose.diagnostics import Note
from xcompose.diagnostics.suggest import suggest
from xcompose.schema import ValueType
from xcompose.spec import tree
from xcompose.spec.findings import BROKEN, Refused
from xcompose.spec.merge import Given, Stack, entries, is_list_patch, is_null, lookup, until_null

if TYPE_CHECKING:
    from xcompose.spec.resolver import Place, Resolver

SHARE_KEYS = ("shares", "use")
SHARE = ValueType("count")


def list_(resolver: Resolver, place: Place, stack: Stack) -> Any:
    """A tuple; for groups of heads, of pairs (share, component)."""
    found = items(resolver, place, stack)
    if not found and not until_null(stack) and place.default is None:
        return None
    if is_shared(place):
        return _shared(resolver, place, found)
    values = tuple(resolver.typed(item_place(place, i), item) for i, item in enumerate(found))
    return BROKEN if any(value is BROKEN for value in values) else values


def is_shared(place: Place) -> bool:
    """Whether the items may carry a number, `3*a`."""
    return place.option is not None and place.option.shares


def item_place(place: Place, number: int) -> Place:
    """The place of one item; bounds of the list's option hold for each."""
    assert place.type.of is not None
    return place.below(number, place.type.of, option=place.option if place.type.of.name != "list" else None)


def items(resolver: Resolver, place: Place, stack: Stack) -> list[Stack]:
    """What was given for each item, newest first."""
    patches: Stack = []
    base = _base(resolver, place, stack, patches)
    if base is None:
        base = _base(resolver, place, resolver.default(place), patches)
    found = [] if base is None else [[item] for item in _items(resolver, place, base)]
    for patch in reversed(patches):
        for name, given in entries(patch):
            if int(name) >= len(found):
                notes = (Note("the list stands here", base.span),) if base else ()
                count = f"{len(found)} item{'s' if len(found) != 1 else ''}, counted from 0"
                message = f"there is no item {name} in '{place.name}'"
                resolver.findings.report(
                    "XC029", message, given.key, f"the list has {count}", notes=notes, path=place.path
                )
            else:
                found[int(name)].insert(0, given)
    for item in found:
        if is_null(item[0]):
            resolver.findings.refuse("XC014", "an item of a list cannot be null", item[0].span, path=place.path)
    return found


def _base(resolver: Resolver, place: Place, stack: Stack, patches: Stack) -> Given | None:
    for given in resolver.unfold(place, stack):
        if not is_list_patch(given):
            return given
        patches.append(given)
    return None


def _items(resolver: Resolver, place: Place, given: Given) -> list[Given]:
    """The items of a list; one value stands for a list of one."""
    value = given.value
    if isinstance(value, tree.Scalar) and value.text.lstrip().startswith("["):
        value = resolver.expression(given)
    match value:
        case tree.Sequence(items=found) | tree.List(items=found) | tree.Group(items=found):
            below = enumerate(found)
            return [given.holds(item, f"{given.path}.{i}", inside=given.inside) for i, item in below]
    return [given]


def _shared(resolver: Resolver, place: Place, found: list[Stack]) -> Any:
    shares, stacks = [], []
    for number, item in enumerate(found):
        share, stack = unshare(item)
        below = place.below(f"{number}.shares", SHARE, default=1, owner=place.owner)
        shares.append(1 if share is None else resolver.typed(below, [share]))
        stacks.append(stack)
        _only_share_keys(resolver, place, item)
    total = sum(s for s in shares if s is not BROKEN)
    if any(s is BROKEN for s in shares) or not _whole(resolver, place, found, shares, total):
        raise Refused
    values = []
    for number, (share, stack) in enumerate(zip(shares, stacks, strict=True)):
        heads = None if place.heads is None else place.heads * Fraction(share, total)
        below = attrs.evolve(item_place(place, number), heads=heads)
        values.append((share, resolver.typed(below, stack)))
    return BROKEN if any(value is BROKEN for _, value in values) else tuple(values)


def unshare(stack: Stack) -> tuple[Given | None, Stack]:
    """The share of an item, if it is written, and what was given for its component.

    An item is `3*a`, or a mapping `{shares: 3, use: a}`, or what the component itself would be.
    """
    share, component = None, []
    for given in stack:
        value = given.value
        if isinstance(value, tree.Element) and value.number is not None:
            share = share or given.holds(value.number)
            component.append(given.holds(value.value))
        elif isinstance(value, tree.Mapping) and (lookup(given, "use") or lookup(given, "shares")):
            share = share or next(iter(lookup(given, "shares")), None)
            component += lookup(given, "use")
        else:
            component.append(given)
    return share, component


def _only_share_keys(resolver: Resolver, place: Place, item: Stack) -> None:
    for given in item:
        if isinstance(given.value, tree.Mapping) and lookup(given, "use"):
            for name, value in entries(given):
                if name not in SHARE_KEYS:
                    near = tuple(suggest(name, SHARE_KEYS))
                    fixes = near or ("write options of the component inside `use`",)
                    message = f"a group has no key '{name}'"
                    resolver.findings.report("XC011", message, value.key, fixes=fixes, path=place.path)


def _whole(resolver: Resolver, place: Place, found: list[Stack], shares: list[int], total: int) -> bool:
    """Whether the shares give each group a whole number of heads."""
    if not total or 0 in shares:
        span = found[shares.index(0)][0].span if found else place.span
        resolver.findings.report("XC015", "a group of heads needs a share of at least 1", span, path=place.path)
        return False
    if place.heads is None or all((place.heads * share / total).denominator == 1 for share in shares):
        return True
    if place.heads.denominator != 1:
        return True
    written = " + ".join(str(share) for share in shares)
    message = f"{place.heads} heads cannot be shared {written}"
    label = f"the shares add up to {total}, which does not divide {place.heads} into whole groups"
    fixes = (f"use shares that add up to a divisor of {place.heads}",)
    resolver.findings.report("XC015", message, found[0][0].span, label, fixes=fixes, path=place.path)
    return False
