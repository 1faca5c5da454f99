"""What was found about a spec is shown again while nothing has changed that it depends on."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from xcompose import cache, registry
from xcompose.diagnostics import Diagnostic
from xcompose.diagnostics.sources import SOURCES
from xcompose.registry import discovery
from xcompose.spec.reading import recorded
from xcompose.verify import kept
from xcompose.verify.kept import Kept, circumstances, forget_old
from xcompose.verify.results import SpecReport
from xcompose.verify.runner import Checker

STAGES = ("parse", "schema")
MINE = "xcompose: 1\nextends: base.xc.yaml\nmodel: {norm: lyer}\nvariants: {wide: {model: {dim: 64}}}\n"
BASE = "xcompose: 1\nmodel: {type: decoder, dim: 32, layers: 2}\n"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XCOMPOSE_CACHE", str(tmp_path / "cache"))
    Path("mine.xc.yaml").write_text(MINE)
    Path("base.xc.yaml").write_text(BASE)
    return tmp_path


def checked(reference: str = "mine.xc.yaml", of: str = "now", stages=STAGES, **known) -> SpecReport:
    """Check a spec and keep the report."""
    with recorded() as files:
        report = Checker(registry.load(), 0, STAGES).check(reference)
    report = attrs.evolve(report, **known)
    Kept(of).keep(reference, report, files, stages)
    return report


def entries() -> list[Path]:
    return sorted(Path("cache/checks").glob("*.json"))


def test_a_report_comes_back_as_it_was_with_its_texts(monkeypatch):
    report = checked()
    SOURCES.register("mine.xc.yaml", "something else")

    found = Kept("now").find("mine.xc.yaml")

    assert found == attrs.evolve(report, unchanged=True)
    assert not report.ok
    assert SOURCES.text("mine.xc.yaml") == MINE


@pytest.mark.parametrize("file", ["mine.xc.yaml", "base.xc.yaml"])
def test_it_does_not_when_a_file_has_changed_or_is_gone(file):
    checked()
    Path(file).write_text(Path(file).read_text() + "# more\n")
    assert Kept("now").find("mine.xc.yaml") is None

    checked()
    Path(file).unlink()
    assert Kept("now").find("mine.xc.yaml") is None


def test_it_does_not_when_a_package_is_found_elsewhere(here, monkeypatch):
    for folder in "ab":
        (here / folder / "acme_bases").mkdir(parents=True)
        (here / folder / "acme_bases" / "base.xc.yaml").write_text(BASE)
    Path("mine.xc.yaml").write_text(MINE.replace("base.xc.yaml", "acme_bases:base"))
    monkeypatch.syspath_prepend(str(here / "a"))
    checked()
    assert Kept("now").find("mine.xc.yaml") is not None

    monkeypatch.syspath_prepend(str(here / "b"))
    assert Kept("now").find("mine.xc.yaml") is None
    monkeypatch.setattr("sys.path", [p for p in sys.path if not p.startswith(str(here))])
    assert Kept("now").find("mine.xc.yaml") is None


def test_times_of_files_count_for_nothing():
    checked()
    os.utime("mine.xc.yaml", (1, 1))

    assert Kept("now").find("mine.xc.yaml") is not None


def test_each_spec_has_its_own(here, monkeypatch):
    checked()
    assert Kept("now").find("mine.xc.yaml@wide") is None
    assert Kept("then").find("mine.xc.yaml") is None
    assert Kept("").find("mine.xc.yaml") is None
    assert Kept("now").find(str(here / "mine.xc.yaml")) is None, "findings name the file as it was asked for"

    (here / ".git").mkdir()
    checked()
    assert len(entries()) == 1, "the folder is the boundary with and without .git"
    (here / "other").mkdir()
    for file in ("mine.xc.yaml", "base.xc.yaml"):
        (here / "other" / file).write_text(Path(file).read_text())
    monkeypatch.chdir(here / "other")
    assert Kept("now").find("mine.xc.yaml") is None


def test_what_depends_on_the_moment_is_not_kept():
    report = checked(of="")
    assert entries() == []
    for code in kept.OF_THE_MOMENT:
        checked(findings=tuple(attrs.evolve(finding, code=code) for finding in report.findings))
    checked(stages=(*STAGES, "compile"))
    checked("absent.xc.yaml")
    Path("mine.xc.yaml").write_text(MINE.replace("base", "gone"))
    checked()

    assert entries() == []


def test_a_damaged_entry_is_as_good_as_none():
    checked()
    (entry,) = entries()
    whole = entry.read_text()
    assert Kept("now").find("mine.xc.yaml") is not None
    data = json.loads(whole)
    for damaged in (
        "",
        "[]",
        "null",
        "{}",
        whole[:-9],
        whole.replace("lyer", "layer"),
        json.dumps({"sum": data["sum"]}),
    ):
        entry.write_text(damaged)
        assert Kept("now").find("mine.xc.yaml") is None, damaged


def _without(data: Any, *path: Any) -> None:
    for step in path[:-1]:
        data = data[step]
    del data[path[-1]]


def _with(value: Any, data: Any, *path: Any) -> None:
    for step in path[:-1]:
        data = data[step]
    data[path[-1]] = value


FINDING = ("report", "findings", 0)
STAGE = ("report", "stages", 0)


@pytest.mark.parametrize("path", [("texts",), ("files",), ("report",), ("report", "spec"), (*FINDING, "code")], ids=str)
def test_a_report_with_less_is_as_good_as_none(path):
    data = entry_of_mine()
    _without(data, *path)
    put(data)

    assert Kept("now").find("mine.xc.yaml") is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("texts",), ["a"]),
        (("texts",), {"a": 5}),
        (("files",), {}),
        (("files",), ["a"]),
        (("files",), {"/\0": "x"}),
        (("files",), {"os.path": "changed"}),
        (("report", "spec"), 5),
        (("report", "results"), 5),
        (("report", "results"), "ab"),
        (("report", "suggestion"), None),
        (("report", "stages"), ["a"]),
        ((*STAGE, "seconds"), "x"),
        ((*STAGE, "status"), "fine"),
        ((*STAGE, "status"), []),
        ((*STAGE, "more"), 1),
        ((*FINDING, "severity"), "grave"),
        ((*FINDING, "message"), 5),
        ((*FINDING, "fixes"), [5]),
        ((*FINDING, "notes"), [{"text": 5, "span": None}]),
        ((*FINDING, "span", "line"), "x"),
        ((*FINDING, "span"), 5),
    ],
    ids=str,
)
def test_a_report_of_another_form_is_as_good_as_none(path, value):
    data = entry_of_mine()
    _with(value, data, *path)
    put(data)

    assert Kept("now").find("mine.xc.yaml") is None


def entry_of_mine() -> Any:
    """What is kept of a spec with findings."""
    checked()
    (entry,) = entries()
    return json.loads(entry.read_text())["data"]


def put(data: Any) -> None:
    """Keep it with the sum that it ought to have."""
    (entry,) = entries()
    entry.write_text(json.dumps({"sum": kept._sum(data), "data": data}))


def test_nothing_is_read_from_a_pipe(here):
    data = entry_of_mine()
    os.mkfifo(here / "pipe")
    data["files"] = {str(here / "pipe"): "x"}
    put(data)

    assert Kept("now").find("mine.xc.yaml") is None


def test_old_entries_are_forgotten_first(monkeypatch):
    monkeypatch.setattr(kept, "MOST", 2)
    for of in "abc":
        checked(of=of)
        os.utime(f"cache/{Kept(of)._name('mine.xc.yaml')}.json", (ord(of), ord(of)))
    assert Kept("a").find("mine.xc.yaml") is not None, "which puts it to use"

    forget_old()

    assert [Kept(of).find("mine.xc.yaml") is not None for of in "abc"] == [True, False, True]


def test_without_a_cache_nothing_is_found_and_nothing_fails(monkeypatch):
    monkeypatch.setenv("XCOMPOSE_CACHE", "none")
    checked()
    forget_old()

    assert Kept("now").find("mine.xc.yaml") is None


class TestCircumstances:
    def now(self, sets=(), stages=STAGES, seed=0, suggest=False) -> str:
        return circumstances(sets, stages, seed, suggest)

    def test_the_same_question_twice(self):
        assert self.now() == self.now()

    def test_what_was_asked(self):
        asked = [
            self.now(), self.now(("a=1",)), self.now(("a=1", "b=2")), self.now(("a=1 b=2",)), self.now((), ("parse",)),
            self.now((), STAGES, 1), self.now((), STAGES, 0, True),
        ]  # fmt: skip

        assert len(set(asked)) == len(asked)

    def test_what_is_wrong_with_plugins(self):
        said = [Diagnostic("XC050", "plugin 'a' is not in use"), Diagnostic("XC050", "plugin 'b' is not in use")]
        asked = [circumstances((), STAGES, 0, False, broken) for broken in ((), said[:1], said[1:], said)]

        assert len(set(asked)) == 4

    def test_variables_that_torch_heeds(self, monkeypatch):
        before = self.now()
        monkeypatch.setenv("SOMETHING_ELSE", "1")
        assert self.now() == before
        monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
        assert self.now() != before

    @pytest.mark.parametrize("part", ["code", "plugins", "installed", "machine"])
    def test_everything_around(self, monkeypatch, part):
        before = self.now()
        monkeypatch.setattr(kept, part, lambda: "other")

        assert self.now() != before

    def test_code_is_known_by_its_content(self, here, monkeypatch):
        package = here / "packed"
        package.mkdir()
        (package / "a.py").write_text("one = 1\n")
        monkeypatch.syspath_prepend(str(here))
        stamps = []
        for change in (
            lambda: None,
            lambda: os.utime(package / "a.py", (1, 1)),
            lambda: (package / "a.py").write_text("two = 1\n"),
            lambda: (package / "a.py").rename(package / "b.py"),
            lambda: (package / "data.bin").write_bytes(b"123"),
            lambda: (package / "__pycache__").mkdir(),
            lambda: (package / "data.bin").write_bytes(b"124"),
        ):
            change()
            stamps.append(cache.digest(*kept._sources("packed")))

        assert stamps[0] == stamps[1]
        assert stamps[4] == stamps[5]
        assert len(set(stamps)) == 5
        monkeypatch.setattr(kept, "LARGE", 3)
        stamps = []
        for time in (1, 1, 2):
            os.utime(package / "data.bin", (time, time))
            stamps.append(cache.digest(*kept._sources("packed")))
        assert stamps[0] == stamps[1] != stamps[2]
        assert list(kept._sources("not_installed_anywhere")) == []

    def test_plugins_by_their_version_and_content(self, here, monkeypatch):
        found = discovery.Found("acme_parts.mean", "acme-parts", "1.0", "acme", "mean")
        monkeypatch.syspath_prepend(str(here))
        (here / "acme_parts.py").write_text("one = 1\n")
        stamps = []
        for version, text in (("1.0", "one = 1\n"), ("1.1", "one = 1\n"), ("1.1", "two = 1\n")):
            (here / "acme_parts.py").write_text(text)
            now = attrs.evolve(found, version=version)
            monkeypatch.setattr(kept, "third_party", lambda now=now: (now,))
            stamps.append(kept.plugins())
        monkeypatch.setattr(kept, "third_party", tuple)

        assert len({*stamps, kept.plugins()}) == 4

    def test_distributions_by_their_names_and_versions(self, here, monkeypatch):
        before = kept.installed()
        monkeypatch.syspath_prepend(str(here))
        assert kept.installed() == before
        (here / "torchbits-1.0.dist-info").mkdir()
        first = kept.installed()
        (here / "torchbits-1.0.dist-info").rename(here / "torchbits-1.1.dist-info")

        assert len({before, first, kept.installed()}) == 3

    def test_processors_by_what_they_can_do(self, here, monkeypatch):
        stamps = []
        for flags in ("fpu avx2", "fpu avx2 avx512f", None):
            monkeypatch.setattr(kept, "CPUINFO", here / ("cpuinfo" if flags else "none"))
            (here / "cpuinfo").write_text(f"model name\t: x\nflags\t\t: {flags}\nMHz: {len(stamps)}\n")
            stamps.append(kept.machine())

        assert len(set(stamps)) == 3
