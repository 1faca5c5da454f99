"""Keeps between two runs what can be computed again: JSON files in a folder of the user, and never code.

`XCOMPOSE_CACHE` names another folder, or `none` for no cache. A folder that cannot be written is no error: what would
be kept is computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

SETTING = "XCOMPOSE_CACHE"


def folder() -> Path | None:
    """Where things are kept; None where nothing is."""
    setting = os.environ.get(SETTING)
    if setting == "none":
        return None
    if setting:
        return Path(setting)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "xcompose"
    except RuntimeError:  # a user without a home
        return None


def digest(*parts: str | bytes) -> str:
    """Of parts in their order, for the names of what is kept: 32 hexadecimal digits."""
    seen = hashlib.sha256()
    for part in parts:
        raw = part.encode(errors="surrogatepass") if isinstance(part, str) else part
        seen.update(len(raw).to_bytes(8, "big") + raw)
    return seen.hexdigest()[:32]


def read(name: str) -> Any:
    """What was kept under a name, `results/1f..`; None where nothing was, or it cannot be read."""
    place = folder()
    if place is None:
        return None
    try:
        return json.loads((place / f"{name}.json").read_text())
    except (OSError, ValueError, RecursionError):
        return None


def write(name: str, data: Any) -> None:
    """Keep plain data under a name, whole or not at all."""
    place = folder()
    if place is None:
        return
    target = place / f"{name}.json"
    with contextlib.suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, suffix=".part")
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(data, file)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise


def touch(name: str) -> None:
    """Say that what was kept under a name is in use."""
    place = folder()
    if place is not None:
        with contextlib.suppress(OSError):
            os.utime(place / f"{name}.json")


def trim(within: str, most: int) -> None:
    """Leave no more entries in a folder than `most`, and forget first what was in use longest ago."""
    place = folder()
    if place is None:
        return
    with contextlib.suppress(OSError):
        entries = [(one.stat().st_mtime, one.path) for one in os.scandir(place / within)]
        for _, path in sorted(entries)[: max(0, len(entries) - most)]:
            os.unlink(path)
