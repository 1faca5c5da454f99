"""Offsets to lines and columns: of a whole text, and of a scalar whose text is not what the file shows."""

from __future__ import annotations

import bisect

from xcompose.diagnostics import Span

Places = tuple[tuple[int, int, int], ...]
ESCAPED = {"x": 2, "u": 4, "U": 8}


class Lines:
    """The lines of a text."""

    def __init__(self, text: str, file: str):
        self.text, self.file = text, file
        self.starts = [0]
        at = text.find("\n")
        while at >= 0:
            self.starts.append(at + 1)
            at = text.find("\n", at + 1)

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column, from 1."""
        line = bisect.bisect_right(self.starts, offset)
        return line, offset - self.starts[line - 1] + 1

    def span(self, start: int, end: int) -> Span:
        """The span of `text[start:end]`."""
        return Span(self.file, *self.place(start), *self.place(end))

    def offset(self, line: int, column: int) -> int:
        return self.starts[line - 1] + column - 1

    def line(self, number: int) -> str:
        """The text of line `number`, from 1, without its line break."""
        end = self.starts[number] - 1 if number < len(self.starts) else len(self.text)
        return self.text[self.starts[number - 1] : end]


def places_of(value: str, raw: str, style: str, span: Span) -> Places:
    """Where each character of a scalar's value stands, as `Scalar.places` wants it.

    Args:
        value: the text that YAML makes of it.
        raw: the piece of the file, with quotes or block header.
        style: of the scalar.
        span: of `raw`.
    """
    skipped = {"single": 1, "double": 1, "literal": raw.find("\n") + 1, "folded": raw.find("\n") + 1}.get(style, 0)
    if raw.startswith(value, skipped) and "\n" not in raw:
        return ((0, span.line, span.column + skipped),)
    offsets = _double(value, raw) if style == "double" else _aligned(value, raw, skipped, style == "single")
    lines = Lines(raw, span.file)
    found: list[tuple[int, int, int]] = []
    for offset, at in enumerate(offsets):
        line, column = lines.place(min(at, len(raw)))
        column += span.column - 1 if line == 1 else 0
        line += span.line - 1
        if not found or found[-1][1] != line or found[-1][2] + offset - found[-1][0] != column:
            found.append((offset, line, column))
    return tuple(found) or ((0, span.line, span.column + skipped),)


def _aligned(value: str, raw: str, at: int, doubled: bool) -> list[int]:
    """Value and raw text differ in blanks and line breaks only, and in doubled quotes."""
    offsets = []
    for character in value:
        if not character.isspace():
            while at < len(raw) and raw[at] != character:
                at += 1
        offsets.append(at)
        if character == "'" and doubled:
            at += 1
        if not character.isspace() or (at < len(raw) and raw[at].isspace()):
            at += 1
    return offsets


def _double(value: str, raw: str) -> list[int]:
    """Like `_aligned`, with the escapes of double quotes."""
    offsets, at = [], 1
    for character in value:
        while raw.startswith("\\\n", at):
            at = _past_blanks(raw, at + 2)
        if raw.startswith("\\", at):
            offsets.append(at)
            at += 2 + ESCAPED.get(raw[at + 1], 0)
            continue
        if not character.isspace():
            at = _past_blanks(raw, at)
        offsets.append(at)
        if not character.isspace() or (at < len(raw) and raw[at].isspace()):
            at += 1
    return offsets


def _past_blanks(raw: str, at: int) -> int:
    while at < len(raw) and raw[at].isspace():
        at += 1
    return at
