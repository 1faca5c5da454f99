"""The located tree: a spec's text after parsing, before anything is known about what it means.

Two layers. YAML gives scalars, lists and mappings, each with its place. Where the place wants a component, a sequence
of layers or a reference, the text of a scalar is parsed into an expression, whose parts are located too.
"""

from __future__ import annotations

import bisect
from typing import Literal, TypeAlias

import attrs

from xcompose.diagnostics import Span

Style = Literal["plain", "single", "double", "literal", "folded", "override"]


@attrs.frozen
class Scalar:
    """A YAML scalar. Its text means nothing yet: the place decides."""

    text: str
    span: Span
    style: Style = attrs.field(default="plain", eq=False)
    places: tuple[tuple[int, int, int], ...] = attrs.field(default=(), eq=False, repr=False)
    """Where the text stands in the file: from each `offset` on, up to the next one, characters stand side by side from
    (`line`, `column`). Without any, the text stands where the span begins."""

    def span_of(self, start: int, end: int) -> Span:
        """The place in the file of `text[start:end]`; of an empty piece, the place where it would stand."""
        line, column = self._place(start)
        last_line, last_column = self._place(end - 1) if end > start else (line, column - 1)
        return Span(self.span.file, line, column, last_line, last_column + 1)

    def _place(self, offset: int) -> tuple[int, int]:
        places = self.places or ((0, self.span.line, self.span.column),)
        at, line, column = places[max(0, bisect.bisect_right(places, offset, key=lambda place: place[0]) - 1)]
        return line, column + offset - at


@attrs.frozen
class Sequence:
    """A YAML list."""

    items: tuple[Tree, ...]
    span: Span
    flow: bool = attrs.field(default=False, eq=False)


@attrs.frozen
class Entry:
    """One key of a mapping with its value. A key with nothing behind it is refused while loading."""

    key: Scalar
    value: Tree


@attrs.frozen
class Mapping:
    """A YAML mapping; keys are unique."""

    entries: tuple[Entry, ...]
    span: Span
    flow: bool = attrs.field(default=False, eq=False)
    _found: dict[bool, dict[str, list[Entry]]] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    def get(self, key: str) -> Entry | None:
        return next((e for e in self.entries if e.key.text == key), None)

    def by_name(self, paths: bool) -> dict[str, list[Entry]]:
        """The entries of each key as written, or with `paths` of each first name; no notes (`x-*`)."""
        if paths not in self._found:
            found: dict[str, list[Entry]] = {}
            for entry in self.entries:
                text = entry.key.text
                if not text.startswith("x-"):
                    found.setdefault(text.partition(".")[0] if paths else text, []).append(entry)
            self._found[paths] = found
        return self._found[paths]


Tree: TypeAlias = Scalar | Sequence | Mapping


# Expressions -------------------------------------------------------------------------------------------------------


@attrs.frozen
class Name:
    """A bare word: a component without arguments, a block, or a word; which, the place decides. `acme/nystrom@2`."""

    text: str
    span: Span = attrs.field(eq=False)


@attrs.frozen
class Literal_:
    """A number (with its unit, as written), a string, `true`, `false` or `null`."""

    kind: Literal["number", "string", "flag", "null"]
    text: str
    span: Span = attrs.field(eq=False)


@attrs.frozen
class Reference:
    """`${...}`: a sum over integers and paths. `source` is the text between the braces."""

    source: str
    span: Span = attrs.field(eq=False)
    inner: Scalar | None = attrs.field(default=None, eq=False, repr=False)
    """The source with its places; None for a reference that no text holds."""


@attrs.frozen
class Argument:
    """`option=value`, or a bare value when `option` is None."""

    option: str | None
    value: Element
    span: Span = attrs.field(eq=False)
    option_span: Span | None = attrs.field(default=None, eq=False)


@attrs.frozen
class Call:
    """A component with arguments: `window(256, dilation=2)`."""

    name: str
    arguments: tuple[Argument, ...]
    span: Span = attrs.field(eq=False)
    """The whole call."""
    name_span: Span = attrs.field(eq=False)


@attrs.frozen
class Operation:
    """Patterns joined by `|`, `&` or `-`. `|` joins any number of members: `a | b | c` is one operation."""

    operator: Literal["|", "&", "-"]
    operands: tuple[Expression, ...]
    span: Span = attrs.field(eq=False)


@attrs.frozen
class List:
    """`[a, b]`."""

    items: tuple[Element, ...]
    span: Span = attrs.field(eq=False)


@attrs.frozen
class Group:
    """`(a, b)`: a sequence in brackets. Around a single unnumbered element the brackets vanish."""

    items: tuple[Element, ...]
    span: Span = attrs.field(eq=False)


Expression: TypeAlias = Name | Literal_ | Reference | Call | Operation | List | Group


@attrs.frozen
class Element:
    """One item of a sequence, with the number before `*` as written, if any."""

    value: Expression
    number: Literal_ | None
    span: Span = attrs.field(eq=False)
