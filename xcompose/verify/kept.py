"""Keeps what was found about a spec, until something changes that it depends on.

What a report depends on, and where it is looked for:

- what was asked: the reference as written (findings repeat it), overrides, stages, seed, suggestion: in the name
- where the file is, links followed, and what its `extends` may not leave: in the name
- the text of every file that was read: beside the report, compared when it is looked up
- where the packages are that `extends` names: beside the report, compared when it is looked up
- xcompose and its built-in plugins: the content of all files of their packages, in the name
- third-party plugins that `XCOMPOSE_PLUGINS` lets in: version, the content of all files of their packages, and what is
  wrong with them, in the name
- torch and everything else: names and versions of all installed distributions, in the name. What another
  distribution than the plugin's own brings is seen by its version alone, and an edit of its files is not
- Python and the processor: versions, architecture, instruction sets, and variables that torch heeds, in the name

Times of files count for nothing, so that a cache moves from one machine of a kind to another; only a file of a package
that is too large to be read each time is known by its size and time. What depends on the
moment is not kept: files that are not there, memory that runs out, parts that raise, a process that dies, and what a
compiler does.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import attrs

from xcompose import cache
from xcompose.cache import digest
from xcompose.diagnostics import Diagnostic
from xcompose.diagnostics.data import as_text
from xcompose.diagnostics.sources import SOURCES
from xcompose.registry.discovery import third_party
from xcompose.registry.stamps import BUILT_IN
from xcompose.spec.files import boundary_of, split
from xcompose.spec.reading import CHANGED, beginning, fingerprint, package_folder
from xcompose.verify.results import OPTIONAL, SpecReport

FOLDER = "checks"
MOST = 4096
"""Entries; one is a few kilobytes."""
LARGE = 1 << 24
"""Bytes from which on a file of a package is not read."""
OF_THE_MOMENT = {"XC001", "XC002", "XC025", "XC040", "XC053", "XC096"}
"""Codes of findings that may be gone although nothing changed that is compared."""
CPUINFO = Path("/proc/cpuinfo")
HEEDED = ("ATEN_", "DNNL_", "MKL_", "ONEDNN_", "PYTORCH_", "TORCH_")
"""How the variables begin that change how torch computes."""


def circumstances(
    sets: Sequence[str], stages: Sequence[str], seed: int, suggest: bool, broken: Sequence[Diagnostic] = ()
) -> str:
    """Of everything that reports depend on beside the specs: 32 digits.

    Args:
        sets, stages, seed, suggest: what is asked.
        broken: what is wrong with plugins.
    """
    asked = json.dumps([list(sets), list(stages), seed, suggest, [[one.code, one.message] for one in broken]])
    return digest(asked, code(), plugins(), installed(), machine())


def code() -> str:
    """Of the packages of xcompose and its built-in plugins."""
    return digest(*_sources("xcompose"), *_sources(BUILT_IN))


def plugins() -> str:
    """Of the third-party plugins that are in use: who they are, and their packages."""
    found = third_party()
    who = json.dumps([attrs.astuple(one) for one in found])
    packages = dict.fromkeys(one.module.partition(":")[0].partition(".")[0] for one in found)
    return digest(who, *(piece for package in packages for piece in _sources(package)))


def installed() -> str:
    """Of the names and versions of all installed distributions."""
    names = {name for folder in sys.path for name in _listed(folder) if name.endswith((".dist-info", ".egg-info"))}
    return digest(*sorted(names))


def machine() -> str:
    """Of Python and the processor."""
    heeded = sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith(HEEDED))
    return digest(sys.version, platform.system(), platform.machine(), *_instruction_sets(), *heeded)


def _instruction_sets() -> list[str]:
    try:
        with CPUINFO.open() as stream:
            lines = stream.read(8192).splitlines()
    except OSError:  # not Linux
        return [platform.processor()]
    return [line for line in lines if line.startswith(("flags", "Features"))][:1]


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder or ".")
    except OSError:  # a zip file, or a place that is not there
        return []


def _sources(package: str) -> Iterator[str | bytes]:
    """Name and content of every file of a top-level package or module."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):  # a finder that fails, or a module without a spec
        return
    if spec is None:
        return
    folders = spec.submodule_search_locations
    files = [Path(spec.origin or "")] if folders is None else [file for folder in folders for file in _below(folder)]
    for file in files:
        yield file.name
        try:
            seen = file.stat()
            yield file.read_bytes() if seen.st_size < LARGE else f"{seen.st_size} {seen.st_mtime_ns}"
        except OSError:  # a module without a file, or a broken link
            yield "absent"


def _below(folder: str) -> Iterator[Path]:
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if f != "__pycache__")
        yield from (Path(path, name) for name in sorted(names))


class Kept:
    """Reports of earlier runs in the same circumstances.

    Args:
        of: the circumstances; empty where nothing is kept.
    """

    def __init__(self, of: str):
        self.of = of
        self._now: dict[str, str] = {}

    def find(self, reference: str) -> SpecReport | None:
        """What was found about a spec, where nothing has changed since."""
        name = self._name(reference) if self.of else ""
        entry = cache.read(name) if name else None
        try:
            if entry is None or entry["sum"] != _sum(entry["data"]) or not self._as_it_was(entry["data"]["files"]):
                return None
            report = SpecReport.from_data(entry["data"]["report"])
            shown = {as_text(file): as_text(text) for file, text in entry["data"]["texts"].items()}
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):  # damaged
            return None
        for file, text in shown.items():
            SOURCES.register(file, text)
        cache.touch(name)
        return attrs.evolve(report, unchanged=True)

    def keep(self, reference: str, report: SpecReport, files: Mapping[str, str], stages: Iterable[str]) -> None:
        """Keep what was found, if it depends on nothing but what is compared.

        Args:
            reference: FILE or FILE@VARIANT.
            report: about it.
            files: what was read, as `spec.reading.recorded` has it.
            stages: that were asked for.
        """
        momentary = any(finding.code in OF_THE_MOMENT for finding in report.findings)
        if not self.of or momentary or CHANGED in files.values() or set(stages) & set(OPTIONAL):
            return
        data = {"files": dict(files), "report": report.as_data(), "texts": texts_of(report)}
        cache.write(self._name(reference), {"sum": _sum(data), "data": data})

    def _name(self, reference: str) -> str:
        place = Path(split(reference)[0])
        if place.is_symlink() and not place.exists():  # resolving links in a circle fails
            return ""
        return f"{FOLDER}/{digest(self.of, reference, str(place.resolve()), str(boundary_of(place)))}"

    def _as_it_was(self, files: Mapping[str, str]) -> bool:
        return (
            bool(files)
            and CHANGED not in files.values()
            and all(self._digest_now(file) == known for file, known in files.items())
        )

    def _digest_now(self, file: str) -> str:
        if file not in self._now:
            try:
                self._now[file] = _read_now(file)
            except OSError:  # gone
                self._now[file] = CHANGED
        return self._now[file]


def _read_now(name: str) -> str:
    """What `spec.reading.recorded` would have of a file, by its absolute path, or of a package, by its name."""
    place = Path(name)
    if place.is_absolute():
        return fingerprint(place, beginning(place)) if place.is_file() else CHANGED  # nothing comes out of a pipe
    return str(package_folder(name) or CHANGED) if name.isidentifier() else CHANGED


def forget_old() -> None:
    """Keep no more reports than a few thousand."""
    cache.trim(FOLDER, MOST)


def texts_of(report: SpecReport) -> dict[str, str]:
    """The texts that findings point into, by the names that findings give them."""
    places = {p for f in report.findings for p in (f.span, *(note.span for note in f.notes)) if p}
    texts = {place.file: SOURCES.text(place.file) for place in places}
    return {file: text for file, text in sorted(texts.items()) if text is not None}


def _sum(data: object) -> str:
    return digest(json.dumps(data, sort_keys=True))
