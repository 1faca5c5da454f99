"""Show findings: for people, for grep, for programs and for a forge."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs

from xcompose.diagnostics.model import Diagnostic, Note, Span
from xcompose.diagnostics.places import from_root, is_file
from xcompose.diagnostics.sources import SOURCES, Sources

if TYPE_CHECKING:
    from rich.text import Text

MOST = 50
WIDTH = 140
PATH = 100
LONGEST = 1_000
"""Characters of one sentence of a finding."""
RANKS = {"error": 0, "warning": 1, "hint": 2}
STYLES = {"error": "bold red", "warning": "bold yellow", "hint": "bold cyan", "gutter": "bold blue", "message": "bold",
          "": ""}  # fmt: skip
ANSI = {"bold red": "\x1b[1;31m", "bold yellow": "\x1b[1;33m", "bold cyan": "\x1b[1;36m", "bold blue": "\x1b[1;34m",
        "bold": "\x1b[1m", "": ""}  # fmt: skip
HEADED = ("measured:", "hint:", "again:", "help:", "note:")
LEVELS = {"error": "error", "warning": "warning", "hint": "notice"}

Piece = tuple[str, str]
"""A text and the name of its style."""


def prepared(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Sorted by place, the graver one first, and one for each place.

    What follows from an error at the same place says nothing new and is dropped.
    """
    found: dict[Any, Diagnostic] = {}
    for diagnostic in sorted(diagnostics, key=_order):
        place = diagnostic.span or (diagnostic.code, diagnostic.message, diagnostic.path, diagnostic.spec)
        found.setdefault(place, _short(diagnostic))
    return list(found.values())


def _short(diagnostic: Diagnostic) -> Diagnostic:
    """A finding whose texts are no longer than people read; a spec decides how long the words in them are."""
    notes = tuple(attrs.evolve(note, text=_cut(note.text)) for note in diagnostic.notes)
    return attrs.evolve(
        diagnostic, message=_cut(diagnostic.message), label=_cut(diagnostic.label), notes=notes,
        fixes=tuple(map(_cut, diagnostic.fixes)),
    )  # fmt: skip


def _cut(said: str) -> str:
    return said if len(said) <= LONGEST else f"{said[: LONGEST // 2]} ... {said[-LONGEST // 2 :]}"


def _order(diagnostic: Diagnostic) -> tuple[Any, ...]:
    span = diagnostic.span
    place = (1, span.file, span.line, span.column) if span else (0, "", 0, 0)
    return (*place, RANKS[diagnostic.severity], diagnostic.code)


def text(diagnostics: Iterable[Diagnostic], color: bool = False, sources: Sources | None = None) -> str:
    """Findings as a compiler shows them, with their lines, at most fifty.

    Args:
        diagnostics: in any order.
        color: with the control sequences of a terminal.
        sources: where the lines come from; the texts that the loader read if not said.
    """
    pieces = _all(diagnostics, sources or SOURCES)
    if not color:
        return "".join(piece for piece, _ in pieces)
    return "".join(f"{ANSI[STYLES[style]]}{piece}\x1b[0m" if STYLES[style] else piece for piece, style in pieces)


def render_rich(diagnostics: Iterable[Diagnostic], sources: Sources | None = None) -> Text:
    """The same as `text`, as a rich text."""
    from rich.text import Text

    return Text.assemble(*((piece, STYLES[style]) for piece, style in _all(diagnostics, sources or SOURCES)))


def concise(diagnostics: Iterable[Diagnostic]) -> str:
    """One line each: `file:line:column: CODE message`."""
    lines = []
    for diagnostic in prepared(diagnostics):
        span = diagnostic.span
        where = f"{span.file}:{span.line}:{span.column}: " if span else ""
        lines.append(f"{where}{diagnostic.code} {visible(diagnostic.message)}")
    return "\n".join(lines)


def as_json(diagnostics: Iterable[Diagnostic]) -> str:
    """A list of objects, with every field."""
    return json.dumps([attrs.asdict(d) for d in prepared(diagnostics)], indent=2, ensure_ascii=False)


def github(diagnostics: Iterable[Diagnostic]) -> str:
    """Annotations of a workflow run. Columns only where a piece lies on one line, which is all that the forge takes.

    Paths are those from the root of the repository.
    """
    lines = []
    for diagnostic in prepared(diagnostics):
        span, facts = diagnostic.span, []
        if span and is_file(span.file):
            facts += [f"file={_property(from_root(span.file))}", f"line={span.line}"]
            one_line = span.line == span.end_line
            facts += (
                [f"col={span.column}", f"endColumn={span.end_column}"] if one_line else [f"endLine={span.end_line}"]
            )
        facts.append(f"title={diagnostic.code}")
        said = diagnostic.message + (f": {diagnostic.label}" if diagnostic.label else "")
        said += "".join(f". Fix: {fix}" for fix in diagnostic.fixes)
        lines.append(f"::{LEVELS[diagnostic.severity]} {','.join(facts)}::{_data(said)}")
    return "\n".join(lines)


def _data(said: str) -> str:
    return said.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")


def _all(diagnostics: Iterable[Diagnostic], sources: Sources) -> list[Piece]:
    found = prepared(diagnostics)
    pieces: list[Piece] = []
    for diagnostic in found[:MOST]:
        pieces += [("\n\n", "")] if pieces else []
        pieces += _one(diagnostic, sources)
    if len(found) > MOST:
        pieces.append((f"\n\n... and {len(found) - MOST} more findings", ""))
    return pieces


def _one(diagnostic: Diagnostic, sources: Sources) -> list[Piece]:
    severity, span = diagnostic.severity, diagnostic.span
    pieces: list[Piece] = [
        (f"{severity}[{diagnostic.code}]", severity),
        (f": {visible(diagnostic.message)}", "message"),
    ]
    beside = [note for note in diagnostic.notes if note.span is not None]
    numbers = [place.line for place in (span, *(note.span for note in beside)) if place is not None]
    margin = len(str(max(numbers, default=1)))
    if span is not None:
        pieces += _snippet("-->", span, diagnostic.label, diagnostic.path, severity, margin, sources)
    elif diagnostic.path or diagnostic.label:
        said = "   ".join(part for part in (diagnostic.path, diagnostic.label) if part)
        pieces += [(f"\n{' ' * margin}--> ", "gutter"), (visible(said), "")]
    for note in beside:
        assert note.span is not None
        pieces += _snippet(":::", note.span, note.text, "", "", margin, sources)
    said = [_said(note) for note in diagnostic.notes if note.span is None]
    for line in (*said, *(f"fix: {fix}" for fix in diagnostic.fixes)):
        pieces += [(f"\n{' ' * (margin + 1)}= ", "gutter"), (visible(line), "")]
    return pieces


def _said(note: Note) -> str:
    return note.text if note.text.startswith(HEADED) else f"note: {note.text}"


def _snippet(
    arrow: str, span: Span, label: str, path: str, severity: str, margin: int, sources: Sources
) -> list[Piece]:
    path = path if len(path) <= PATH else f"{path[: PATH // 2]}...{path[-PATH // 2 :]}"
    place = visible(f"{span.file}:{span.line}:{span.column}" + (f"   {path}" if path else ""))
    pieces: list[Piece] = [(f"\n{' ' * margin}{arrow} ", "gutter"), (place, "")]
    line = sources.line(span.file, span.line)
    if line is None:
        return [*pieces, *([(f"\n{' ' * (margin + 1)}= ", "gutter"), (visible(label), "")] if label else [])]
    start = min(span.column - 1, len(line))
    end = min(span.end_column - 1, len(line)) if span.line == span.end_line else len(line.rstrip())
    line, start, end = _window(line, start, max(end, start + 1))
    before, marked = visible(line[:start]), visible(line[start:end])
    mark = ("^" if severity else "-") * max(1, _cells(marked))
    under = f"{' ' * _cells(before)}{mark}{f' {visible(label)}' if label else ''}"
    shown = visible(line).rstrip()
    return [
        *pieces,
        (f"\n{' ' * (margin + 1)}|", "gutter"),
        (f"\n{span.line:>{margin}} |", "gutter"),
        (f" {shown}" if shown else "", ""),
        (f"\n{' ' * (margin + 1)}| ", "gutter"),
        (under, severity or "gutter"),
    ]


def _window(line: str, start: int, end: int) -> tuple[str, int, int]:
    """The part of a long line around the marked piece."""
    if len(line) <= WIDTH:
        return line, start, end
    first = max(0, min(start - WIDTH // 3, len(line) - WIDTH))
    last = min(len(line), first + WIDTH)
    end = min(end, last)
    head, tail = "..." if first else "", "..." if last < len(line) else ""
    return head + line[first:last] + tail, start - first + len(head), end - first + len(head)


def visible(said: str) -> str:
    """A text without anything that a terminal would obey: tabs become blanks, control characters a sign."""
    return "".join(c if c.isprintable() else " " if c in "\t\n" else "\N{REPLACEMENT CHARACTER}" for c in said)


def _cells(said: str) -> int:
    """How many columns of a terminal a text fills."""
    wide = sum(1 for c in said if unicodedata.east_asian_width(c) in "WF")
    return len(said) + wide - sum(1 for c in said if unicodedata.combining(c))
