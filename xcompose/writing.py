"""Files that are either wholly written or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """A temporary file beside `target` that takes its place when the block ends well, and vanishes when it does not.

    Whoever looks finds the old file or the new one, whole, even after a crash. A link stays a link: what it names is
    replaced. An old file's mode stays.

    Raises:
        OSError: the file cannot be written; an old one is left as it was.
    """
    temporary: Path | None = None
    target = Path(os.path.realpath(target))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _flush(temporary)
        temporary.chmod(_mode(target))
        os.replace(temporary, target)
        _flush(target.parent)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def replace(target: Path, data: bytes) -> None:
    """Write a whole file.

    Raises:
        OSError: the file cannot be written; an old one is left as it was.
    """
    with replaced(target) as draft:
        draft.write_bytes(data)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _mode(target: Path) -> int:
    """The one that a file has, or else that of any new file."""
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
