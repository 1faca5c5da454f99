"""Finds spec files in folders, and those that a project names."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from xcompose.diagnostics import Diagnostic, Span, SpecError
from xcompose.diagnostics.sources import SOURCES
from xcompose.spec import yaml
from xcompose.spec.yaml import SUFFIX

SETTINGS = "pyproject.toml"
MISNAMED = ".xc.yml"
EXAMPLE = 'specs = ["specs", "more/one.xc.yaml"]'


def find_specs(paths: Iterable[str | Path] = (), root: Path | None = None) -> list[Path]:
    """The spec files among files and folders, sorted; without any, those that the project names, else `specs/`.

    Hidden folders are skipped, and links that lead out of a folder.

    Raises:
        SpecError: a file without the suffix, a path that does not exist, a `.xc.yml` on the way, or settings of the
            project that are wrong.
    """
    found, unsure = _candidates(paths, root)
    for path in unsure:
        yaml.file_bytes(path)
    return found


def candidates(paths: Iterable[str | Path] = (), root: Path | None = None) -> list[Path]:
    """As `find_specs`, with what it refuses among them: whoever reads that is told why.

    Raises:
        SpecError: the settings of the project are wrong.
    """
    return _candidates(paths, root)[0]


def _candidates(paths: Iterable[str | Path], root: Path | None) -> tuple[list[Path], list[Path]]:
    """Files; and which of them may be no specs."""
    given = [Path(p) for p in paths] or _project_specs(root or Path.cwd())
    found: dict[Path, bool] = {}
    for path in given:
        if path.is_dir():
            found.update({inside: inside.name.endswith(MISNAMED) for inside in _below(path)})
        else:
            found[path] = True
    return list(found), [path for path, unsure in found.items() if unsure]


def _below(folder: Path) -> list[Path]:
    found = []
    inside = folder.resolve()
    for current, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            path = Path(current) / name
            if name.endswith(MISNAMED) or (
                name.endswith(SUFFIX) and Path(os.path.realpath(path)).is_relative_to(inside)
            ):
                found.append(path)
    return found


def _project_specs(root: Path) -> list[Path]:
    file = root / SETTINGS
    names = _named(file) if file.is_file() else None
    if names is None:
        usual = root / "specs"
        return [usual] if usual.is_dir() else []
    return [root / name for name in names]


def _named(file: Path) -> Sequence[str] | None:
    """What `[tool.xcompose] specs` says: one path, or several."""
    text = _text(file)
    settings: Any = _table(text, file)
    for name in ("tool", "xcompose"):
        settings = settings.get(name, {})
        if not isinstance(settings, dict):
            raise _wrong(file, text, name, f"'{name}' is a table of settings, found {settings!r}", "[tool.xcompose]")
    specs = settings.get("specs")
    if specs is None or isinstance(specs, str):
        return None if specs is None else [specs]
    if not isinstance(specs, list) or not all(isinstance(name, str) for name in specs):
        raise _wrong(file, text, "specs", f"'specs' wants paths of files and folders, found {specs!r}", EXAMPLE)
    return specs


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SpecError(Diagnostic("XC003", f"{SETTINGS} is not UTF-8 text", stage="parse")) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SpecError(Diagnostic("XC001", f"cannot read {SETTINGS}: {reason}", stage="parse")) from None


def _table(text: str, file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), re.DOTALL)
        reason, line, column = said.groups() if said else (str(error), None, None)
        end = text.count("\n") + 1
        span = _span(file, text, int(line or end), int(column or 1))
        message = f"{SETTINGS} is no TOML: {reason[:1].lower()}{reason[1:]}"
        raise SpecError(Diagnostic("XC001", message, span, stage="parse")) from None
    except RecursionError:
        raise SpecError(Diagnostic("XC008", f"{SETTINGS} is nested too deep", stage="parse")) from None


def _wrong(file: Path, text: str, name: str, message: str, fix: str) -> SpecError:
    lines = enumerate(text.splitlines(), start=1)
    places = [(number, seen.start(1) + 1) for number, line in lines if (seen := re.search(rf"\b({name})\b", line))]
    line, column = places[-1] if places else (1, 1)
    span = _span(file, text, line, column, len(name))
    return SpecError(Diagnostic("XC014", f"{SETTINGS}: {message}", span, fixes=(fix,), stage="parse"))


def _span(file: Path, text: str, line: int, column: int, width: int = 1) -> Span:
    shown = os.path.relpath(file)
    SOURCES.register(shown, text)
    return Span(shown, line, column, line, column + width)
