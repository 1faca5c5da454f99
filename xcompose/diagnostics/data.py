"""Findings as plain data, there and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import attrs

from xcompose.diagnostics.model import Diagnostic, Edit, Note, Severity, Span


def as_data(diagnostic: Diagnostic) -> dict[str, Any]:
    """A finding with every field, for JSON."""
    return attrs.asdict(diagnostic)


def from_data(data: Mapping[str, Any]) -> Diagnostic:
    """The finding that `as_data` wrote.

    Raises:
        KeyError, TypeError: the data is something else.
    """
    fields = dict(data)
    for name in ("code", "message", "label", "path", "severity", "stage", "spec"):
        as_text(fields[name])
    if fields["severity"] not in get_args(Severity):
        raise TypeError("no severity")
    fields["span"] = _span(fields["span"])
    fields["notes"] = tuple(Note(as_text(note["text"]), _span(note["span"])) for note in fields["notes"])
    fields["edits"] = tuple(Edit(_place(edit["span"]), as_text(edit["text"])) for edit in fields["edits"])
    fields["fixes"] = tuple(map(as_text, fields["fixes"]))
    return Diagnostic(**fields)


def as_text(value: Any) -> str:
    """A value that has to be a text.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _span(data: Mapping[str, Any] | None) -> Span | None:
    return None if data is None else _place(data)


def _place(data: Mapping[str, Any]) -> Span:
    span = Span(**data)
    file, *numbers = attrs.astuple(span)
    as_text(file)
    if not all(isinstance(number, int) for number in numbers):
        raise TypeError("no line and column")
    return span
