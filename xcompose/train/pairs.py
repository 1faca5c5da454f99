"""Lines in two languages that belong together: a folder with files of lines, line i of one beside line i of the other.

train.en, train.de      to train on, plain or .gz
val.en, val.de          held out
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import NoReturn

import attrs

from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.train.corpus import MOST, ByteCorpus, as_bytes

SIDES = ("train", "val")
NAMED = re.compile(r"(train|val)\.([A-Za-z]{2,8}(?:[-_][A-Za-z0-9]+)?)(\.gz)?")
FORM = (
    "give a folder with train.LANGUAGE and val.LANGUAGE of two languages, plain or .gz: train.en, val.en, train.de ..."
)

Pair = tuple[bytes, bytes]


@attrs.frozen(eq=False)
class PairedCorpus:
    """Lines of a source language, each with what it is in the target language."""

    name: str
    source: str
    """The language that is read."""
    target: str
    """The language that is written."""
    train: tuple[Pair, ...]
    """(source, target), without the ends of lines"""
    valid: tuple[Pair, ...]

    def unigram_bits(self) -> float:
        """Bits per byte of the target, ends of lines included, by the best guess that looks at nothing."""
        written = b"".join(target + b"\n" for _, target in self.train)
        return ByteCorpus(self.name, 1, as_bytes(written), as_bytes(b"")).unigram_bits()

    def describe(self) -> str:
        """One line for humans."""
        sides = f"{len(self.train):,} pairs of lines to train on, {len(self.valid):,} held out"
        return f"{self.name}: from {self.source} to {self.target}, {sides}"


def read_pairs(name: str, data: Path | None, source: str | None = None, target: str | None = None) -> PairedCorpus:
    """The lines of the user's folder. Pairs of which one line is empty are left out.

    Args:
        name: of the data; there is none built in, so it is a label.
        data: the folder.
        source: the language to read. Not given, it is the other one of two, or the first by name.
        target: the language to write, likewise.

    Raises:
        SpecError: no folder, or none of this form; languages that are not there; lines that do not pair; binary
            contents; too much of it (XC08x).
    """
    if data is None:
        _refuse("XC083", f"there is no built-in data '{name}'", f"{FORM}: --data FOLDER")
    if not data.exists():
        _refuse("XC080", f"there is no file or folder '{data}'", "check the path after --data")
    if data.is_file():
        _refuse("XC086", f"'{data}' is a file, not a folder of lines in two languages", FORM)
    files = _files(data)
    read, written = _languages(data, files, source, target)
    train, valid = (_paired(files[side, read], files[side, written]) for side in SIDES)
    return PairedCorpus(str(data), read, written, train, valid)


def _refuse(code: str, message: str, fix: str) -> NoReturn:
    raise SpecError(Diagnostic(code, message, fixes=(fix,), path="task.data", stage="data"))


def _files(folder: Path) -> dict[tuple[str, str], Path]:
    """Files of lines by side and language; plain ones before packed ones."""
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir()):
        named = NAMED.fullmatch(path.name)
        if named and path.is_file():
            found.setdefault((named[1], named[2]), path)
    return found


def _languages(
    folder: Path, files: dict[tuple[str, str], Path], source: str | None, target: str | None
) -> tuple[str, str]:
    whole = sorted({language for _, language in files if all((side, language) in files for side in SIDES)})
    for language in (source, target):
        if language is not None and language not in whole:
            there = ", ".join(f"'{one}'" for one in whole) or "no language"
            _refuse("XC086", f"'{folder}' has no train and val lines in '{language}'", f"it has them in: {there}")
    if source is not None and source == target:
        _refuse("XC086", f"'{source}' cannot be translated to itself", "name two languages")
    if len(whole) < 2:
        count = "1 language" if whole else "no language"
        _refuse("XC086", f"'{folder}' has train and val lines in {count}, and a task of pairs needs two", FORM)
    if len(whole) > 2 and (source is None or target is None):
        there = ", ".join(f"'{one}'" for one in whole)
        fix = f"name two of them: translate(source={source or whole[0]}, target={target or whole[1]})"
        _refuse("XC086", f"'{folder}' has lines in {len(whole)} languages: {there}", fix)
    read = source or next(one for one in whole if one != target)
    return read, target or next(one for one in whole if one != read)


def _paired(source: Path, target: Path) -> tuple[Pair, ...]:
    mine, other = _lines(source), _lines(target)
    if len(mine) != len(other):
        _refuse(
            "XC086", f"'{source.name}' has {len(mine):,} lines and '{target.name}' has {len(other):,}",
            "line i of one file belongs to line i of the other: give files that pair",
        )  # fmt: skip
    found = tuple((a, b) for a, b in zip(mine, other, strict=True) if a and b)
    if not found:
        _refuse("XC081", f"'{source.name}' and '{target.name}' hold no pair of lines", "give files with text in them")
    return found


def _read(path: Path) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read(MOST + 1)
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        _refuse("XC080", f"'{path}' cannot be read: {reason}", "check its permissions, and that it is whole")


def _lines(path: Path) -> list[bytes]:
    data = _read(path)
    if len(data) > MOST:
        _refuse("XC084", f"'{path}' holds more than {MOST:,} bytes", "a corpus is held in memory: give less")
    if b"\0" in data:
        _refuse("XC082", f"'{path.name}' is not text: byte {data.index(0):,} is zero", "give lines of text")
    return [line.rstrip(b"\r") for line in data.removesuffix(b"\n").split(b"\n")] if data else []
