"""Specs as they were: `REVISION:FILE`, taken out of git, with all that they build on, into a folder of their own."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.diagnostics.sources import SOURCES
from xcompose.spec import load
from xcompose.spec.catalogue import Catalogue
from xcompose.spec.files import split
from xcompose.spec.model import Spec

KEPT = (":(glob)**/*.xc.yaml", ":(glob)**/pyproject.toml")
"""What a spec may read, and what marks the folder that it may not leave."""


def load_at(reference: str, sets: Sequence[str] = (), *, catalogue: Catalogue) -> Spec:
    """Read a spec: FILE[@VARIANT], or REVISION:FILE[@VARIANT] as git names it.

    Raises:
        SpecError: with every finding; places of an older file are named `REVISION:FILE`.
    """
    revision, mark, rest = reference.partition(":")
    if not mark or Path(split(reference)[0]).exists():
        return load(reference, sets, catalogue=catalogue)
    with _taken(revision, rest) as (folder, place):
        try:
            found = load(str(place), sets, catalogue=catalogue)
        except SpecError as error:
            raise SpecError([_renamed(one, folder, revision) for one in error.diagnostics]) from None
    return attrs.evolve(found, file=f"{revision}:{split(rest)[0]}")


@contextmanager
def _taken(revision: str, reference: str) -> Iterator[tuple[Path, Path]]:
    """The folder with the specs of a revision, and the reference in it."""
    file = Path(reference)
    top = Path(_git(["rev-parse", "--show-toplevel"], revision).decode().strip())
    inside = file.resolve()
    if not inside.is_relative_to(top):
        raise SpecError(_refused(f"'{reference}' is not in this repository", "name a file below it"))
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        archive = _git(["-C", str(top), "archive", "--format=tar", revision, "--", *KEPT[:1]], revision)
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        (folder / "pyproject.toml").touch()
        yield folder, folder / inside.relative_to(top)


def _git(arguments: list[str], revision: str) -> bytes:
    try:
        ran = subprocess.run(["git", *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise SpecError(_refused("git is not installed, so there are no revisions", "compare two files")) from None
    if ran.returncode:
        said = ran.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise SpecError(_refused(f"git cannot read '{revision}': {said}", "git log --oneline names revisions"))
    return ran.stdout


def _refused(message: str, fix: str) -> Diagnostic:
    return Diagnostic("XC001", message, fixes=(fix,), stage="parse")


def _renamed(finding: Diagnostic, folder: Path, revision: str) -> Diagnostic:
    """The finding with the places of a revision named as the user named them."""
    span = finding.span
    if span is None or not Path(span.file).is_relative_to(folder):
        return finding
    shown = f"{revision}:{Path(span.file).relative_to(folder)}"
    text = SOURCES.text(span.file)
    if text is not None:
        SOURCES.register(shown, text)
    return attrs.evolve(finding, span=attrs.evolve(span, file=shown))
