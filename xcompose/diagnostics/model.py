"""One finding: what is wrong, where, why, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import attrs

Severity = Literal["error", "warning", "hint"]


@attrs.frozen(order=True)
class Span:
    """A piece of a text. Lines and columns count from 1; the end column is the first one behind the piece."""

    file: str
    """As the user wrote it, or relative to the project; `--set #1` for the first override."""
    line: int
    column: int
    end_line: int
    end_column: int


@attrs.frozen
class Note:
    """Something beside the finding: a second place, or a sentence of its own."""

    text: str
    span: Span | None = None


@attrs.frozen
class Edit:
    """An exact change of a text: what stands at `span` becomes `text`."""

    span: Span
    text: str


@attrs.frozen
class Diagnostic:
    """One finding about a spec, a plugin or a built model."""

    code: str
    """XC and three digits; `xcompose explain CODE` says more."""
    message: str
    """One line without a full stop: expected what, found what."""
    span: Span | None = None
    label: str = ""
    """What is said below the marked piece of text."""
    path: str = ""
    """The place in the tree, as `--set` would write it: model.layers.0.mixer."""
    notes: tuple[Note, ...] = ()
    fixes: tuple[str, ...] = ()
    """Each one a way to mend it."""
    severity: Severity = "error"
    stage: str = ""
    """parse, schema, compose, build, contracts or numerics."""
    spec: str = ""
    """The spec or variant it is about: chat, digest@long."""
    edits: tuple[Edit, ...] = ()
    """What a machine may do to mend it, all of it together; nothing where only a person can choose."""


class SpecError(ValueError):
    """A spec, or a value given by the user, is wrong. Carries every finding of the stage that failed.

    `str(error)` is the text that the terminal shows, without colours.
    """

    def __init__(self, diagnostics: Iterable[Diagnostic] | Diagnostic):
        self.diagnostics = (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        from xcompose.diagnostics.render import text

        return text(self.diagnostics)


class TooLong(ValueError):
    """Raised by a part of a model that reads so many tokens and no more, when it is given a longer sequence.

    Args:
        message: one line without a full stop.
        limit: how many it reads.
    """

    def __init__(self, message: str, limit: int):
        super().__init__(message)
        self.limit = limit


class PartError(ValueError):
    """Raised by a plugin whose options, or whose place in the model, are wrong.

    The composer turns it into a located finding: the plugin says what and how to mend it, never where.

    Args:
        message: one line without a full stop.
        label: what to say below the marked text: the reason.
        fixes: ways to mend it.
        option: the option that is wrong, when it is one.
        code: XC031 (cannot be used here) unless another fits better.
    """

    def __init__(
        self, message: str, *, label: str = "", fixes: Iterable[str] = (), option: str = "", code: str = "XC031"
    ):
        super().__init__(message)
        self.message, self.label, self.fixes, self.option, self.code = message, label, tuple(fixes), option, code
