"""Findings as plain data, there and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from xcompose.diagnostics.model import Diagnostic, Edit, Note, Span


def as_data(diagnostic: Diagnostic) -> dict[str, Any]:
    """A finding with every field, for JSON."""
    return attrs.asdict(diagnostic)


def from_data(data: Mapping[str, Any]) -> Diagnostic:
    """The finding that `as_data` wrote.

    Raises:
        KeyError, TypeError: the data is something else.
    """
    fields = dict(data)
    fields["span"] = _span(fields["span"])
    fields["notes"] = tuple(Note(note["text"], _span(note["span"])) for note in fields["notes"])
    fields["edits"] = tuple(Edit(Span(**edit["span"]), edit["text"]) for edit in fields["edits"])
    fields["fixes"] = tuple(fields["fixes"])
    return Diagnostic(**fields)


def _span(data: Mapping[str, Any] | None) -> Span | None:
    return None if data is None else Span(**data)
