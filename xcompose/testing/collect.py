"""Specs as tests of pytest: one for each stage, of a file and of each of its variants."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.diagnostics.render import prepared, text, visible
from xcompose.verify.results import STAGES, Stage

if TYPE_CHECKING:
    from xcompose.verify.runner import Checker, Run

CHECKER: pytest.StashKey[Checker] = pytest.StashKey()
CHOSEN: pytest.StashKey[frozenset[str]] = pytest.StashKey()
WALK: pytest.StashKey[Walk] = pytest.StashKey()
MET: pytest.StashKey[set[str]] = pytest.StashKey()
"""The patterns of `xcompose_specs` that some spec of the walk fits."""


class Wrong(Exception):
    """A stage failed; what is shown of it is the text of its findings."""

    def __init__(self, findings: tuple[Diagnostic, ...]):
        super().__init__(text(findings))
        self.findings = findings


def wanted(path: Path, session: pytest.Session) -> bool:
    """Whether a spec is a test: named on the command line, or by `xcompose_specs`."""
    if session.isinitpath(path):
        return True
    root = _root(session.config)
    fitting = {pattern for pattern in session.config.getini("xcompose_specs") if _matches(path, root, pattern)}
    if any(session.isinitpath(place) for place in path.parents):  # else it is only beside what is walked
        session.stash.setdefault(MET, set()).update(fitting)
    return bool(fitting)


def _root(config: pytest.Config) -> Path:
    """What the patterns of the settings start from."""
    return config.inipath.parent if config.inipath else config.rootpath


def _matches(path: Path, root: Path, pattern: str) -> bool:
    """Whether a file is the one, lies below the folder, or fits the pattern; nothing is looked up."""
    if path.is_relative_to(os.path.normpath(root / pattern)):
        return True
    return _fits(path.parts, Path(os.path.normpath(os.path.join(glob.escape(str(root)), pattern))).parts)


def _fits(names: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path fits a pattern, part by part; `**` is any number of parts."""
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(_fits(names[k:], pattern[1:]) for k in range(len(names) + 1))
    return bool(names) and fnmatch(names[0], pattern[0]) and _fits(names[1:], pattern[1:])


def refuse_idle_patterns(session: pytest.Session) -> None:
    """Of a run of everything: a setting that no spec fits is an error of the collection, and no green run.

    A run that is told to leave files out is warned. An error, not an exception: workers of xdist hand errors on.
    """
    config = session.config
    met = session.stash.get(MET, set())
    idle = [pattern for pattern in config.getini("xcompose_specs") if pattern not in met]
    if not idle or not _runs_everything(config):
        return
    said = (
        f"xcompose_specs names {', '.join(map(repr, idle))}, but no spec that pytest found fits: "
        f"a spec ends in .xc.yaml, lies in `testpaths`, and not in `norecursedirs`"
    )
    if config.option.ignore or config.option.ignore_glob:
        warnings.warn(pytest.PytestWarning(said), stacklevel=1)
    else:
        session.ihook.pytest_collectreport(report=pytest.CollectReport("xcompose_specs", "failed", said, []))


def _runs_everything(config: pytest.Config) -> bool:
    """Whether no file and no folder was named, nor the run begun below the settings."""
    sources = config.ArgsSource
    if config.args_source is sources.INVOCATION_DIR:
        return config.invocation_params.dir == _root(config)
    return config.args_source is sources.TESTPATHS


def last_stage(config: pytest.Config) -> str:
    """The last stage to run.

    Raises:
        UsageError: there is no such stage.
    """
    stage = config.getoption("xc_stage") or config.getini("xcompose_stage") or STAGES[-1]
    if stage not in STAGES:
        raise pytest.UsageError(f"there is no stage '{stage}' of specs: {', '.join(STAGES)}")
    return stage


def seed_of(config: pytest.Config) -> int:
    """The seed of the random sequences.

    Raises:
        UsageError: it is no whole number.
    """
    given = config.getoption("xc_seed")
    seed = config.getini("xcompose_seed") or "0" if given is None else str(given)
    if not seed.isdecimal():
        raise pytest.UsageError(f"a seed is a whole number, found '{seed}'")
    return int(seed)


class Walk:
    """One spec on its way through the stages: each runs once, whichever test asks for it first."""

    def __init__(self, of: pytest.Collector, variant: str):
        self.path, self.variant, self.session = of.path, variant, of.session
        self._run: Run | None = None
        self._passed: dict[str, tuple[Stage, tuple[Diagnostic, ...]]] = {}

    @property
    def reference(self) -> str:
        """As a command line in this folder names it."""
        here = Path.cwd()
        file = self.path.relative_to(here) if self.path.is_relative_to(here) else self.path
        return f"{file}@{self.variant}" if self.variant else str(file)

    def through(self, name: str) -> tuple[Stage, tuple[Diagnostic, ...]]:
        """A stage and what it finds; where an earlier one fails, that one."""
        for each in STAGES[: STAGES.index(name) + 1]:
            if each not in self._passed:
                self._step(each)
            if self._passed[each][0].status == "failed":
                return self._passed[each]
        return self._passed[name]

    def _step(self, name: str) -> None:
        if self._run is None:
            self._run = checker(self.session).begin(self.reference)
        known = len(self._run.findings)
        self._run.through(name)
        self._passed[name] = self._run.stages[-1], tuple(self._run.findings[known:])

    def forget(self) -> None:
        """Let models go; the next stage begins anew."""
        self._run = None
        self._passed.clear()


def checker(session: pytest.Session) -> Checker:
    """The one of the whole run, which measures nothing twice."""
    from xcompose.registry import load
    from xcompose.verify.runner import Checker

    if CHECKER not in session.stash:
        session.stash[CHECKER] = Checker(load(), seed_of(session.config), STAGES)
    return session.stash[CHECKER]


class SpecFile(pytest.File):
    """A spec: the stages of the file itself, then its variants."""

    def collect(self) -> Iterator[StageTest | Variant]:
        """Reads no more than the names of the variants; what is wrong with the file, its stages say."""
        from xcompose.spec.files import variants_of

        yield from _stages(self, "")
        try:
            names = variants_of(self.path)
        except SpecError:
            names = ()
        for name in names:
            yield Variant.from_parent(self, name=f"@{name}")

    def teardown(self) -> None:
        self.stash[WALK].forget()


class Variant(pytest.Collector):
    """The stages of a variant; it is called `@NAME`, since a variant may have the name of a stage."""

    def collect(self) -> Iterator[StageTest]:
        yield from _stages(self, self.name.removeprefix("@"))

    def teardown(self) -> None:
        self.stash[WALK].forget()


def _stages(parent: pytest.Collector, variant: str) -> Iterator[StageTest]:
    for stage in STAGES[: STAGES.index(last_stage(parent.config)) + 1]:
        yield StageTest.from_parent(parent, name=stage, walk=parent.stash.setdefault(WALK, Walk(parent, variant)))


class StageTest(pytest.Item):
    """One stage of a spec."""

    def __init__(self, *, walk: Walk, **facts: Any):
        super().__init__(**facts)
        self.walk = walk

    def runtest(self) -> None:
        """Fail with what is wrong; skip behind a stage that fails as a test of its own."""
        stage, findings = self.walk.through(self.name)
        assert self.parent is not None
        if stage.status == "failed" and stage.name != self.name and self._runs(f"{self.parent.nodeid}::{stage.name}"):
            pytest.skip(f"{self.walk.reference}: {stage.name} failed")
        if stage.status == "failed":
            raise Wrong(findings)
        if findings:
            self.add_report_section("call", "findings", text(findings))
        if stage.status == "skipped":
            pytest.skip(f"{self.walk.reference}: {stage.remark}")

    def _runs(self, nodeid: str) -> bool:
        stash = self.session.stash
        if CHOSEN not in stash:
            stash[CHOSEN] = frozenset(item.nodeid for item in self.session.items)
        return nodeid in stash[CHOSEN]

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The located findings, without a traceback: nothing is wrong in Python."""
        if not isinstance(excinfo.value, Wrong):
            return excinfo.getrepr(style="short", tbfilter=lambda info: info.traceback.cut(path=Path(__file__)))
        shown: Any = excinfo.getrepr(style="value")
        errors = [f for f in prepared(excinfo.value.findings) if f.severity == "error"]
        first, crash = errors[0], shown.reprcrash
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        crash.path, crash.lineno = (first.span.file, first.span.line) if first.span else (str(self.path), 1)
        crash.message = f"{first.code}: {visible(first.message)}{more}"
        return shown

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"{self.walk.reference}: {self.name}"
