"""Where findings are for a forge: paths from the repository's root, and fingerprints that survive moved lines."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from xcompose.cache import digest
from xcompose.diagnostics.model import Diagnostic, Span
from xcompose.diagnostics.sources import SOURCES, Sources

Home = Callable[[Diagnostic], str]
"""The file that a finding is about, where it has no place of its own in one."""
_IN_PACKAGE = re.compile(r"[A-Za-z_]\w+:[^\\/]")


def is_file(name: str) -> bool:
    """Whether spans of this name are in a file of the project: not in `--set #1`, nor in a package's spec."""
    if name.startswith("--set #"):
        return False
    return not _IN_PACKAGE.match(name) or os.path.exists(name)


def from_root(name: str) -> str:
    """A file's path from the root of the repository around the current folder, or from that folder without one.

    A file outside keeps its absolute path.
    """
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if (folder / ".git").exists()), here)
    place = Path(os.path.normpath(here / name))
    return place.relative_to(root).as_posix() if place.is_relative_to(root) else place.as_posix()


def span_of(diagnostic: Diagnostic) -> Span | None:
    """Its place in a file of the project; None where it has none."""
    return diagnostic.span if diagnostic.span and is_file(diagnostic.span.file) else None


def marked(span: Span, sources: Sources = SOURCES) -> str:
    """The piece of text that a span marks; empty where the text is not known."""
    lines = [sources.line(span.file, number) for number in range(span.line, span.end_line + 1)]
    known = [line for line in lines if line is not None]
    if not known or len(known) < len(lines):
        return ""
    known[-1] = known[-1][: span.end_column - 1]
    known[0] = known[0][span.column - 1 :]
    return "\n".join(known)


def fingerprints(diagnostics: Iterable[Diagnostic], home: Home, sources: Sources = SOURCES) -> list[str]:
    """One for each finding, of its file, code, message and marked text; equal ones are counted. No line is in it."""
    seen: Counter[tuple[str, ...]] = Counter()
    found = []
    for diagnostic in diagnostics:
        span = span_of(diagnostic)
        file = from_root(span.file if span else home(diagnostic))
        what = (file, diagnostic.code, diagnostic.message, marked(diagnostic.span, sources) if diagnostic.span else "")
        seen[what] += 1
        found.append(digest(*what, str(seen[what])))
    return found


def sentences(diagnostic: Diagnostic) -> str:
    """What a finding says, in one paragraph: message, reason, notes and ways to mend it."""
    parts = [diagnostic.message + (f": {diagnostic.label}" if diagnostic.label else "")]
    if diagnostic.span and not is_file(diagnostic.span.file):
        parts.append(f"At {diagnostic.span.file}:{diagnostic.span.line}:{diagnostic.span.column}")
    parts += [note.text for note in diagnostic.notes if note.span is None]
    parts += [f"Fix: {fix}" for fix in diagnostic.fixes]
    return ". ".join(parts)
