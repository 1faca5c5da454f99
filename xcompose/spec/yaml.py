"""Read a spec's text into a located tree: plain YAML, few features, hard limits, every finding with its place.

Events of PyYAML are read one by one and put together here, so that nothing recurses, nothing is constructed and no
value is guessed from its look.
"""

from __future__ import annotations

import functools
import os
import stat
from pathlib import Path

import attrs

from xcompose.diagnostics import Diagnostic, Span, SpecError
from xcompose.diagnostics.sources import SOURCES
from xcompose.diagnostics.suggest import nearest
from xcompose.spec import characters, tree
from xcompose.spec.events import Builder, Stop
from xcompose.spec.mending import Mender
from xcompose.spec.places import Lines, places_of
from xcompose.spec.reading import BYTES, beginning, note

SUFFIX = ".xc.yaml"
TRIES = 20
TRIED_CHARACTERS = 2_000_000
KEPT, KEPT_CHARACTERS = 8, 1 << 16
"""The trees of so many texts, of at most so many characters, are kept: a file is read for each of its variants."""


@attrs.frozen
class Parsed:
    """A text with its tree, None when it has errors, and all findings: errors and hints."""

    tree: tree.Mapping | None
    diagnostics: tuple[Diagnostic, ...]


def parse(text: bytes | str, file: str) -> tree.Mapping:
    """The tree of a spec's text.

    Args:
        text: what the file holds.
        file: its name, as findings show it.

    Raises:
        SpecError: with every finding.
    """
    parsed = read(text, file)
    if parsed.tree is None:
        raise SpecError(parsed.diagnostics)
    return parsed.tree


def read(text: bytes | str, file: str) -> Parsed:
    """Like `parse`, but returns the findings, hints too."""
    try:
        content = _content(text, file)
    except Stop as stop:
        return Parsed(None, (stop.diagnostic,))
    SOURCES.register(file, content)
    return (_kept if len(content) <= KEPT_CHARACTERS else _parsed)(content, file)


@functools.lru_cache(maxsize=KEPT)
def _kept(content: str, file: str) -> Parsed:
    return _parsed(content, file)


def _parsed(content: str, file: str) -> Parsed:
    mender = Mender(content, file)
    for _ in range(max(1, min(TRIES, TRIED_CHARACTERS // (len(content) + 1)))):
        builder = Builder(mender.text, file)
        document = builder.run()
        if not mender.mend(builder):
            break
    errors = [*mender.findings(document), *([] if mender.full else builder.diagnostics)]
    if any(e.severity == "error" for e in errors):
        return Parsed(None, tuple(errors))
    if not isinstance(document, tree.Mapping):
        return Parsed(None, (*errors, _no_mapping(document, file)))
    return Parsed(document, tuple(errors))


def load_file(path: str | os.PathLike[str], name: str | None = None) -> tree.Mapping:
    """The tree of a spec file.

    Args:
        path: where it is.
        name: how findings show it; the path as given if not said.

    Raises:
        SpecError: the file cannot be read, or its text is wrong.
    """
    return parse(file_bytes(path, name), name or os.fspath(path))


def file_bytes(path: str | os.PathLike[str], name: str | None = None) -> bytes:
    """What a spec file holds, at most one byte more than is allowed.

    Raises:
        SpecError: a wrong name, or nothing there that can be read.
    """
    place, shown = Path(path), name or os.fspath(path)
    problem = _wrong_name(place, shown)
    if problem is not None:
        raise SpecError(problem)
    try:
        mode = place.stat().st_mode
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise SpecError(_unreadable(f"expected a file, found {what}: {shown}"))
        content = beginning(place)
    except FileNotFoundError:
        raise SpecError(_missing(place, shown)) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SpecError(_unreadable(f"cannot read {shown}: {reason}")) from None
    except SpecError:
        raise
    except ValueError as error:  # a NUL byte in its name
        raise SpecError(_unreadable(f"cannot read {shown}: {error}")) from None
    note(place, content)
    return content


def parse_override(text: str, number: int) -> tree.Entry:
    """One `--set PATH=VALUE`, the value read as if it stood behind its key.

    Args:
        text: what was written behind `--set`.
        number: which of them it is, from 1.

    Raises:
        SpecError: no `=`, no path, no value, or a value that is not well formed.
    """
    file = f"--set #{number}"
    SOURCES.register(file, text)
    at = characters.first_forbidden(text)
    if at is not None:
        message, label, fix = characters.said(text[at])
        span = Lines(text, file).span(at, at + 1)
        raise SpecError(Diagnostic("XC003", message, span, label, fixes=(fix,), stage="parse"))
    path, equals, value = text.partition("=")
    name = path.strip()
    if not (equals and name and value.strip()):
        missing = "`=`" if not equals else "a path before `=`" if not name else "a value behind `=`"
        fixes = ["write PATH=VALUE, for example model.dim=256"]
        if equals and name:
            fixes.append(f"to drop what is set there: {name}=null")
        span = Span(file, 1, 1, 1, max(len(text), 1) + 1)
        raise SpecError(Diagnostic("XC028", f"an override needs {missing}", span, fixes=tuple(fixes), stage="parse"))
    start = len(path) - len(path.lstrip())
    key = tree.Scalar(name, Span(file, 1, start + 1, 1, start + 1 + len(name)), "override")
    at = len(path) + 1 + len(value) - len(value.lstrip())
    value = value.strip()
    if value[0] in "[{\"'":
        return tree.Entry(key, _override_value(text, at, file, name))
    span = Lines(text, file).span(at, at + len(value))
    return tree.Entry(key, tree.Scalar(value, span, "override", places_of(value, value, "override", span)))


def _override_value(text: str, at: int, file: str, prefix: str) -> tree.Tree:
    content = " " * at + text[at:]
    mender = Mender(content, file, text)
    builder = Builder(content, file, prefix)
    document = builder.run()
    mender.mend(builder)
    findings = [*mender.findings(document), *builder.diagnostics]
    if document is None or any(f.severity == "error" for f in findings):
        raise SpecError(findings)
    return document


def _content(text: bytes | str, file: str) -> str:
    size = len(text) if isinstance(text, bytes) else len(text.encode("utf-8", "surrogatepass"))
    if size > BYTES:
        raise Stop(Diagnostic("XC008", f"{file} is larger than 1 MiB, the most a spec may have", stage="parse"))
    content = _decoded(text, file) if isinstance(text, bytes) else text
    content = content.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    offset = characters.first_forbidden(content)
    if offset is not None:
        raise Stop(_control(content, offset, file))
    return content


def _decoded(text: bytes, file: str) -> str:
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        message = f"{file} is UTF-16; a spec is UTF-8"
        raise Stop(Diagnostic("XC003", message, fixes=("save it as UTF-8",), stage="parse"))
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        before = text[: error.start].decode("utf-8")
        SOURCES.register(file, text.decode("utf-8", "replace"))
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        label = f"the byte 0x{text[error.start]:02x} is not UTF-8"
        span = Span(file, line, column, line, column + 1)
        message = f"{file} is not UTF-8 text"
        raise Stop(Diagnostic("XC003", message, span, label, fixes=("save it as UTF-8",), stage="parse")) from None


def _control(content: str, offset: int, file: str) -> Diagnostic:
    SOURCES.register(file, content)
    line, column = content.count("\n", 0, offset) + 1, offset - content.rfind("\n", 0, offset)
    message, label, fix = characters.said(content[offset])
    span = Span(file, line, column, line, column + 1)
    if content[offset] == "\0":
        return Diagnostic("XC003", f"{file} is no text file", span, label, stage="parse")
    return Diagnostic("XC003", message, span, label, fixes=(fix,), stage="parse")


def _no_mapping(document: tree.Tree | None, file: str) -> Diagnostic:
    found = {tree.Scalar: "a text", tree.Sequence: "a list"}.get(type(document), "nothing")
    span = document.span if document is not None else Span(file, 1, 1, 1, 1)
    fixes = ("begin with: xcompose: 1",)
    return Diagnostic("XC004", f"a spec is a mapping of sections, found {found}", span, fixes=fixes, stage="parse")


def _wrong_name(place: Path, shown: str) -> Diagnostic | None:
    if place.name.endswith(SUFFIX) or place.is_dir():
        return None
    stem = place.name
    for ending in (".xc.yml", ".yaml", ".yml"):
        stem = stem.removesuffix(ending)
    message = f"a spec's file name ends in {SUFFIX}, found {shown}"
    fix = f"rename it to {stem}{SUFFIX}" if place.exists() else f"write {_beside(place, shown)}{stem}{SUFFIX}"
    return Diagnostic("XC002", message, fixes=(fix,), stage="parse")


def _missing(place: Path, shown: str) -> Diagnostic:
    folder = place.parent
    there = sorted(p.name for p in folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
    beside = _beside(place, shown)
    fixes = tuple(f"did you mean {beside}{near}?" for near in nearest(place.name, there, most=1))
    if not folder.is_dir():
        return _unreadable(f"there is no file {shown}: no folder {beside.rstrip('/')}")
    return Diagnostic("XC001", f"there is no file {shown}", fixes=fixes, stage="parse")


def _beside(place: Path, shown: str) -> str:
    """The folder of a file as findings show it, with what stands behind it."""
    return shown.removesuffix(place.name) if shown.endswith(place.name) else ""


def _unreadable(message: str) -> Diagnostic:
    return Diagnostic("XC001", message, stage="parse")
