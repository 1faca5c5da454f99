"""Text to learn from: a named corpus that every machine has, or the user's own files, as bytes.

The corpus `stdlib` is the source text of Python's standard library, as installed beside the running Python. Its files
are taken in a fixed order, so the same Python gives the same bytes. A part of every corpus is held out for validation,
by file where there are enough of them, and that part never depends on a seed.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NoReturn

import attrs
import torch
from torch import Tensor

from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.spec.formats import format_bytes

CAP = 12 * 2**20
"""At most this many bytes of the standard library are read, which is more than it has today."""
MOST = 2**32
"""The largest corpus, in bytes: all of it is held in memory."""
HELD_OUT = 20
"""One byte in so many is held out."""
ENOUGH_FILES = 40
"""From so many files on, whole files are held out; below, the end of each."""
NAMES = ("stdlib",)
_LEFT_OUT = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo", "pydoc_data", "encodings"}
)


@attrs.frozen(eq=False)
class TextFile:
    """One file of a corpus."""

    name: str
    """Relative to the corpus, with forward slashes."""
    data: bytes


@attrs.frozen(eq=False)
class ByteCorpus:
    """Bytes to train on, and bytes held out."""

    name: str
    files: int
    train: Tensor
    """(bytes) uint8"""
    valid: Tensor
    """(bytes) uint8"""

    def unigram_bits(self) -> float:
        """Bits per byte of the best guess that looks at no context: what a model must beat to have learnt anything."""
        return unigram_bits(self.train)

    def describe(self) -> str:
        """One line for humans."""
        train, valid = format_bytes(len(self.train)), format_bytes(len(self.valid))
        return f"{self.name}: {_files(self.files)}, {train} to train on, {valid} held out"


def unigram_bits(data: Tensor) -> float:
    """Bits for each of these bytes (n) of the best guess that looks at no context."""
    counts = torch.bincount(data, minlength=256).double()
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * shares.log2()).sum())


def _refuse(code: str, message: str, fix: str) -> NoReturn:
    raise SpecError(Diagnostic(code, message, fixes=(fix,), path="task.data", stage="data"))


def read_corpus(name: str, data: Path | None, *, binary: bool = False) -> ByteCorpus:
    """The corpus of this name, or the user's own where `data` is given.

    Raises:
        SpecError: no such corpus or file, no bytes in it, or bytes that are no text although text is wanted (XC08x).
    """
    if data is None:
        return _named(name)
    return _split(str(data), user_files(data, binary=binary))


def unknown(name: str, names: Iterable[str]) -> NoReturn:
    """Refuse a data set that nobody ships."""
    there = ", ".join(f"'{n}'" for n in names)
    _refuse(
        "XC083", f"there is no built-in data '{name}'", f"built in: {there}; for other text give --data FILE_OR_DIR"
    )


@lru_cache(maxsize=4)
def _named(name: str) -> ByteCorpus:
    if name not in NAMES:
        unknown(name, NAMES)
    return _split(name, stdlib_files())


@lru_cache(maxsize=1)
def stdlib_files() -> tuple[TextFile, ...]:
    """The source files of Python's standard library, sorted by name, tests and generated tables left out."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found, size = [], 0
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if _LEFT_OUT & set(parts) or parts[0].removesuffix(".py") not in sys.stdlib_module_names:
            continue
        data = path.read_bytes()
        if size + len(data) > CAP:
            break
        size += len(data)
        found.append(TextFile("/".join(parts), data))
    return tuple(found)


def user_files(data: Path, *, binary: bool = False) -> tuple[TextFile, ...]:
    """The user's file, or every file below the user's folder but hidden ones, sorted by name.

    Raises:
        SpecError: nothing there, nothing in it, or binary contents (XC080, XC081, XC082, XC084).
    """
    if not data.exists():
        _refuse("XC080", f"there is no file or folder '{data}'", "check the path after --data")
    paths = [data] if data.is_file() else list(below(data))
    total = sum(path.stat().st_size for path in paths)
    if total == 0:
        what = "is empty" if data.is_file() else f"holds no text: {_files(len(paths))}, 0 bytes"
        _refuse("XC081", f"'{data}' {what}", "give a file, or a folder of files, with text in it")
    if total > MOST:
        _refuse("XC084", f"'{data}' holds {total:,} bytes", f"a corpus is held in memory: give at most {MOST:,} bytes")
    base = data.parent if data.is_file() else data
    files = tuple(TextFile(PurePosixPath(path.relative_to(base)).as_posix(), _read(path)) for path in paths)
    if not binary:
        _only_text(data, files)
    return tuple(file for file in files if file.data)


def below(folder: Path) -> Iterator[Path]:
    """Files below a folder in a fixed order; hidden ones and compiled Python are nobody's data."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__pycache__")
        yield from (Path(here, n) for n in sorted(names) if not n.startswith(".") and Path(here, n).is_file())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        _refuse("XC080", f"'{path}' cannot be read: {error.strerror}", "check its permissions")


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _only_text(data: Path, files: tuple[TextFile, ...]) -> None:
    bad = [file for file in files if b"\0" in file.data]
    if not bad:
        return
    at = bad[0].data.index(b"\0")
    which = f"'{data}'" if data.is_file() else f"'{bad[0].name}' in '{data}'"
    more = f", and {_files(len(bad) - 1)} more like it" if len(bad) > 1 else ""
    _refuse(
        "XC082", f"{which} is not text: byte {at:,} is zero{more}",
        "give text; or, to model any bytes, write binary=true in the task: lm(binary=true)",
    )  # fmt: skip


def held_out(files: tuple[TextFile, ...], enough: int = ENOUGH_FILES) -> frozenset[str]:
    """The names of the files held out whole; empty where there are too few files for that, fewer than `enough`.

    Which they are depends on their names alone, so a file keeps its side when others are added.
    """
    if len(files) < enough:
        return frozenset()
    rank = {file.name: hashlib.sha256(file.name.encode()).digest() for file in files}
    share, chosen, size = sum(len(f.data) for f in files) / HELD_OUT, set(), 0
    for file in sorted(files, key=lambda f: rank[f.name]):
        if size >= share:
            break
        chosen.add(file.name)
        size += len(file.data)
    return frozenset(chosen)


def cut(file: TextFile, outside: frozenset[str]) -> tuple[bytes, bytes]:
    """A file's bytes to train on, and those held out."""
    if outside:
        return (b"", file.data) if file.name in outside else (file.data, b"")
    edge = len(file.data) - math.ceil(len(file.data) / HELD_OUT)
    return file.data[:edge], file.data[edge:]


def _split(name: str, files: tuple[TextFile, ...]) -> ByteCorpus:
    outside = held_out(files)
    halves = [cut(file, outside) for file in files]
    train, valid = (b"".join(side) for side in zip(*halves, strict=True))
    return ByteCorpus(name, len(files), as_bytes(train), as_bytes(valid))


def as_bytes(data: bytes) -> Tensor:
    """(n) uint8"""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.zeros(0, dtype=torch.uint8)


def too_short(name: str, part: str, size: int, needed: int) -> NoReturn:
    """Refuse a corpus that does not hold one sequence."""
    _refuse(
        "XC085", f"'{name}' is too short: {size:,} bytes {part}, and one sequence takes {needed:,}",
        "give more text, or shorter sequences: --set train.length=...",
    )  # fmt: skip
