"""Reads sequences of layers: blocks, repetitions, groups and `each`, down to one `Layer` for each built layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from xcompose.diagnostics import Span
from xcompose.diagnostics.suggest import suggest
from xcompose.schema import OptionSchema, ValueType
from xcompose.spec import renames, tree
from xcompose.spec.components import report_unknown
from xcompose.spec.findings import BROKEN, Refused
from xcompose.spec.merge import Given, Stack, entries, heads, is_list_patch, lookup, lookups
from xcompose.spec.model import Layer
from xcompose.spec.references import CHAIN
from xcompose.spec.resolver import Place, shape
from xcompose.spec.scopes import Scope

if TYPE_CHECKING:
    from xcompose.spec.resolver import Resolver

LAYERS = 4096
ITEM_KEYS = ("use", "repeat", "each")
GROUP_KEYS = ("layers", "repeat", "each")
COUNT = ValueType("count")
WORD = ValueType("text")


@attrs.frozen(eq=False)
class _Item:
    """One item of a sequence: how often, and what."""

    changes: Stack
    """Mappings with layer keys, newest first."""
    count: int = 1
    mixer: Given | None = None
    use: Given | None = None
    group: Stack = attrs.field(factory=list)
    """The layers of a group."""


def layers(resolver: Resolver, place: Place, stack: Stack, scope: Scope) -> Any:
    """A tuple of `Layer`, one for each built layer."""
    found: list[Any] = []
    broken = False
    for path, item in _items(resolver, place, stack):
        try:
            built = _item(resolver, attrs.evolve(place, path=path), item, scope)
        except Refused:
            broken = True
            continue
        broken = broken or built is BROKEN
        found += [] if built is BROKEN else built
        _limit(resolver, place, len(found), item[0].span)
    if not found and not broken and not stack:
        resolver.default(place)
    return BROKEN if broken else tuple(found)


def _limit(resolver: Resolver, place: Place, count: int, span: Span) -> None:
    if count > LAYERS:
        resolver.findings.refuse("XC027", f"more than {LAYERS:,} layers", span, path=place.path)


def _items(resolver: Resolver, place: Place, stack: Stack) -> list[tuple[str, Stack]]:
    """The items as they are written, each with its path and what was given for it."""
    patches: Stack = []
    base = None
    for given in [*resolver.unfold(place, stack)] or [*resolver.unfold(place, resolver.default(place))]:
        if not is_list_patch(given):
            base = given
            break
        patches.append(given)
    if base is None:
        resolver.missing(place)
        return []
    found = [[item] for item in _elements(resolver, base)]
    for patch in reversed(patches):
        for name, given in entries(patch):
            if int(name) >= len(found):
                message = f"there is no item {name} in '{place.name}'"
                label = f"'{place.name}' has {len(found)} as written, counted from 0"
                resolver.findings.report("XC029", message, given.key, label, path=place.path)
            else:
                found[int(name)].insert(0, given)
    return [(f"{place.path}.{number}", item) for number, item in enumerate(found)]


def _elements(resolver: Resolver, given: Given) -> list[Given]:
    value = given.value
    if isinstance(value, tree.Scalar):
        value = resolver.sequence(given)
        if len(value) == 1 and value[0].number is None and isinstance(value[0].value, tree.List):
            value = value[0].value
    match value:
        case tuple() as elements:
            return [given.holds(e, f"{given.path}.{i}", inside=given.inside) for i, e in enumerate(elements)]
        case tree.Sequence(items=items) | tree.List(items=items) | tree.Group(items=items):
            return [given.holds(item, f"{given.path}.{i}") for i, item in enumerate(items)]
    return [given]


def _item(resolver: Resolver, place: Place, stack: Stack, scope: Scope) -> Any:
    """The layers that one item of a sequence gives."""
    each = next(iter(lookups([g for g in stack if isinstance(g.value, tree.Mapping)], "each")), None)
    if each is None:
        return _once(resolver, place, stack, scope)
    found: list[Layer] = []
    broken = False
    for names in _positions(resolver, place, stack, each):
        named = [attrs.evolve(g, names={**g.names, **names}) for g in stack]
        built = _once(resolver, place, named, scope)
        broken = broken or built is BROKEN
        found += [] if built is BROKEN else built
        _limit(resolver, place, len(found), each.span)
    return BROKEN if broken else found


def _once(resolver: Resolver, place: Place, stack: Stack, scope: Scope) -> Any:
    resolver.count_step(stack[0].span)
    item = _understand(resolver, place, stack, scope)
    if isinstance(item, list):
        return _sequence(resolver, place, item, scope, 1)
    if item.group:
        return _sequence(resolver, place.below("layers", place.type), item.group, scope, item.count)
    if item.count == 0:
        return []
    layer = _layer(resolver, place, item, scope)
    if item.count > LAYERS:
        _limit(resolver, place, item.count, stack[0].span)
    return BROKEN if layer is BROKEN else [layer] * item.count


def _sequence(resolver: Resolver, place: Place, stack: Stack, scope: Scope, count: int) -> Any:
    found = layers(resolver, place, stack, scope)
    if found is BROKEN:
        return BROKEN
    _limit(resolver, place, len(found) * count, stack[-1].span)
    return list(found) * count


def _understand(resolver: Resolver, place: Place, stack: Stack, scope: Scope) -> _Item | Stack:
    """What an item is; a stack again when its text is a sequence of several items."""
    changes: Stack = []
    item = _Item(changes)
    for given in resolver.unfold(place, stack):
        value = given.value
        if isinstance(value, tree.Mapping):
            changes.append(given)
            continue
        if isinstance(value, tree.Scalar):
            element, *more = resolver.sequence(given)
            if more:
                _only_positions(resolver, place, changes, 1 + len(more))
                return [*changes, given]
            given = given.holds(element)
        item = _element(resolver, place, given, scope, changes)
        if isinstance(item, list):
            return item
        break
    return _changed(resolver, place, item, scope)


def _only_positions(resolver: Resolver, place: Place, changes: Stack, count: int) -> None:
    """Refuse changes of a whole item that is a sequence of several layers."""
    for given in changes:
        if not is_list_patch(given):
            fixes = tuple(f"go on with a position: {place.path}.{number}" for number in (0, count - 1))
            message = f"'{place.path}' is a sequence of {count} items"
            resolver.findings.refuse("XC029", message, given.key or given.span, fixes=fixes, path=place.path)


def _element(resolver: Resolver, place: Place, given: Given, scope: Scope, changes: Stack) -> _Item | Stack:
    value, count = given.value, 1
    if isinstance(value, tree.Element):
        assert value.number is not None
        count = resolver.typed(attrs.evolve(place, type=COUNT, option=None), [given.holds(value.number)])
        value = value.value
    if count is BROKEN:
        raise Refused
    match value:
        case tree.Literal_(kind="number"):
            own = resolver.typed(attrs.evolve(place, type=COUNT, option=None), [given.holds(value)])
            if own is BROKEN:
                raise Refused
            return _Item(changes, count * own)
        case tree.Name(text=name) if name in scope.block_names():
            return _Item(changes, count, use=given.holds(value))
        case tree.Name(text=name, span=span):
            _known(resolver, place, name, given.at or span, scope)
            return _Item(changes, count, mixer=given.holds(value))
        case tree.Call():
            return _Item(changes, count, mixer=given.holds(value))
        case tree.Group(items=items):
            return _Item(changes, count, group=[given.holds(tree.List(items, value.span), f"{given.path}.layers")])
        case tree.Reference():
            return _Item(changes, count, group=[given.holds(value)])
    return _no_layer(resolver, place, given.holds(value))


def _known(resolver: Resolver, place: Place, name: str, span: Span, scope: Scope) -> None:
    """Refuse a bare name that is neither a block nor a mixer."""
    names, mixers = scope.block_names(), resolver.catalogue.names("mixer")
    if names and "/" not in name and resolver.catalogue.get("mixer", name) is None:
        fixes = tuple(suggest(name, [*names, *mixers]))
        resolver.findings.refuse("XC013", f"no block or mixer is called '{name}'", span, path=place.path, fixes=fixes)


def _no_layer(resolver: Resolver, place: Place, given: Given) -> NoReturn:
    message = f"expected a layer, found {shape(given.value)}"
    fixes = (
        ("a group inside a list is written {repeat: 1, layers: [...]}",)
        if isinstance(given.value, tree.Sequence)
        else ()
    )
    resolver.findings.refuse("XC017", message, given.span, path=place.path, fixes=fixes)


def _changed(resolver: Resolver, place: Place, item: _Item, scope: Scope) -> _Item:
    """An item with what the mappings above it say."""
    item = attrs.evolve(item, changes=_modern(resolver, place, item.changes, scope))
    group = lookups(item.changes, "layers") + item.group
    known = GROUP_KEYS if group else (*ITEM_KEYS, *scope.layer_options())
    for given in item.changes:
        for name, value in entries(given):
            if name not in known:
                owner = "a group of layers" if group else "a layer"
                report_unknown(resolver, place, name, value, known, owner)
    repeat, each = lookups(item.changes, "repeat"), lookups(item.changes, "each")
    if repeat and each:
        message = "a layer has at most one of 'repeat' and 'each'"
        resolver.findings.refuse("XC018", message, repeat[0].key or repeat[0].span, path=place.path)
    count = item.count
    if repeat:
        count = resolver.typed(place.below("repeat", COUNT, default=1), repeat)
        if count is BROKEN:
            raise Refused
    use = next(iter(lookups(item.changes, "use")), item.use)
    return attrs.evolve(item, count=count, group=group, use=use)


def _modern(resolver: Resolver, place: Place, changes: Stack, scope: Scope) -> Stack:
    return renames.modern_all(resolver, place, changes, scope.layer_options().values(), "")


def _layer(resolver: Resolver, place: Place, item: _Item, scope: Scope) -> Any:
    layer_scope, block = _scope(resolver, place, item, scope)
    values = {name: layer_scope.value(name) for name in layer_scope.options}
    if any(value is BROKEN for value in values.values()):
        return BROKEN
    return Layer(values, block, layer_scope.span, place.path)


def _scope(resolver: Resolver, place: Place, item: _Item, scope: Scope) -> tuple[Scope, str | None]:
    parts: list[_Item] = [item]
    used: list[str] = []
    while parts[-1].use is not None:
        name = _block_name(resolver, place, parts[-1].use, scope)
        if name in used:
            message = f"blocks use each other: {' -> '.join([*used, name])}"
            resolver.findings.refuse("XC018", message, parts[-1].use.span, path=place.path)
        if len(used) >= CHAIN:
            message = f"more than {CHAIN} blocks that use one another"
            resolver.findings.refuse("XC018", message, parts[-1].use.span, " -> ".join(used), path=place.path)
        used.append(name)
        parts.append(_block(resolver, scope, name))
    options = scope.layer_options()
    stacks = {name: [*_given(parts, name), *scope.stack(name)] for name in options}
    first = item.use or item.mixer or (item.changes[0] if item.changes else None)
    span = first.span if first else place.span
    return Scope(resolver, place.path, span, options, stacks, scope), used[0] if used else None


def _given(parts: list[_Item], name: str) -> Stack:
    found: Stack = []
    for part in parts:
        found += lookups(part.changes, name)
        if name == "mixer" and part.mixer is not None:
            found.append(part.mixer)
    return found


def _block_name(resolver: Resolver, place: Place, given: Given, scope: Scope) -> str:
    name = resolver.typed(place.below("use", WORD), [given])
    names = scope.block_names()
    if name is BROKEN:
        raise Refused
    if name not in names:
        fixes = tuple(suggest(name, names))
        message = f"no block is called '{name}'"
        resolver.findings.refuse("XC018", message, given.span, path=place.path, fixes=fixes)
    return name


def _block(resolver: Resolver, scope: Scope, name: str) -> _Item:
    """A block as an item of its own: a mapping of layer keys, a mixer, or another block."""
    stack = lookups(scope.blocks, name)
    place = Place(f"{scope.path}.blocks.{name}", ValueType("layers"), stack[0].key or stack[0].span, scope=scope)
    changes: Stack = []
    mixer = use = None
    for given in resolver.unfold(place, stack):
        if isinstance(given.value, tree.Mapping):
            changes.append(given)
            continue
        value = resolver.expression(given) if isinstance(given.value, tree.Scalar) else given.value
        if isinstance(value, tree.Name) and value.text in scope.block_names():
            use = given.holds(value)
        elif isinstance(value, tree.Name | tree.Call):
            mixer = given.holds(value)
        else:
            _no_layer(resolver, place, given.holds(value))
        break
    changes = _modern(resolver, place, changes, scope)
    known = ["use", *scope.layer_options()]
    for given in changes:
        for key, value in entries(given):
            if key not in known:
                report_unknown(resolver, place, key, value, known, "a block")
    use = next(iter(lookups(changes, "use")), use)
    return _Item(changes, mixer=mixer, use=use)


def block(resolver: Resolver, scope: Scope, name: str) -> Any:
    """The layer that a block alone gives, or `BROKEN`."""
    place = Place(f"{scope.path}.blocks.{name}", ValueType("layers"), scope.span, scope=scope)
    try:
        return _layer(resolver, place, _block(resolver, scope, name), scope)
    except Refused:
        return BROKEN


def block_scope(resolver: Resolver, scope: Scope, name: str) -> Scope:
    """Where the keys of a block take their values from."""
    place = Place(f"{scope.path}.blocks.{name}", ValueType("layers"), scope.span, scope=scope)
    return _scope(resolver, place, _block(resolver, scope, name), scope)[0]


def written(resolver: Resolver, place: Place, stack: Stack, number: int) -> Scope | None:
    """The scope of one item as written, None where there is none or it is a group."""
    items = _items(resolver, place, stack)
    if number >= len(items) or place.scope is None:
        return None
    path, item = items[number]
    found = _understand(resolver, attrs.evolve(place, path=path), item, place.scope)
    if isinstance(found, list) or found.group:
        return None
    return _scope(resolver, attrs.evolve(place, path=path), found, place.scope)[0]


def _positions(resolver: Resolver, place: Place, stack: Stack, each: Given) -> list[dict[str, Given]]:
    """What each name of `each` stands for, one mapping for each layer."""
    found = lookups([g for g in stack if isinstance(g.value, tree.Mapping)], "each")
    lists = {}
    for name in heads(found):
        below = place.below(f"each.{name}", ValueType("list", of=ValueType("any")))
        _free_name(resolver, below, name, found)
        lists[name] = _elements_of(resolver, below, lookups(found, name))
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) != 1:
        said = ", ".join(f"{name} has {count}" for name, count in lengths.items()) or "it names no list"
        message = "the lists of 'each' differ in length" if lengths else "'each' wants lists with names"
        resolver.findings.refuse("XC018", message, each.span, said, path=place.path)
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def _elements_of(resolver: Resolver, place: Place, stack: Stack) -> Stack:
    from xcompose.spec.lists import items

    return [item[0] for item in items(resolver, place, stack)]


def _free_name(resolver: Resolver, place: Place, name: str, found: Stack) -> None:
    from xcompose.spec.settings import KEYS

    taken = "a section" if name in KEYS else "let" if name in heads(resolver.sections.get("let", [])) else ""
    taken = "an 'each' around it" if name in found[0].names else taken
    if taken:
        span = lookups(found, name)[0].key or place.span
        message = f"'{name}' is a name of 'each' and of {taken}"
        resolver.findings.refuse("XC024", message, span, path=place.path, fixes=("choose another name",))


__all__ = ["OptionSchema", "block", "block_scope", "layers", "lookup", "written"]
