"""Rewrites a spec's text in the names and the version of today: exact edits, so that comments and layout stay."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import attrs

from xcompose.diagnostics import Diagnostic, Edit, Span, SpecError
from xcompose.spec import files, resolve, settings, tree, yaml
from xcompose.spec.catalogue import Catalogue
from xcompose.spec.freeze import identity
from xcompose.spec.model import Spec
from xcompose.spec.renames import RENAMED

Step = Callable[[tree.Mapping], list[Edit]]
"""What to change in a spec of one version so that it is one of the next; its number is changed beside."""

STEPS: dict[int, Step] = {}
"""By the version that a step starts from. There is one version so far."""


@attrs.frozen
class Change:
    """One place that was rewritten."""

    line: int
    column: int
    old: str
    new: str


@attrs.frozen
class Migration:
    """What becomes of one file."""

    file: str
    before: str
    after: str
    changes: tuple[Change, ...] = ()
    elsewhere: tuple[str, ...] = ()
    """Files that it extends, and that hold old names of their own."""

    @property
    def data(self) -> bytes:
        """The file's new content."""
        return self.after.encode()


def migrate(file: str, catalogue: Catalogue, codes: Collection[str] = (RENAMED,)) -> Migration:
    """The text of a spec file with today's names, which means the same; nothing is written.

    Args:
        file: its name.
        catalogue: the components there are.
        codes: of the findings whose edits are made.

    Raises:
        SpecError: it does not load, or would not mean the same afterwards.
    """
    raw = yaml.file_bytes(file)
    yaml.parse(raw, file)
    before = raw.decode()
    stepped, changes = _stepped(before, file)
    found = _Read(file, stepped, catalogue, codes)
    after, renamed = apply(stepped, (edit for edit in found.edits if edit.span.file == file))
    again = _Read(file, after, catalogue, codes)
    different = [name for name, spec in found.specs.items() if _meaning(again.specs.get(name)) != _meaning(spec)]
    if different or again.edits_of(file):
        raise SpecError(_another(file, different))
    elsewhere = {edit.span.file for edit in found.edits} - {file}
    return Migration(file, before, after, (*changes, *renamed), tuple(sorted(elsewhere)))


def apply(text: str, edits: Iterable[Edit]) -> tuple[str, tuple[Change, ...]]:
    """A text with edits, and what they changed. Line ends and a byte order mark stay as they are.

    Raises:
        ValueError: two edits overlap.
    """
    lines = text.removeprefix("\ufeff").splitlines(keepends=True)
    changes, last = [], (len(lines) + 1, 0)
    for edit in sorted(set(edits), key=lambda e: (e.span.line, e.span.column), reverse=True):
        span = edit.span
        if span.line != span.end_line or (span.end_line, span.end_column) > last:
            raise ValueError(f"edits overlap at {span.line}:{span.column}")
        line, last = lines[span.line - 1], (span.line, span.column)
        old = line[span.column - 1 : span.end_column - 1]
        lines[span.line - 1] = line[: span.column - 1] + edit.text + line[span.end_column - 1 :]
        changes.append(Change(span.line, span.column, old, edit.text))
    return text[: text.startswith("\ufeff")] + "".join(lines), tuple(reversed(changes))


class _Read:
    """A text of a spec file with all its variants.

    Raises:
        SpecError: one of them has errors.
    """

    def __init__(self, file: str, text: str, catalogue: Catalogue, codes: Collection[str]):
        self.specs: dict[str, Spec | None] = {}
        self.edits: list[Edit] = []
        place = Path(file).resolve()
        document = files.Document(file, place, files.boundary_of(place), yaml.parse(text, file))
        for variant in ("", *_variants(document)):
            variants = (variant,) if variant else ()
            spec, found = resolve.check_document(document, variants, (), catalogue)
            if spec is None:
                raise SpecError(found)
            self.specs[variant] = spec
            self.edits += [edit for diagnostic in found if diagnostic.code in codes for edit in diagnostic.edits]

    def edits_of(self, file: str) -> list[Edit]:
        return [edit for edit in self.edits if edit.span.file == file]


def _variants(document: files.Document) -> tuple[str, ...]:
    entry = document.root.get("variants")
    if entry is None or not isinstance(entry.value, tree.Mapping):
        return ()
    return tuple(e.key.text for e in entry.value.entries if files.SNAKE.fullmatch(e.key.text))


def _meaning(spec: Spec | None) -> object:
    if spec is None:
        return None
    names = ("model", "addons", "task", "train", "search", "expect", "name", "about", "paper")
    return [identity(getattr(spec, name)) for name in names]


def _stepped(text: str, file: str) -> tuple[str, tuple[Change, ...]]:
    """A text in today's version of the language."""
    changes: tuple[Change, ...] = ()
    while (number := _number(text, file)) is not None and number[0] in STEPS and number[0] < settings.VERSION:
        version, span = number
        edits = [*STEPS[version](yaml.parse(text, file)), Edit(span, str(version + 1))]
        text, made = apply(text, edits)
        changes += made
    return text, changes


def _number(text: str, file: str) -> tuple[int, Span] | None:
    entry = yaml.parse(text, file).get("xcompose")
    if entry is None or not isinstance(entry.value, tree.Scalar) or not re.fullmatch(r"[1-9]\d*", entry.value.text):
        return None
    return int(entry.value.text), entry.value.span_of(0, len(entry.value.text))


def _another(file: str, variants: list[str]) -> Diagnostic:
    which = ", ".join(f"{file}@{variant}" if variant else file for variant in variants) or file
    return Diagnostic(
        RENAMED, f"with the new names {which} would mean something else, so nothing was written",
        label="a fault of xcompose or of the plugin that renamed something", stage="schema",
        fixes=("change the names by hand; `xcompose check` says which",),
    )  # fmt: skip
