"""Texts with a label each: a named corpus, or the user's folder with one sub-folder for each class."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import attrs

from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.train.corpus import NAMES, TextFile, held_out, stdlib_files, unknown, user_files

PACKAGES = ("asyncio", "email", "http", "importlib", "logging", "multiprocessing", "unittest", "xml")
"""Packages of the standard library that every Python of the last years has, each with at least 50 kB of source."""


@attrs.frozen(eq=False)
class LabelledCorpus:
    """Texts by class, those to train on and those held out."""

    name: str
    labels: tuple[str, ...]
    train: tuple[tuple[bytes, int], ...]
    """(text, number of its label)"""
    valid: tuple[tuple[bytes, int], ...]

    def describe(self) -> str:
        """One line for humans."""
        sides = f"{len(self.train):,} texts to train on, {len(self.valid):,} held out"
        return f"{self.name}: {len(self.labels)} classes, {sides}"


def read_labelled(name: str, data: Path | None, length: int, *, binary: bool = False) -> LabelledCorpus:
    """The texts of this corpus, or of the user's folder where `data` is given.

    The files of a folder are one text each, of which the first `length` bytes count. The files of a named corpus are
    long and few, so each is cut into texts of `length` bytes.

    Raises:
        SpecError: nothing there, no classes, a class without texts, or binary contents (XC08x).
    """
    if data is None:
        return _packages(name, length)
    if data.is_file():
        _no_classes(data, "is a file")
    return _folder(data, user_files(data, binary=binary), length)


@lru_cache(maxsize=4)
def _packages(name: str, length: int) -> LabelledCorpus:
    if name not in NAMES:
        unknown(name, NAMES)
    train, valid = [], []
    for label, package in enumerate(PACKAGES):
        files = tuple(f for f in stdlib_files() if f.name.split("/")[0] == package)
        outside = held_out(files, enough=2)
        for file in files:
            side = valid if file.name in outside else train
            side.extend((file.data[at : at + length], label) for at in range(0, len(file.data) - length // 2, length))
    return LabelledCorpus(name, PACKAGES, tuple(train), tuple(valid))


def _no_classes(data: Path, what: str) -> None:
    fix = "give a folder with one sub-folder for each class, and a file for each text in it"
    raise SpecError(
        Diagnostic("XC086", f"'{data}' {what}, not a folder of classes", fixes=(fix,), path="task.data", stage="data")
    )


def _folder(data: Path, files: tuple[TextFile, ...], length: int) -> LabelledCorpus:
    inside = [f for f in files if "/" in f.name]
    labels = tuple(sorted({f.name.split("/")[0] for f in inside}))
    if len(labels) < 2:
        _no_classes(data, f"has {len(labels)} sub-folders with texts" if labels else "has no sub-folders with texts")
    train, valid = [], []
    for number, label in enumerate(labels):
        texts = [f for f in inside if f.name.split("/")[0] == label]
        if len(texts) < 2:
            _no_classes(data, f"has a single text in '{label}', none to hold out")
        outside = _every_twentieth(texts)
        train += [(f.data[:length], number) for f in texts if f.name not in outside]
        valid += [(f.data[:length], number) for f in texts if f.name in outside]
    return LabelledCorpus(str(data), labels, tuple(train), tuple(valid))


def _every_twentieth(texts: Iterable[TextFile]) -> frozenset[str]:
    """One text in twenty of a class, at least one: the last ones by name."""
    names = [t.name for t in texts]
    return frozenset(names[-max(1, len(names) // 20) :])
