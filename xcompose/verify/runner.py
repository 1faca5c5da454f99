"""Run a spec through every stage: read it, compose it, count it, and measure that it keeps its promises."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import nn

from xcompose.compose.build import build_model, plan_model
from xcompose.compose.objectives import search_findings
from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.registry import Registry, load
from xcompose.spec import files as files_of_specs
from xcompose.spec import resolve
from xcompose.spec.model import Spec
from xcompose.verify import (
    alive,
    causal,
    decode,
    deterministic,
    expect,
    gradients,
    padding,
    precision,
    saving,
    sizes,
    spans,
    stored,
    work,
)
from xcompose.verify.blame import raised
from xcompose.verify.facts import Facts
from xcompose.verify.results import OPTIONAL, STAGES, Report, SpecReport, Stage, Status, failed
from xcompose.verify.subject import Subject

Certificate = Callable[[Subject, int], list[Diagnostic]]
CONTRACTS: tuple[Certificate, ...] = (
    spans.certify, causal.certify, alive.certify, padding.certify, decode.certify,
)  # fmt: skip
NUMERICS: tuple[Certificate, ...] = (
    gradients.certify, deterministic.certify, precision.certify, saving.certify, stored.certify, work.certify,
)  # fmt: skip
TINY = "tiny"
UNMEASURED = "XC060"


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
    _measured: list[tuple[Any, int, str, _Measured]] = attrs.field(factory=list)

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

    def measured(self, subject: Subject, stage: str, certificates: Iterable[Certificate]) -> _Measured:
        """What certificates find about a subject; taken from memory where an equal one was measured before."""
        for node, n, known_stage, known in self._measured:
            if node == subject.cache["key"] and n == subject.n and known_stage == stage:
                return known
        findings = [f for certificate in certificates for f in certificate(subject, self.seed)]
        results = _behaviour(subject, self.seed, findings) if stage == "contracts" else {}
        made = _Measured(tuple(findings), results)
        self._measured.append((subject.cache["key"], subject.n, stage, made))
        return made


@contextmanager
def _one_thread() -> Iterator[None]:
    """Certificates run many small operations, and threads that wait for each other take several times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@attrs.frozen
class _Measured:
    findings: tuple[Diagnostic, ...]
    results: dict[str, Any]


@attrs.define(eq=False)
class Run:
    """One spec on its way through the stages."""

    checker: Checker
    reference: str
    sets: tuple[str, ...]
    spec: Spec | None = None
    model: nn.Module | None = None
    subject: Subject | None = None
    said: str = ""
    stages: list[Stage] = attrs.field(factory=list)
    findings: list[Diagnostic] = attrs.field(factory=list)
    results: dict[str, Any] = attrs.field(factory=dict)

    def through(self, name: str) -> bool:
        """Run a stage; whether the next one may follow."""
        began = time.perf_counter()
        run: dict[str, Callable[[], list[Diagnostic]]] = {
            "parse": self._parse, "schema": self._schema, "compose": self._compose, "build": self._build,
            "contracts": self._contracts, "numerics": self._numerics, "compile": self._compile,
        }  # fmt: skip
        if self.spec is not None and self.spec.model is None:
            self.stages.append(Stage(name, "skipped", remark="no model"))
            return True
        try:
            with _one_thread():
                found = run[name]()
        except SpecError as error:
            found = list(error.diagnostics)
        except Exception as error:  # a plugin may raise anything, and that is a finding about it
            if self.spec is None:
                raise
            found = [raised(self.spec, error, name, self.subject.again if self.subject else "")]
        self.findings += found
        bad = failed(found)
        unmet = bad and all(f.code == expect.CODE for f in found if f.severity == "error")
        skipped = name in ("contracts", "numerics", "compile") and self.subject is None
        status: Status = "failed" if bad else "skipped" if skipped else "passed"
        seconds = time.perf_counter() - began
        self.stages.append(Stage(name, status, seconds, "expect" if unmet else "too large" if skipped else ""))
        return not bad

    def report(self, suggest: bool) -> SpecReport:
        text = ""
        if suggest and self.model is not None:
            text = expect.suggest(self._facts(), self.results)
        name = self.spec.name if self.spec else Path(self.reference).name.replace(".xc.yaml", "")
        return SpecReport(
            name, self.reference.partition("@")[0], tuple(self.stages), tuple(self.findings), self.said, self.results,
            text,
        )  # fmt: skip

    def _parse(self) -> list[Diagnostic]:
        _, found = resolve.check(self.reference, (), self.checker.registry.catalogue, until="parse")
        return [attrs.evolve(f, stage="parse") for f in found if f.severity == "error"]

    def _schema(self) -> list[Diagnostic]:
        self.spec, found = resolve.check(self.reference, self.sets, self.checker.registry.catalogue)
        return found

    def _compose(self) -> list[Diagnostic]:
        assert self.spec is not None
        model = self.model = plan_model(self.spec, registry=self.checker.registry)
        return search_findings(self.spec, model, self.checker.registry) if self.spec.search else []

    def _facts(self) -> Facts:
        assert self.spec is not None
        return Facts(self.model, self.spec)

    def _build(self) -> list[Diagnostic]:
        assert self.spec is not None
        return expect.counted(self.spec.expect, self._facts(), self.spec.name)

    def _contracts(self) -> list[Diagnostic]:
        assert self.spec is not None
        self.subject, self.said = self._choose()
        if self.subject is None:
            return [_too_large(self.spec)]
        known = self.checker.measured(self.subject, "contracts", CONTRACTS)
        self.results = dict(known.results)
        return [*known.findings, *expect.measured(self.spec.expect, self.results, self.spec.name)]

    def _numerics(self) -> list[Diagnostic]:
        if self.subject is None:
            return []
        return list(self.checker.measured(self.subject, "numerics", NUMERICS).findings)

    def _compile(self) -> list[Diagnostic]:
        from xcompose.verify import compiled

        return [] if self.subject is None else compiled.certify(self.subject, self.checker.seed)

    def _choose(self) -> tuple[Subject | None, str]:
        """What to measure: the spec, its tiny variant, or a shrunken copy; and how to say so."""
        assert self.spec is not None
        registry = self.checker.registry
        whole = sizes.as_it_is(self.spec, registry, Facts(self.model).parameters.total)
        if whole and (subject := self._subject(whole)):
            return subject, whole.said
        base, prefix = self._tiny()
        small = sizes.as_it_is(base, registry, Facts(plan_model(base, registry=registry)).parameters.total)
        if prefix and small and (subject := self._subject(small)):
            return subject, f"{prefix}, {small.said}"
        for size in sizes.shrunk(base, registry):
            if subject := self._subject(size):
                return subject, f"{prefix}, {size.said}" if prefix else size.said
        return None, ""

    def _tiny(self) -> tuple[Spec, str]:
        """The variant `tiny` of the spec where there is one that composes, else the spec."""
        assert self.spec is not None
        applied = self.reference.partition("@")[2].split("+")
        if TINY not in self.spec.variants or TINY in applied:
            return self.spec, ""
        reference = f"{self.reference}{'+' if '@' in self.reference else '@'}{TINY}"
        found, _ = resolve.check(reference, self.sets, self.checker.registry.catalogue)
        if found is None or found.model is None:
            return self.spec, ""
        try:
            plan_model(found, registry=self.checker.registry)
        except SpecError:
            return self.spec, ""
        return found, f"@{TINY}"

    def _subject(self, size: sizes.Size) -> Subject | None:
        """A subject of this size, if it composes and takes a text of this length."""
        try:
            model: Any = plan_model(size.spec, registry=self.checker.registry)
        except SpecError:
            return None
        n = _legal(model, size.n)
        return subject_of(size.spec, model, n, self.checker, self.reference, self.sets) if n else None


def subject_of(spec: Spec, planned: Any, n: int, checker: Checker, reference: str, sets: Sequence[str] = ()) -> Subject:
    """What certificates measure of a spec."""
    assert spec.model is not None
    quiet = attrs.evolve(
        spec, model=sizes.without_dropout(spec.model), addons=sizes.without_dropout(spec.addons)
    )  # fmt: skip
    overrides = "".join(f" --set '{one}'" for one in sets)
    return Subject(
        build=lambda seed: build_model(spec, seed=seed, registry=checker.registry, device="cpu", dtype=torch.float32),
        quiet=lambda seed: build_model(quiet, seed=seed, registry=checker.registry, device="cpu", dtype=torch.float32),
        n=n, vocab=planned.vocab, dim=planned.dim, causal=spec.model.options["causal"] if planned.decodes else "none",
        name=spec.name, node=spec.model, source=source_of(planned, n),
        width=planned.inputs.width, prefix=planned.prefix, far=_far(planned), low=planned.works_in is not None,
        again=f"xcompose check {reference}{overrides} --seed {checker.seed}", cache={"key": (spec.model, spec.addons)},
    )  # fmt: skip


def source_of(planned: Any, n: int) -> int:
    """Another length than n for the sequence that a model reads beside its own; 0 where it reads none."""
    if not planned.reads_source:
        return 0
    return min(n + 4, planned.source_length or n + 4)


def _far(planned: Any) -> int:
    """How many rows show what few do not, as many of them as the model takes."""
    n = min(precision.FAR, planned.options.length or precision.FAR)
    return n if Facts(planned).takes(n) else 0


def _legal(model: Any, n: int) -> int:
    """The first length from n on that a model takes; 0 if none of the next does."""
    facts = Facts(model)
    return next((m for m in (*range(n, 2 * n + 1), *range(n - 1, 0, -1)) if facts.takes(m)), 0)


def _behaviour(subject: Subject, seed: int, findings: Sequence[Diagnostic]) -> dict[str, Any]:
    """What a model does, in the words of `expect`. Without a finding it does what its type promises."""
    codes = {f.code for f in findings}
    sure = subject.causal == "strict" and causal.CODE not in codes
    word = "strict" if sure else causal.kind(subject, seed)
    exact = subject.causal == "strict" and not codes & {causal.CODE, decode.CODE}
    return {
        "causal": word, "decode": "exact" if exact else "none",
        "deterministic": deterministic.is_deterministic(subject, seed),
    }  # fmt: skip


def _too_large(spec: Spec) -> Diagnostic:
    assert spec.model is not None
    return Diagnostic(
        code=UNMEASURED, message="nothing small enough to measure could be made of this spec", span=spec.model.span,
        label="its certificates were not measured", path="model", severity="warning", stage="contracts", spec=spec.name,
        fixes=("add a variant 'tiny' with a smaller model",),
    )  # fmt: skip
