"""Put the events of a YAML text together to a located tree, refusing what a spec does not use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import yaml

from xcompose.diagnostics import Diagnostic, Note, Span
from xcompose.spec import characters, tree
from xcompose.spec.findings import MOST, TOO_MANY
from xcompose.spec.places import Lines, places_of

DEPTH = 64
NODES = 20_000
CHARACTERS = 65_536
NOTES = 8
STYLES = {None: "plain", "": "plain", "'": "single", '"': "double", "|": "literal", ">": "folded"}

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Stop(Exception):
    """The text cannot be read further."""

    def __init__(self, diagnostic: Diagnostic):
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


@attrs.define
class Frame:
    """A collection that is still open."""

    span: Span
    start: int
    mapping: bool
    flow: bool
    path: str
    entries: list[tree.Entry] = attrs.field(factory=list)
    items: list[tree.Tree] = attrs.field(factory=list)
    keys: dict[str, Span] = attrs.field(factory=dict)
    key: tree.Scalar | None = None

    @property
    def last(self) -> Span | None:
        """The place of the last value."""
        if self.mapping:
            return self.entries[-1].value.span if self.entries else None
        return self.items[-1].span if self.items else None

    @property
    def wants_key(self) -> bool:
        return self.mapping and self.key is None

    @property
    def next_path(self) -> str:
        """The path of the value that comes next."""
        name = (self.key.text if self.key else "") if self.mapping else str(len(self.items))
        return f"{self.path}.{name}" if self.path else name


@attrs.frozen
class Piece:
    """A plain text inside `{ }` or `[ ]`, where a comma or a bracket may have ended it too early."""

    text: str
    start: int
    end: int
    path: str
    frame: Frame


class Builder:
    """Builds the tree of one text. What is wrong is in `diagnostics`; a text that YAML cannot read, in `error`."""

    def __init__(self, text: str, file: str, prefix: str = ""):
        self.text, self.file, self._prefix = text, file, prefix
        self.lines = Lines(text, file)
        self.diagnostics: list[Diagnostic] = []
        self.error: yaml.MarkedYAMLError | None = None
        self.pieces: list[Piece] = []
        self._open: list[Frame] = []
        self._root: tree.Tree | None = None
        self._nodes = self._errors = 0
        self._anchors: dict[str, int] = {}
        self._documents = 0

    def run(self) -> tree.Tree | None:
        """The tree, or None where the text has none or cannot be read to its end."""
        try:
            for event in self._events():
                self._take(event)
        except Stop as stop:
            self.diagnostics.append(stop.diagnostic)
            return None
        except yaml.MarkedYAMLError as error:
            self.error = error
            return None
        return self._root

    def _events(self) -> Iterator[Any]:
        yield from yaml.parse(self.text, Loader=Loader)

    def _take(self, event: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._document(event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.ScalarEvent):
            self._refuse_marks(event)
            self._put(self._scalar(event))
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._refuse_marks(event)
            self._begin(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._finish(event)

    def _document(self, event: Any) -> None:
        self._documents += 1
        if event.version or event.tags:
            span = Span(self.file, 1, 1, 1, len(self.lines.line(1)) + 1)
            self._add("XC005", "a spec has no YAML directives", span, fixes=("delete the line",))
        if self._documents > 1:
            fixes = ("one file holds one spec: write the second one to a file of its own",)
            raise Stop(self._finding("XC005", "a second document begins here", self._span(event), fixes=fixes))

    def _alias(self, event: Any) -> None:
        span = self._span(event)
        if event.anchor in self._anchors:
            number = self._anchors[event.anchor]
            first = self.diagnostics[number]
            if len(first.notes) < NOTES:
                note = Note("used here", span)
                self.diagnostics[number] = attrs.evolve(first, notes=(*first.notes, note))
        else:
            fixes = (f"give the value a name: `let: {{{event.anchor}: ...}}`, and write ${{{event.anchor}}} here",)
            self._add("XC005", f"a spec has no YAML aliases, found `*{event.anchor}`", span, fixes=fixes)
        self._put(tree.Scalar(f"*{event.anchor}", span))

    def _refuse_marks(self, event: Any) -> None:
        start = event.start_mark.index
        if event.anchor is not None:
            at = self.text.index(f"&{event.anchor}", start)
            self._anchors.setdefault(event.anchor, len(self.diagnostics))
            fixes = ("name a value in `let`, a layer in `blocks`",)
            span = self.lines.span(at, at + 1 + len(event.anchor))
            self._add("XC005", f"a spec has no YAML anchors, found `&{event.anchor}`", span, fixes=fixes)
        if event.tag is not None:
            at = self.text.index("!", start)
            end = next((i for i in range(at, len(self.text)) if self.text[i] in " \n\t,]}"), len(self.text))
            tag = self.text[at:end]
            self._add(
                "XC005", f"a spec has no YAML tags, found `{tag}`", self.lines.span(at, end), fixes=("delete the tag",)
            )

    def _scalar(self, event: Any) -> tree.Scalar:
        start, end, style = event.start_mark.index, event.end_mark.index, STYLES[event.style]
        if event.anchor is not None or event.tag is not None:
            start = end - len(event.value) if style == "plain" else self.text.index(event.style, start)
        span = self.lines.span(start, end)
        if len(event.value) > CHARACTERS:
            message = f"a text of {len(event.value):,} characters; at most {CHARACTERS:,} are allowed"
            raise Stop(
                self._finding("XC008", message, attrs.evolve(span, end_line=span.line, end_column=span.column + 1))
            )
        self._refuse_escaped(event.value, span)
        places = places_of(event.value, self.text[start:end], style, span)
        if style == "plain" and self._open and self._open[-1].flow:
            frame = self._open[-1]
            path = frame.path if frame.wants_key else frame.next_path
            self.pieces.append(Piece(event.value, start, end, path, frame))
        elif style == "plain" and event.value:
            self._hint_comment(span)
        return tree.Scalar(event.value, span, style, places)  # type: ignore[arg-type]

    def _refuse_escaped(self, value: str, span: Span) -> None:
        """Refuse by its escape what may not stand in a text as it is."""
        at = characters.first_forbidden(value)
        if at is not None:
            message, label, fix = characters.said(value[at])
            self._add("XC003", message, span, f"{label}, and it is written as an escape", fixes=(fix,))

    def _hint_comment(self, span: Span) -> None:
        line = self.lines.line(span.end_line)
        rest = line[span.end_column - 1 :]
        comment = rest.lstrip()
        if comment[:1] == "#" and len(comment) > 1 and comment[1] not in " #!":
            column = len(line) - len(comment) + 1
            place = Span(self.file, span.end_line, column, span.end_line, len(line) + 1)
            label = "YAML takes this for a comment"
            fixes = ("quote the value if this belongs to it; else put a blank behind `#`",)
            self._add("XC009", "a comment ends the text here", place, label, fixes=fixes, severity="hint")

    def _begin(self, event: Any) -> None:
        if len(self._open) >= DEPTH:
            raise Stop(self._finding("XC008", f"more than {DEPTH} levels of nesting", self._span(event)))
        self._count(self._span(event))
        mapping = isinstance(event, yaml.MappingStartEvent)
        path = self._prefix
        if self._open:
            frame = self._open[-1]
            if frame.wants_key:
                fixes = ("write a name before the `:`",)
                raise Stop(
                    self._finding("XC007", "a key is a text, found a collection", self._span(event), fixes=fixes)
                )
            path = frame.next_path
        frame = Frame(self._span(event), event.start_mark.index, mapping, bool(event.flow_style), path)
        self._open.append(frame)

    def _finish(self, event: Any) -> None:
        frame = self._open.pop()
        span = frame.span
        if frame.flow:
            span = self.lines.span(frame.start, event.end_mark.index)
        elif frame.last is not None:
            span = attrs.evolve(span, end_line=frame.last.end_line, end_column=frame.last.end_column)
        if frame.mapping:
            self._put_value(tree.Mapping(tuple(frame.entries), span, frame.flow))
        else:
            self._put_value(tree.Sequence(tuple(frame.items), span, frame.flow))

    def _count(self, span: Span) -> None:
        self._nodes += 1
        if self._nodes > NODES:
            raise Stop(self._finding("XC008", f"more than {NODES:,} keys and values", span))

    def _put(self, scalar: tree.Scalar) -> None:
        self._count(scalar.span)
        if self._open and self._open[-1].wants_key:
            self._put_key(self._open[-1], scalar)
            return
        if scalar.text == "" and scalar.style == "plain" and self._open:
            self._refuse_nothing(self._open[-1], scalar)
        self._put_value(scalar)

    def _refuse_nothing(self, frame: Frame, scalar: tree.Scalar) -> None:
        if frame.key is None:
            here = "here" if frame.flow else "behind this `-`"
            fixes = ("write a value, or delete the item",)
            self._add("XC009", f"nothing stands {here}", self._before(scalar.span), fixes=fixes)
        elif frame.key.text:
            fixes = ("write a value, or delete the key",)
            self._add("XC009", f"nothing stands behind '{frame.key.text}:'", frame.key.span, fixes=fixes)

    def _before(self, span: Span) -> Span:
        """The sign in front of a text that is empty."""
        at = self.lines.offset(span.line, span.column)
        while at > 0 and self.text[at - 1 : at].isspace():
            at -= 1
        return self.lines.span(max(at - 1, 0), max(at, 1))

    def _put_key(self, frame: Frame, key: tree.Scalar) -> None:
        frame.key = key
        if key.text == "<<":
            fixes = ("build on another spec with `extends`, share layers with `blocks`",)
            self._add("XC005", "a spec has no YAML merge keys, found `<<`", key.span, fixes=fixes)
        elif key.text == "":
            fixes = ("write a name before the `:`",)
            self._add("XC007", "a key is a text, found nothing", self._before(key.span), fixes=fixes)
        elif key.text in frame.keys:
            notes = (Note("first written here", frame.keys[key.text]),)
            fixes = ("keep one of them",)
            self._add("XC006", f"the key '{key.text}' is written twice", key.span, notes=notes, fixes=fixes)
        frame.keys.setdefault(key.text, key.span)

    def _put_value(self, value: tree.Tree) -> None:
        if not self._open:
            self._root = value
            return
        frame = self._open[-1]
        if not frame.mapping:
            frame.items.append(value)
            return
        assert frame.key is not None
        frame.entries.append(tree.Entry(frame.key, value))
        frame.key = None

    def _add(self, *args: Any, **facts: Any) -> None:
        finding = self._finding(*args, **facts)
        self.diagnostics.append(finding)
        self._errors += finding.severity == "error"
        if self._errors >= MOST:
            raise Stop(attrs.evolve(finding, **TOO_MANY))

    def _finding(self, code: str, message: str, span: Span, label: str = "", **facts: Any) -> Diagnostic:
        path = self._open[-1].path if self._open else ""
        return Diagnostic(code, message, span, label, path=path, stage="parse", **facts)

    def _span(self, event: Any) -> Span:
        start, end = event.start_mark, event.end_mark
        if isinstance(event, yaml.CollectionStartEvent) and not event.flow_style:
            end = start
        return self.lines.span(start.index, max(end.index, start.index + 1))
