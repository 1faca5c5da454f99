"""Reads components: a mapping, an expression, or changes of one that stands below, all give the same tree."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from xcompose.diagnostics import Note, Span
from xcompose.diagnostics.suggest import suggest
from xcompose.schema import ComponentSchema, OptionSchema, ValueType
from xcompose.spec import renames, tree
from xcompose.spec.catalogue import Found
from xcompose.spec.expression import unparse
from xcompose.spec.findings import BROKEN
from xcompose.spec.merge import Given, Stack, entries, lookup, lookups
from xcompose.spec.model import Node
from xcompose.spec.resolver import Place, shape

if TYPE_CHECKING:
    from xcompose.spec.resolver import Resolver

OPERATORS = {"|": "union", "&": "intersection", "-": "difference"}
LISTS = ("list", "layers")


@attrs.frozen(eq=False)
class Reduced:
    """A component whose type is known, with what was given for each option."""

    schema: ComponentSchema
    name: str
    span: Span
    options: dict[str, Stack]
    default: bool
    """Whether nobody wrote its type."""


@attrs.frozen(eq=False)
class _Type:
    """Where a component names its type."""

    name: str
    span: Span
    given: Given


def component(resolver: Resolver, place: Place, stack: Stack) -> Any:
    """A `Node`, or None for an optional component that is not there."""
    reduced = reduce(resolver, place, stack)
    if reduced is None:
        return None
    if reduced.schema.kind == "model":
        from xcompose.spec.scopes import model_scope

        return model_scope(resolver).read()
    resolver.count_node(reduced.span)
    values: dict[str, Any] = {}
    for option in sorted(reduced.schema.options, key=lambda o: o.name != "heads"):
        values[option.name] = _option(resolver, place, reduced, option)
        if option.name == "heads" and reduced.options["heads"] and isinstance(values["heads"], int):
            place = attrs.evolve(place, heads=Fraction(values["heads"]))
    if any(value is BROKEN for value in values.values()):
        return BROKEN
    inherited = (o.name for o in reduced.schema.options if _is_inherited(place, o) and not reduced.options[o.name])
    return node(reduced, place, {o.name: values[o.name] for o in reduced.schema.options}, frozenset(inherited))


def _option(resolver: Resolver, place: Place, reduced: Reduced, option: OptionSchema) -> Any:
    if place.scope is not None and _is_inherited(place, option) and not reduced.options[option.name]:
        resolver.trace.setdefault(f"{place.path}.{option.name}", place.scope.stack(option.name))
        return place.scope.value(option.name)
    return resolver.typed(*option_place(place, reduced, option))


def _is_inherited(place: Place, option: OptionSchema) -> bool:
    return option.inherited and place.scope is not None and option.name in place.scope.options


def node(reduced: Reduced, place: Place, values: dict[str, Any], inherited: frozenset[str] = frozenset()) -> Node:
    """Put a node together."""
    written = {name: stack for name, stack in reduced.options.items() if stack}
    return Node(
        reduced.schema.kind, reduced.name, values, reduced.span, place.path,
        {name: stack[0].span for name, stack in written.items()}, frozenset(written), inherited,
    )  # fmt: skip


def option_place(place: Place, reduced: Reduced, option: OptionSchema) -> tuple[Place, Stack]:
    """The place of one option, and what was given for it; an inherited one goes on with the layer's value."""
    stack = reduced.options[option.name]
    below = place.below(
        option.name, option.type, default=option.default, option=option, owner=reduced.name, span=reduced.span
    )
    if place.scope is not None and _is_inherited(place, option):
        outer = place.scope.place(option.name)
        return attrs.evolve(below, default=outer.default), stack + place.scope.stack(option.name)
    return below, stack


def reduce(resolver: Resolver, place: Place, stack: Stack) -> Reduced | None:
    """Find the type that counts, and what was given for each option above it.

    Raises:
        Refused: there is no type, or none of that name, or an option is wrong.
    """
    overlays: Stack = []
    base, renamed = _find_type(resolver, place, stack, overlays)
    if base is None:
        base, renamed = _find_type(resolver, place, _default(resolver, place, overlays), overlays)
    if base is None:
        if overlays:
            _nothing_to_change(resolver, place, overlays[0])
        return None
    named = renamed or base
    if named.name == "none" and place.type.optional and resolver.catalogue.get(place.type.kind, "none") is None:
        return None
    schema, name = _look_up(resolver, place, named)
    overlays = renames.modern_all(resolver, place, overlays, schema.options, name)
    base = attrs.evolve(base, given=renames.modern(resolver, place, base.given, schema.options, name))
    options = {option.name: lookups(overlays, option.name) for option in schema.options}
    for option, given in _bind(resolver, place, schema, base.given).items():
        options[option] = options[option] + given
    _unknown(resolver, place, schema, overlays, base)
    return Reduced(schema, name, named.span, options, base.given.source.role == "default")


def _default(resolver: Resolver, place: Place, overlays: Stack) -> Stack:
    if not overlays or isinstance(place.default, str):
        return resolver.default(place)
    return [] if place.default is None else _no_type(resolver, place, overlays[0])


def _no_type(resolver: Resolver, place: Place, given: Given) -> NoReturn:
    names = resolver.catalogue.names(place.type.kind)
    fixes = (f"write type: {' or '.join(names[:4])}",) if 0 < len(names) <= 4 else ()
    resolver.findings.refuse(
        "XC012", f"'{place.name}' needs 'type'", given.key or given.span, path=place.path, fixes=fixes
    )


def _nothing_to_change(resolver: Resolver, place: Place, given: Given) -> NoReturn:
    message = f"there is no {place.type.kind} whose options could change"
    fixes = (f"name one: {place.name}: {{type: ...}}",)
    resolver.findings.refuse("XC012", message, given.key or given.span, path=place.path, fixes=fixes)


def _find_type(resolver: Resolver, place: Place, stack: Stack, overlays: Stack) -> tuple[_Type | None, _Type | None]:
    """The newest value that names a type, and a newer path that changes the type alone; collects what lies above."""
    renamed = None
    for given in resolver.unfold(place, stack):
        if not isinstance(given.value, tree.Mapping):
            return _named(resolver, place, given), renamed
        named = lookup(given, "type")
        found = _type_name(resolver, place, named[0]) if named else None
        if found is not None and not given.patch:
            return attrs.evolve(found, given=given), renamed
        renamed = renamed or found
        overlays.append(given)
    return None, renamed


def _type_name(resolver: Resolver, place: Place, given: Given) -> _Type:
    below = place.below("type", ValueType("text"))
    given = next(resolver.unfold(attrs.evolve(below, type=place.type), [given]), given)
    value = resolver.expression(given) if isinstance(given.value, tree.Scalar) else given.value
    if not isinstance(value, tree.Name):
        message = f"'type' wants the name of {place.wants}, found {shape(value)}"
        resolver.findings.refuse("XC014", message, given.span, path=below.path)
    return _Type(value.text, given.at or value.span, given)


def _named(resolver: Resolver, place: Place, given: Given) -> _Type:
    """The type that an expression names."""
    value = resolver.expression(given) if isinstance(given.value, tree.Scalar) else given.value
    match value:
        case tree.Name(text=text, span=span):
            return _Type(text, given.at or span, attrs.evolve(given, value=value))
        case tree.Call(name=name, name_span=span):
            return _Type(name, given.at or span, attrs.evolve(given, value=value))
        case tree.Operation(operator=operator, span=span) if place.type.kind == "pattern":
            return _Type(OPERATORS[operator], given.at or span, attrs.evolve(given, value=value))
        case tree.Operation(operator=operator, span=span):
            label = f"'{operator}' joins patterns only, and here stands {place.wants}"
            message = f"expected {place.wants}, found components joined by '{operator}'"
            resolver.findings.refuse("XC017", message, given.at or span, label, path=place.path)
        case tree.Element(number=number) if number is not None:
            label = "a number and `*` stand before layers and groups of heads only"
            message = f"expected one {place.type.kind}, found '{number.text} *'"
            resolver.findings.refuse("XC017", message, number.span, label, path=place.path)
    resolver.expected(place, attrs.evolve(given, value=value))
    raise AssertionError


def _look_up(resolver: Resolver, place: Place, named: _Type) -> tuple[ComponentSchema, str]:
    kind = place.type.kind
    found = resolver.catalogue.find(kind, named.name)
    if not isinstance(found, Found):
        label, fixes = found.label, found.fixes
        first, dash, second = named.name.partition("-")
        if dash and all(resolver.catalogue.get("pattern", name) for name in (first, second)):
            label, fixes = "`-` between letters belongs to the name", (f"write {first} - {second}",)
        resolver.findings.refuse("XC013", found.message, named.span, label, fixes=fixes, path=place.path)
    if found.renamed:
        what = f"the {kind} '{named.name}'"
        renames.report(resolver, place, named.given.source, named.name, found.name, named.span, what)
    elif found.short:
        resolver.findings.report(
            "XC019", f"'{named.name}' is short for '{found.name}'", named.span,
            "it stops working when a second plugin has that name", severity="warning", path=place.path,
            fixes=(f"write '{found.name}'",), edits=renames.edits(named.given.source, named.span, found.name),
        )  # fmt: skip
    return found.schema, found.name


def _unknown(resolver: Resolver, place: Place, schema: ComponentSchema, overlays: Stack, base: _Type) -> None:
    names = [option.name for option in schema.options]
    mappings = overlays + ([base.given] if isinstance(base.given.value, tree.Mapping) else [])
    for given in mappings:
        for name, value in entries(given):
            if name not in names and name != "type":
                stands = () if given is base.given else (_stands(base),)
                report_unknown(resolver, place, name, value, names, base.name, stands)


def _stands(base: _Type) -> Note:
    if base.given.source.role == "default":
        return Note(f"'{base.name}' stands here, the default")
    return Note("what stands here now", base.span)


def report_unknown(
    resolver: Resolver, place: Place, name: str, given: Given, known: Iterable[str], owner: str,
    notes: tuple[Note, ...] = (),
) -> None:  # fmt: skip
    """Report a key that the thing at this place does not have."""
    fixes = tuple(suggest(name, known))
    if place.scope is not None and name in place.scope.options and place.type.name == "component":
        above = "layer" if place.scope.is_layer else place.scope.path.rpartition(".")[2]
        fixes = (f"'{name}' belongs to the {above}; check the indentation",)
    if "." in name:
        fixes = ("keys may be paths in variants and in files with `extends` only",)
    message = f"'{owner}' has no option '{name}'"
    code = "XC029" if given.of_path else "XC011"
    resolver.findings.report(code, message, given.key or given.span, path=place.path, fixes=fixes, notes=notes)


def _bind(resolver: Resolver, place: Place, schema: ComponentSchema, given: Given) -> dict[str, Stack]:
    """What a value that names its type gives for each option."""
    value = given.value
    match value:
        case tree.Mapping():
            return {option.name: lookup(given, option.name) for option in schema.options}
        case tree.Operation(operands=operands, span=span):
            elements = tuple(tree.Element(o, None, o.span) for o in operands)
            main = _main(resolver, place, schema, span)
            return {main.name: [given.holds(tree.List(elements, span), f"{given.path}.{main.name}")]}
        case tree.Call():
            return _arguments(resolver, place, schema, value, given)
    return {}


def _main(resolver: Resolver, place: Place, schema: ComponentSchema, span: Span) -> OptionSchema:
    if schema.main is None:
        known = ", ".join(option.name for option in schema.options[:6])
        label = f"its options: {known}" if known else "it has no options"
        message = f"'{schema.name}' takes no unnamed argument"
        resolver.findings.refuse("XC016", message, span, label, path=place.path)
    return schema.main


def _arguments(
    resolver: Resolver, place: Place, schema: ComponentSchema, call: tree.Call, given: Given
) -> dict[str, Stack]:
    call = renames.modern_arguments(resolver, place, call, given, schema.options)
    unnamed = [a for a in call.arguments if a.option is None]
    found: dict[str, Stack] = {}
    if unnamed:
        main = _main(resolver, place, schema, given.at or unnamed[0].span)
        value = _unnamed(resolver, place, schema, main, unnamed)
        found[main.name] = [given.holds(value, f"{given.path}.{main.name}", inside=call)]
    for argument in call.arguments:
        name, span = argument.option, given.at or argument.option_span or argument.span
        if name is None:
            continue
        below = given.holds(argument.value, f"{given.path}.{name}", key=span, inside=call)
        if schema.option(name) is None:
            report_unknown(resolver, place, name, below, [o.name for o in schema.options], call.name)
        elif name in found:
            label = (
                "the unnamed argument is this option too"
                if unnamed and schema.main and name == schema.main.name
                else ""
            )
            resolver.findings.report("XC016", f"'{name}' is given twice", span, label, path=place.path)
        else:
            found[name] = [below]
    return found


def _unnamed(
    resolver: Resolver, place: Place, schema: ComponentSchema, main: OptionSchema, unnamed: list[tree.Argument]
) -> tree.Element | tree.List | tree.Expression:
    elements = [a.value for a in unnamed]
    if main.type.name not in LISTS:
        if len(elements) > 1:
            others = [o.name for o in schema.options if not o.main]
            second = unnamed[1]
            fixes = (f"name it: {others[0]}={unparse(second.value)}",) if len(others) == 1 else ()
            label = f"the first one is '{main.name}'; every other option is named"
            message = f"'{schema.name}' takes one unnamed argument, found {len(elements)}"
            resolver.findings.refuse("XC016", message, second.span, label, path=place.path, fixes=fixes)
        return elements[0]
    only = elements[0].value if len(elements) == 1 and elements[0].number is None else None
    nested = main.type.of is not None and main.type.of.name == "list"
    if isinstance(only, tree.List | tree.Reference) and not nested:
        return only
    return tree.List(tuple(elements), unnamed[0].span)
