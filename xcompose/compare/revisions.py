"""Specs as they were: `REVISION:FILE`, taken out of git, with all that they build on, into a folder of their own.

The repository may be a stranger's. So git is asked for objects alone: it applies no filters and no attributes, fetches
nothing, and gets no word of the user's but behind `--end-of-options`.
"""

from __future__ import annotations

import os
import posixpath
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from xcompose.diagnostics import Diagnostic, Note, SpecError
from xcompose.spec import load
from xcompose.spec.catalogue import Catalogue
from xcompose.spec.files import MARKS, read_file, split
from xcompose.spec.model import Spec
from xcompose.spec.reading import BYTES
from xcompose.spec.resolve import check_document
from xcompose.spec.yaml import SUFFIX

LOCAL = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
"""For git's environment: nothing but what is here is read, and nothing is written."""
FILES, LINK = ("100644", "100755", "100664"), "120000"
"""The modes of a tree's entries."""
LINKS = 10
"""The most links that lead to each other."""
PLAIN = re.compile(r"[^\\:/\0]{1,250}")
"""What a part of a name may be, to be written below a folder."""
LOG = "git log --oneline names revisions"


@attrs.frozen
class Opened:
    """A spec, and where it and what it builds on are kept."""

    spec: Spec
    folder: Path | None = None
    revision: str = ""
    """With its colon; empty for a file of today."""

    def named(self, text: str) -> str:
        """A text with the files in it named as the user would."""
        if self.folder is None:
            return text.replace(f"{Path.cwd().resolve()}{os.sep}", "")
        return text.replace(f"{self.folder}{os.sep}", self.revision)


@attrs.frozen
class _Entry:
    """A file or a link of a revision."""

    mode: str
    hash: str
    name: str


@contextmanager
def opened(reference: str, sets: Sequence[str] = (), *, catalogue: Catalogue) -> Iterator[Opened]:
    """Read a spec: FILE[@VARIANT], or REVISION:FILE[@VARIANT] as git names it.

    FILE of a revision is relative to the top of the repository, with `./` or `../` to the current folder. What an
    older spec builds on is there as long as the context is.

    Raises:
        SpecError: with every finding; places of an older file are named `REVISION:FILE`.
    """
    revision, mark, rest = reference.partition(":")
    if not mark or Path(split(reference)[0]).exists():
        yield Opened(load(reference, sets, catalogue=catalogue))
        return
    file, variants = split(rest)
    with _taken(revision, file) as (folder, inside, left):
        try:
            document = read_file(str(folder / inside), f"{revision}:{inside}", prefix=f"{revision}:")
            spec, findings = check_document(document, variants, sets, catalogue)
            if spec is None:
                raise SpecError(findings)
        except SpecError as error:
            raise SpecError([_with_links(one, left, revision) for one in error.diagnostics]) from None
        yield Opened(spec, folder, f"{revision}:")


def committed(reference: str) -> str:
    """What git's HEAD has of a spec of the working tree, as git names it; what is in no repository keeps its name."""
    file, variants = split(reference)
    place = Path(file).parent.resolve() / Path(file).name
    try:
        top = _top("HEAD")
    except SpecError:  # whoever opens it says why
        return f"HEAD:{reference}"
    inside = place.relative_to(top) if place.is_relative_to(top) else place
    return "@".join([f"HEAD:{inside.as_posix()}", *(["+".join(variants)] if variants else [])])


@contextmanager
def _taken(revision: str, file: str) -> Iterator[tuple[Path, str, dict[str, str]]]:
    """The folder with the specs of a revision, the name of the file below it, and the links that are not followed."""
    if revision.startswith("-") or not revision:
        raise SpecError(_refused(f"'{revision}' is no revision of git", LOG))
    top = _top(revision)
    inside = _inside(top, file)
    commit = _commit(revision)
    with TemporaryDirectory() as name:
        # A finding may say where the project ends: the folder is called like the one that it stands for.
        folder = Path(name).resolve() / (top.name or "top")
        folder.mkdir()
        yield folder, inside, _fill(folder, commit)


def _inside(top: Path, file: str) -> str:
    """Where a file is below the top of the repository."""
    here = Path.cwd().resolve() if file.startswith(("./", "../")) else top
    inside = Path(os.path.relpath(here / file, top)).as_posix()
    if inside.startswith("../"):
        raise SpecError(_refused(f"'{file}' is not in this repository", "name a file below it"))
    return inside


def _top(revision: str) -> Path:
    return Path(os.fsdecode(_git(["rev-parse", "--show-toplevel"], revision)).removesuffix("\n")).resolve()


def _commit(revision: str) -> str:
    """The hash of a revision: whatever the user wrote, git sees nothing else of it from here on."""
    asked = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
    found = _asked(asked).stdout.decode().strip()
    if not re.fullmatch(r"[0-9a-f]{40,64}", found):
        raise SpecError(_refused(f"git knows no revision '{revision}'", LOG))
    return found


def _fill(folder: Path, commit: str) -> dict[str, str]:
    """Write what a spec may read, and the marks of the folders that it may not leave.

    Returns:
        the links that are not followed, and where each leads.
    """
    entries = _entries(commit)
    specs = [entry for entry in entries if entry.name.endswith(SUFFIX) and entry.mode in (*FILES, LINK)]
    contents = _contents([entry.hash for entry in specs])
    for entry in specs:
        if entry.mode in FILES:
            _made(folder, entry.name).write_bytes(contents[entry.hash])
    (folder / ".git").touch()
    for entry in entries:
        if posixpath.basename(entry.name) in MARKS:
            _made(folder, entry.name).touch()
    return _link(folder, {one.name: os.fsdecode(contents[one.hash]) for one in specs if one.mode == LINK})


def _made(folder: Path, name: str) -> Path:
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _link(folder: Path, links: dict[str, str]) -> dict[str, str]:
    """Make the links that lead to a spec of the same revision; returns the others."""
    left = {}
    for name, target in links.items():
        found = name
        for _ in range(LINKS):
            found = posixpath.normpath(posixpath.join(posixpath.dirname(found), links.get(found, found)))
            if found not in links:
                break
        if _plain(found) and found.endswith(SUFFIX) and (folder / found).is_file():
            _made(folder, name).symlink_to(folder / found)
        else:
            left[name] = target
    return left


def _entries(commit: str) -> list[_Entry]:
    """What a revision holds, but for names that no folder can take."""
    listed = os.fsdecode(_git(["ls-tree", "-r", "-z", "--full-tree", commit], commit))
    found = []
    for line in listed.split("\0")[:-1]:
        facts, _, name = line.partition("\t")
        mode, _, hash = facts.split(" ")
        if _plain(name):
            found.append(_Entry(mode, hash, name))
    return found


def _plain(name: str) -> bool:
    parts = name.split("/")
    return all(PLAIN.fullmatch(part) and part not in (".", "..", ".git") for part in parts)


def _contents(hashes: Sequence[str]) -> dict[str, bytes]:
    """The objects by their hashes; of what is larger than a spec may be, so much that it shows."""
    sizes = {}
    for line in _objects("--batch-check", hashes).decode().splitlines():
        hash, _, size = line.split(" ")
        sizes[hash] = int(size)
    small = [hash for hash, size in sizes.items() if size <= BYTES]
    found = dict.fromkeys(sizes, b" " * (BYTES + 1))
    data, at = _objects("--batch", small), 0
    for hash in small:
        start = data.index(b"\n", at) + 1
        found[hash] = data[start : start + sizes[hash]]
        at = start + sizes[hash] + 1
    return found


def _objects(how: str, hashes: Sequence[str]) -> bytes:
    ran = _asked(["cat-file", how], "".join(f"{hash}\n" for hash in hashes).encode())
    if ran.returncode or (how == "--batch-check" and b" missing\n" in ran.stdout):
        fix = "fetch the rest: git fetch --refetch --no-filter"
        raise SpecError(_refused("this clone has not got every file of the revision", fix))
    return ran.stdout


def _git(arguments: list[str], revision: str) -> bytes:
    ran = _asked(arguments)
    if ran.returncode:
        said = ran.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise SpecError(_refused(f"git cannot read '{revision}': {said}", LOG))
    return ran.stdout


def _asked(arguments: list[str], given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", *arguments], input=given, capture_output=True, check=False, env={**os.environ, **LOCAL}
        )
    except FileNotFoundError:
        raise SpecError(_refused("git is not installed, so there are no revisions", "compare two files")) from None


def _refused(message: str, fix: str) -> Diagnostic:
    return Diagnostic("XC001", message, fixes=(fix,), stage="parse")


def _with_links(finding: Diagnostic, left: dict[str, str], revision: str) -> Diagnostic:
    """The finding, with a word on a file that is a link when it is about one."""
    notes = [
        Note(f"{revision}:{name} is a link to '{target}', no spec of this revision, and is not followed")
        for name, target in left.items()
        if finding.code in ("XC001", "XC025") and posixpath.basename(name) in finding.message
    ]
    return attrs.evolve(finding, notes=(*finding.notes, *notes))
