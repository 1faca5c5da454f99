"""Where inside a plugin it failed, and which package it lacks."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import traceback
from collections.abc import Iterable
from pathlib import Path

from xcompose.registry.discovery import Found, normal


def where(error: BaseException, found: Found) -> str:
    """The last place inside the plugin that led to the error, `FILE:LINE`; empty if none did."""
    homes = _homes(found)
    if isinstance(error, SyntaxError) and error.filename and _is_below(error.filename, homes):
        return f"{error.filename}:{error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_below(f.filename, homes)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _homes(found: Found) -> tuple[Path, ...]:
    """The folders of the plugin's top-level package, several for a namespace package; or the file of its module."""
    try:
        spec = importlib.util.find_spec(found.module.partition(".")[0])
    except (ImportError, ValueError):
        return ()
    if spec is None:
        return ()
    places = spec.submodule_search_locations or [spec.origin or ""]
    return tuple(Path(os.path.abspath(place)) for place in places if place)


def is_inside(file: str, found: Found) -> bool:
    """Whether a file of source belongs to the plugin's top-level package."""
    return _is_below(file, _homes(found))


def _is_below(file: str, homes: Iterable[Path]) -> bool:
    path = Path(os.path.abspath(file))
    return any(path == home or home in path.parents for home in homes)


def missing(error: BaseException, found: Found) -> str:
    """What installs the package whose absence is the error; empty for another error, or another's package."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    wanted = normal(error.name.partition(".")[0])
    for requirement in requirements(found):
        if normal(requirement.name) == wanted:
            extras = _extras(requirement)
            extra = f"[{extras[0]}]" if extras else ""
            return f"pip install '{found.distribution}{extra}'" if extra else f"pip install '{requirement.name}'"
    return ""


def requirements(found: Found) -> list:
    """What its distribution says it requires, as `packaging` reads it; what cannot be read is left out."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        written = importlib.metadata.requires(found.distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    read = []
    for text in written:
        try:
            read.append(Requirement(text))
        except InvalidRequirement:  # of another distribution's making; installers have said so
            continue
    return read


def _extras(requirement) -> list[str]:
    """The extras of the distribution that bring this requirement."""
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return []
    named = re.findall(r"""extra\s*==\s*["']([^"']+)["']""", str(marker))
    return [extra for extra in named if marker.evaluate({"extra": extra})]
