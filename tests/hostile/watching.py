"""Watches what a piece of this program does to the machine: files, imports, the environment, time and memory."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import attrs

FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "pty.",
    "socket.", "urllib.", "ftplib.", "smtplib.", "webbrowser.", "ctypes.", "pickle.", "marshal.loads",
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.chmod", "os.link", "os.symlink", "os.truncate", "os.putenv",
    "shutil.", "tempfile.",
)  # fmt: skip
PEAK = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")


@attrs.define
class Watched:
    """What was seen."""

    opened: list[str] = attrs.field(factory=list)
    imported: list[str] = attrs.field(factory=list)
    asked: list[str] = attrs.field(factory=list)
    """Variables of the environment."""
    done: list[str] = attrs.field(factory=list)
    """Processes, connections, changes of files."""
    seconds: float = 0.0
    """Of the processor."""
    mebibytes: float = 0.0
    """More than before, at the most."""


_now: Watched | None = None


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if _now is None:
        return
    if event == "open":
        _now.opened.append(os.fsdecode(args[0]) if isinstance(args[0], str | bytes) else f"<{args[0]}>")
    elif event == "import":
        _now.imported.append(str(args[0]))
    elif event.startswith(FORBIDDEN):
        _now.done.append(event)


sys.addaudithook(_hear)  # for good, as hooks are; it does nothing while nobody watches


@contextmanager
def watching() -> Iterator[Watched]:
    """Watch what happens inside."""
    global _now
    seen, before = Watched(), _peak(reset=True)
    began = time.process_time()
    modules = set(sys.modules)
    ask = os._Environ.__getitem__  # what os.getenv and everything else comes to
    with mock.patch.object(os._Environ, "__getitem__", lambda self, key: seen.asked.append(str(key)) or ask(self, key)):
        _now = seen
        try:
            yield seen
        finally:
            _now = None
    seen.imported += sorted(set(sys.modules) - modules - set(seen.imported))  # importlib raises no event
    seen.seconds, seen.mebibytes = time.process_time() - began, _peak() - before


def _peak(reset: bool = False) -> float:
    """The most memory since the last reset, in MiB; 0 where the system does not say."""
    if not RESET.exists():
        return 0.0
    if reset:
        RESET.write_text("5")
    return int(PEAK.read_text().partition("VmHWM:")[2].split()[0]) / 1024
