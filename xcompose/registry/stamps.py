"""Stamps of code on disk: when one has changed, what was kept of that code is no longer true. Nothing is imported."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from xcompose.cache import digest

if TYPE_CHECKING:
    from xcompose.registry.discovery import Found

BUILT_IN = "xcompose_plugins"
INSTALLED = (".dist-info", ".egg-info")


@functools.cache
def core_stamp() -> str:
    """Of the packages of xcompose and its built-in plugins, as they are when it is first asked for: 32 digits."""
    return digest(*sources("xcompose"), *sources(BUILT_IN))


def stamp_of(found: Found) -> str:
    """Of a plugin's version, of the files of its top-level package, and of what is installed beside it: 32 digits.

    A package that another distribution brings is seen by its version, and an edit of its files is not.
    """
    who = (found.distribution, found.version, found.group, found.entry_point, found.module)
    return digest(*who, *sources(found.module.partition(".")[0]), environment_stamp())


@functools.cache
def environment_stamp() -> str:
    """Of the names and versions of all installed distributions, and of what they announce: 32 digits."""
    return digest(*_installed(tuple(sys.path)))


def environment_folders() -> tuple[str, ...]:
    """The folders on Python's path that hold installed distributions."""
    return tuple(dict.fromkeys(line.partition("\t")[0] for line in _installed(tuple(sys.path))))


def _installed(folders: Iterable[str]) -> Iterator[str]:
    for folder in folders:
        try:
            names = sorted(name for name in os.listdir(folder or ".") if name.endswith(INSTALLED))
        except OSError:  # an archive, or a place that is not there
            names = []
            if os.path.isfile(folder):
                yield f"{os.path.abspath(folder)}\t{_facts(folder)}"
        for name in names:
            yield f"{os.path.abspath(folder)}\t{_facts(os.path.join(folder or '.', name, 'entry_points.txt'))}"


def sources(package: str) -> tuple[str, ...]:
    """Name, size and times of every file of a top-level package or module; empty where there is none. Of one in an
    archive they are those of the archive.

    What code reads beside itself may decide what it does, so that data counts as code does.
    """
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # a finder that fails, or a module without a spec
        return ()
    if spec is None:
        return ()
    if spec.submodule_search_locations is None:
        return (_facts(spec.origin or ""),)
    return tuple(line for folder in spec.submodule_search_locations for line in _below(folder))


def _below(folder: str) -> Iterator[str]:
    if not os.path.isdir(folder):  # it is inside an archive
        yield _facts(folder)
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if f != "__pycache__")
        yield from (_facts(os.path.join(path, name)) for name in sorted(files))


def _facts(file: str) -> str:
    """The time of change counts, too: tools that set back the time of modification cannot set back that one."""
    try:
        seen = os.stat(file)
    except NotADirectoryError:  # it is inside an archive
        return f"{file} in {_facts(os.path.dirname(file))}"
    except OSError:
        return f"{file} absent"
    return f"{file} {seen.st_size} {seen.st_mtime_ns} {seen.st_ctime_ns} {seen.st_ino}"
