"""Old names of options and components: read as if the new one were written, with a warning and the exact mend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import attrs

from xcompose.diagnostics import Edit, Note, Span
from xcompose.schema import OptionSchema
from xcompose.spec import tree
from xcompose.spec.merge import Given, Source, Stack

if TYPE_CHECKING:
    from xcompose.spec.resolver import Place, Resolver

RENAMED = "XC043"
WRITTEN_IN_FILES = ("own", "base", "variant")


def new_names(options: Iterable[OptionSchema]) -> dict[str, str]:
    """By old name: what an option is called now."""
    return {old: option.name for option in options for old in option.renamed_from}


def report(
    resolver: Resolver,
    place: Place,
    source: Source,
    old: str,
    new: str,
    span: Span,
    what: str = "",
    at: Span | None = None,
) -> None:
    """Warn of an old name, unless no spec says it.

    Args:
        resolver: of this spec.
        place: where the name stands.
        source: the text that says it; what a plugin's default says is no matter of the spec's author.
        old, new: the names.
        span: of the finding, and of the name unless `at` says otherwise.
        what: the old name in words; the name alone if not said.
        at: of the name alone.
    """
    if source.role == "default":
        return
    mend = edits(source, at or span, new)
    fixes = (f"write '{new}'" + (", or let `xcompose migrate` do it" if mend else ""),)
    resolver.findings.report(
        RENAMED, f"{what or repr(old)} is called '{new}' now", span, severity="warning", path=place.path, fixes=fixes,
        edits=mend,
    )  # fmt: skip


def edits(source: Source, span: Span, text: str) -> tuple[Edit, ...]:
    """The edit that writes `text` at a place, where that place is in a file."""
    return (Edit(span, text),) if source.role in WRITTEN_IN_FILES else ()


def modern(resolver: Resolver, place: Place, given: Given, options: Iterable[OptionSchema], owner: str) -> Given:
    """A value with the new names of its keys, where it is a mapping that says old ones.

    Args:
        resolver: of this spec.
        place: where the mapping stands.
        given: the value.
        options: what the keys of the mapping are.
        owner: what has these options, for messages.

    Raises:
        Refused: one mapping says the old and the new name.
    """
    renamed = new_names(options)
    if not renamed or not isinstance(given.value, tree.Mapping):
        return given
    paths = given.source.paths or given.patch
    heads = [entry.key.text.partition(".")[0] if paths else entry.key.text for entry in given.value.entries]
    if not renamed.keys() & set(heads):
        return given
    found = []
    for entry, head in zip(given.value.entries, heads, strict=True):
        new = renamed.get(head)
        if new is None:
            found.append(entry)
            continue
        span = entry.key.span if head == entry.key.text else entry.key.span_of(0, len(head))
        rest = entry.key.text[len(head) :]
        _not_both(resolver, place, given.value, heads, head, new, span, whole=not rest)
        what = f"'{head}' of '{owner}'" if owner else ""
        report(resolver, place, given.source, head, new, given.at or span, what, _name_alone(entry.key, head, span))
        found.append(attrs.evolve(entry, key=_renamed(entry.key, len(head), new)))
    return attrs.evolve(given, value=attrs.evolve(given.value, entries=tuple(found)))


def modern_all(resolver: Resolver, place: Place, stack: Stack, options: Iterable[OptionSchema], owner: str) -> Stack:
    """`modern` for each value of a stack."""
    options = [option for option in options if option.renamed_from]
    return [modern(resolver, place, given, options, owner) for given in stack] if options else stack


def modern_arguments(
    resolver: Resolver, place: Place, call: tree.Call, given: Given, options: Iterable[OptionSchema]
) -> tree.Call:
    """A component in brackets with the new names of its arguments.

    Raises:
        Refused: the call says the old and the new name.
    """
    renamed = new_names(options)
    if not renamed:
        return call
    by_name = {a.option: a for a in call.arguments if a.option is not None}
    found = []
    for argument in call.arguments:
        old, span = argument.option, argument.option_span or argument.span
        new = renamed.get(old) if old is not None else None
        if old is None or new is None:
            found.append(argument)
            continue
        if new in by_name:
            _refuse_both(resolver, place, old, new, given.at or span, by_name[new].option_span)
        report(resolver, place, given.source, old, new, given.at or span, f"'{old}' of '{call.name}'", span)
        found.append(attrs.evolve(argument, option=new))
    return attrs.evolve(call, arguments=tuple(found))


def segment(resolver: Resolver, place: Place, source: Source, path: tree.Scalar, renamed: Mapping[int, str]) -> None:
    """Warn of old names in a path, `model.ffn.size`.

    Args:
        resolver: of this spec.
        place: where the path stands.
        source: the text that says it.
        path: as it is written.
        renamed: by position in the path, the new names.
    """
    names, at = path.text.split("."), 0
    for number, name in enumerate(names):
        if number in renamed:
            span = path.span_of(at, at + len(name))
            report(resolver, place, source, name, renamed[number], span)
        at += len(name) + 1


def _not_both(
    resolver: Resolver,
    place: Place,
    mapping: tree.Mapping,
    heads: list[str],
    old: str,
    new: str,
    span: Span,
    whole: bool,
) -> None:
    """Refuse a mapping whose old and new key would be one; two paths below them may stand side by side."""
    for entry, head in zip(mapping.entries, heads, strict=True):
        if head == new and (whole or head == entry.key.text):
            _refuse_both(resolver, place, old, new, span, entry.key.span)


def _refuse_both(resolver: Resolver, place: Place, old: str, new: str, span: Span, other: Span | None) -> None:
    notes = (Note("and here", other),)
    fixes = (f"delete one of them, and call the other '{new}'",)
    label = f"the old name of '{new}'"
    resolver.findings.refuse(
        "XC006", f"'{new}' is written twice", span, label, notes=notes, fixes=fixes, path=place.path
    )


def _name_alone(key: tree.Scalar, head: str, span: Span) -> Span:
    """The name without the quotes around it."""
    return key.span_of(0, len(head)) if key.style in ("single", "double") else span


def _renamed(key: tree.Scalar, length: int, new: str) -> tree.Scalar:
    """A key with another first name; what comes behind it keeps its places."""
    start, behind = key.span_of(0, length), key.span_of(length, len(key.text))
    shift = len(new) - length
    places = [(0, start.line, start.column), (len(new), behind.line, behind.column)]
    places += [(at + shift, line, column) for at, line, column in key.places if at > length]
    return attrs.evolve(key, text=new + key.text[length:], places=tuple(places))
