"""Run a spec through every stage: read it, compose it, count it, and measure that it keeps its promises.

Reading and checking against the schemas need no torch; the stages behind them are imported when they are asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.registry import Registry, load
from xcompose.spec import files as files_of_specs
from xcompose.spec import resolve
from xcompose.spec.model import Spec
from xcompose.verify.results import MEASURED, OPTIONAL, STAGES, UNMET, Report, SpecReport, Stage, Status, failed

if TYPE_CHECKING:
    from xcompose.verify.stages import Known, Later


def check_spec(
    reference: str, sets: Sequence[str] = (), *, stages: Iterable[str] = STAGES, seed: int = 0,
    registry: Registry | None = None, suggest: bool = False,
) -> SpecReport:  # fmt: skip
    """Run one spec through its stages, up to the first that fails.

    Args:
        reference: FILE, FILE@VARIANT or FILE@A+B.
        sets: overrides, PATH=VALUE each.
        stages: which ones to run; an earlier one that a later one needs runs anyway.
        seed: of the random sequences.
        registry: where components are looked up; None is everything installed.
        suggest: also write an `expect` section that holds today.
    """
    return Checker(registry or load(), seed, _wanted(stages)).check(reference, tuple(sets), suggest=suggest)


def check_files(
    files: Iterable[str | Path], sets: Sequence[str] = (), *, stages: Iterable[str] = STAGES, seed: int = 0,
    registry: Registry | None = None, done: Callable[[SpecReport], None] = lambda report: None,
) -> Report:  # fmt: skip
    """Run files with all their variants through the stages.

    Args:
        files: FILE alone is checked with all its variants, FILE@VARIANT by itself.
        sets: overrides, applied to each.
        stages, seed, registry: as for `check_spec`.
        done: called after each spec, to show progress.
    """
    began = time.perf_counter()
    checker = Checker(registry or load(), seed, _wanted(stages))
    reports = []
    for reference in _references(files):
        reports.append(checker.check(reference, tuple(sets)))
        done(reports[-1])
    return Report(tuple(reports), time.perf_counter() - began)


def _wanted(stages: Iterable[str]) -> tuple[str, ...]:
    every = (*STAGES, *OPTIONAL)
    asked = list(stages)
    assert all(stage in every for stage in asked), f"stages are {', '.join(every)}"
    last = max(every.index(stage) for stage in asked)
    optional = [stage for stage in OPTIONAL if stage in asked]
    return (*STAGES[: last + 1], *optional)


def _references(files: Iterable[str | Path]) -> Iterable[str]:
    for file in map(str, files):
        yield file
        if "@" not in file:
            yield from (f"{file}@{variant}" for variant in _variants(file))


def _variants(file: str) -> Iterable[str]:
    try:
        return files_of_specs.variants_of(file)
    except SpecError:
        return ()  # the file is broken, and checking it says how


@attrs.define(eq=False)
class Checker:
    """Checks specs one after the other, and measures nothing twice."""

    registry: Registry
    seed: int
    stages: tuple[str, ...]
    _known: Known | None = None

    def check(self, reference: str, sets: tuple[str, ...] = (), *, suggest: bool = False) -> SpecReport:
        """Run one spec through the stages."""
        run = self.begin(reference, sets)
        for stage in self.stages:
            if not run.through(stage):
                break
        return run.report(suggest)

    def begin(self, reference: str, sets: tuple[str, ...] = ()) -> Run:
        """A spec before its first stage; `Run.through` takes it from one to the next."""
        return Run(self, reference, sets)

    def later(self, spec: Spec, reference: str, sets: tuple[str, ...]) -> Later:
        """A spec before the first stage that needs a model, and torch with it."""
        from xcompose.verify.stages import Known, Later

        if self._known is None:
            self._known = Known()
        return Later(spec, reference, sets, self.registry, self.seed, self._known)


@attrs.define(eq=False)
class Run:
    """One spec on its way through the stages."""

    checker: Checker
    reference: str
    sets: tuple[str, ...]
    spec: Spec | None = None
    stages: list[Stage] = attrs.field(factory=list)
    findings: list[Diagnostic] = attrs.field(factory=list)
    _later: Later | None = None

    def through(self, name: str) -> bool:
        """Run a stage; whether the next one may follow."""
        began = time.perf_counter()
        if self.spec is not None and self.spec.model is None:
            self.stages.append(Stage(name, "skipped", remark="no model"))
            return True
        found = self._run(name)
        self.findings += found
        bad = failed(found)
        unmet = bad and all(f.code == UNMET for f in found if f.severity == "error")
        skipped = name in MEASURED and (self._later is None or self._later.subject is None)
        status: Status = "failed" if bad else "skipped" if skipped else "passed"
        seconds = time.perf_counter() - began
        self.stages.append(Stage(name, status, seconds, "expect" if unmet else "too large" if skipped else ""))
        return not bad

    def report(self, suggest: bool) -> SpecReport:
        name = self.spec.name if self.spec else Path(self.reference).name.replace(".xc.yaml", "")
        later = self._later
        return SpecReport(
            name, self.reference.partition("@")[0], tuple(self.stages), tuple(self.findings),
            measured=later.said if later else "", results=later.results if later else {},
            suggestion=later.suggestion() if later and suggest else "",
        )  # fmt: skip

    def _run(self, name: str) -> list[Diagnostic]:
        catalogue = self.checker.registry.catalogue
        if name == "parse":
            _, found = resolve.check(self.reference, (), catalogue, until="parse")
            return [attrs.evolve(f, stage="parse") for f in found if f.severity == "error"]
        if name == "schema":
            self.spec, found = resolve.check(self.reference, self.sets, catalogue)
            return found
        if self._later is None:
            assert self.spec is not None
            self._later = self.checker.later(self.spec, self.reference, self.sets)
        return self._later.run(name)
