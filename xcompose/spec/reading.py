"""Which files a spec was read from, and where its packages were: whoever keeps what was found about it must know what
it depends on."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from xcompose.cache import digest

BYTES = 1 << 20
"""The most that a spec may hold."""
CHANGED = "changed"
"""In place of a digest, for a file that was changed meanwhile, or cannot be read."""
_SEEN: ContextVar[dict[str, str] | None] = ContextVar("files that were read", default=None)


@contextmanager
def recorded() -> Iterator[dict[str, str]]:
    """Every spec file that is read inside: its absolute path, and a digest of what was read and where it really is.

    A package that is looked up is there as well, by its name alone, with the folder that it was found in.
    """
    seen: dict[str, str] = {}
    token = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(token)


def note(place: Path, content: bytes) -> None:
    """Somebody read this from a file."""
    seen = _SEEN.get()
    if seen is None:
        return
    name, now = str(place.absolute()), fingerprint(place, content)
    seen[name] = now if seen.get(name, now) == now else CHANGED


def look(place: Path) -> None:
    """Somebody asked whether this file is there, and will read it later."""
    seen = _SEEN.get()
    if seen is None:
        return
    try:
        note(place, beginning(place))
    except OSError:  # whoever reads it says so; nothing is known about it here
        seen[str(place.absolute())] = CHANGED


def package_folder(package: str) -> Path | None:
    """Where the specs of an installed package are; None where there is no such package. Nothing is imported."""
    try:
        found = importlib.util.find_spec(package)
    except ValueError:  # a module that no finder has found: the program itself
        found = None
    folders = list(found.submodule_search_locations or []) if found else []
    folder = Path(folders[0]).resolve() if folders else None
    seen = _SEEN.get()
    if seen is not None:
        seen[package] = str(folder or CHANGED)
    return folder


def beginning(place: Path) -> bytes:
    """Of a file, as much as a spec may hold, and a byte more.

    Raises:
        OSError: it cannot be read.
    """
    with place.open("rb") as stream:
        return stream.read(BYTES + 1)


def fingerprint(place: Path, content: bytes) -> str:
    """Of a file's content, and of where a link to it leads: names in a spec are relative to that place."""
    return digest(str(place.resolve()), content)
