"""The stages that need a model: it is composed, counted, and measured on small sizes. They alone import torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import attrs
import torch
from torch import nn

from xcompose.compose.build import build_model, plan_model
from xcompose.compose.objectives import search_findings
from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.registry import Registry
from xcompose.spec import resolve
from xcompose.spec.drift import rebuilt
from xcompose.spec.model import Spec
from xcompose.verify import (
    alive,
    batches,
    causal,
    decode,
    deterministic,
    expect,
    gradients,
    padding,
    plans,
    precision,
    readers,
    replicas,
    saving,
    sizes,
    spans,
    still,
    stored,
    streams,
    work,
)
from xcompose.verify.blame import raised
from xcompose.verify.facts import Facts
from xcompose.verify.results import failed
from xcompose.verify.sight import sight_at
from xcompose.verify.subject import Subject, to_blame

Certificate = Callable[[Subject, int], list[Diagnostic]]
CONTRACTS: tuple[Certificate, ...] = (
    deterministic.steady, batches.certify, spans.certify, causal.certify, alive.certify, plans.certify,
    streams.certify, padding.certify, decode.certify,
)  # fmt: skip
NUMERICS: tuple[Certificate, ...] = (
    gradients.certify, still.certify, deterministic.certify, replicas.certify, precision.certify, saving.certify,
    stored.certify, work.certify,
)  # fmt: skip
TINY = "tiny"
UNMEASURED = "XC060"


class Measurer(Protocol):
    """Who measures: with which components, from which random sequences."""

    registry: Registry
    seed: int


@attrs.frozen
class _Measured:
    findings: tuple[Diagnostic, ...]
    results: dict[str, Any]


@attrs.define(eq=False)
class Known:
    """What was measured already, so that equal models of several specs are measured once."""

    _measured: list[tuple[Any, int, str, _Measured]] = attrs.field(factory=list)

    def measured(self, subject: Subject, seed: int, stage: str, certificates: Iterable[Certificate]) -> _Measured:
        """What certificates find about a subject; taken from memory where an equal one was measured before."""
        for node, n, known_stage, known in self._measured:
            if node == subject.cache["key"] and n == subject.n and known_stage == stage:
                return known
        findings = _findings(certificates, subject, seed)
        results = _behaviour(subject, seed, findings) if stage == "contracts" else {}
        made = _Measured(tuple(to_blame(findings, subject)), results)
        self._measured.append((subject.cache["key"], subject.n, stage, made))
        return made


def _findings(certificates: Iterable[Certificate], subject: Subject, seed: int) -> list[Diagnostic]:
    """What certificates find, up to one that says that there is nothing to measure: who answers a question in two ways
    cannot be asked about anything else."""
    found: list[Diagnostic] = []
    try:
        for certificate in certificates:
            found += certificate(subject, seed)
            if certificate is deterministic.steady and failed(found):
                break
    except Exception:
        if not failed(found):
            raise
        # What was found says more of a faulty part than how it broke later.
    return found


@contextmanager
def _one_thread() -> Iterator[None]:
    """Certificates run many small operations, and threads that wait for each other take several times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@attrs.define(eq=False)
class Later:
    """A spec that was read, on its way through the stages that need a model."""

    spec: Spec
    reference: str
    sets: tuple[str, ...]
    registry: Registry
    seed: int
    known: Known
    model: nn.Module | None = None
    subject: Subject | None = None
    said: str = ""
    """How to name the sizes that were measured."""
    results: dict[str, Any] = attrs.field(factory=dict)

    def run(self, stage: str) -> list[Diagnostic]:
        """What a stage finds. What a plugin raises is a finding about it."""
        runs: dict[str, Callable[[], list[Diagnostic]]] = {
            "compose": self._compose, "build": self._build, "contracts": self._contracts,
            "numerics": self._numerics, "compile": self._compile,
        }  # fmt: skip
        try:
            with _one_thread():
                return runs[stage]()
        except SpecError as error:
            return list(error.diagnostics)
        except Exception as error:  # a plugin may raise anything
            return [raised(self.spec, error, stage, self.subject.again if self.subject else "")]

    def suggestion(self) -> str:
        """An `expect` section that holds today; empty where there is no model."""
        if self.model is None:
            return ""
        with _one_thread():
            return expect.suggest(self._facts(), self.results)

    def _compose(self) -> list[Diagnostic]:
        model = self.model = plan_model(self.spec, registry=self.registry)
        return search_findings(self.spec, model, self.registry) if self.spec.search else []

    def _facts(self) -> Facts:
        return Facts(self.model, self.spec)

    def _build(self) -> list[Diagnostic]:
        facts = self._facts()
        drifted = rebuilt(self.spec, self.model, lambda n: sight_at(facts, n))
        return [*drifted, *expect.counted(self.spec.expect, facts, self.spec.name)]

    def _contracts(self) -> list[Diagnostic]:
        self.subject, self.said = self._choose()
        if self.subject is None:
            return [_too_large(self.spec)]
        known = self.known.measured(self.subject, self.seed, "contracts", CONTRACTS)
        self.results = dict(known.results)
        found = [*known.findings, *self._dropped(known.findings)]
        return [*found, *expect.measured(self.spec.expect, self.results, self.spec.name)]

    def _dropped(self, measured: Sequence[Diagnostic]) -> list[Diagnostic]:
        """Keys that are dropped too early, where decoding was right as far as it was measured."""
        assert self.subject is not None
        if decode.CODE in {finding.code for finding in measured}:
            return []
        found = readers.certify(self._facts(), self.subject)
        if found:
            self.results["decode"] = "none"
        return found

    def _numerics(self) -> list[Diagnostic]:
        if self.subject is None:
            return []
        return list(self.known.measured(self.subject, self.seed, "numerics", NUMERICS).findings)

    def _compile(self) -> list[Diagnostic]:
        from xcompose.verify import compiled

        return [] if self.subject is None else compiled.certify(self.subject, self.seed)

    def _choose(self) -> tuple[Subject | None, str]:
        """What to measure: the spec, its tiny variant, or a shrunken copy; and how to say so."""
        registry = self.registry
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
        applied = self.reference.partition("@")[2].split("+")
        if TINY not in self.spec.variants or TINY in applied:
            return self.spec, ""
        reference = f"{self.reference}{'+' if '@' in self.reference else '@'}{TINY}"
        found, _ = resolve.check(reference, self.sets, self.registry.catalogue)
        if found is None or found.model is None:
            return self.spec, ""
        try:
            plan_model(found, registry=self.registry)
        except SpecError:
            return self.spec, ""
        return found, f"@{TINY}"

    def _subject(self, size: sizes.Size) -> Subject | None:
        """A subject of this size, if it composes and takes a text of this length."""
        try:
            model: Any = plan_model(size.spec, registry=self.registry)
        except SpecError:
            return None
        n = _legal(model, size.n)
        return subject_of(size.spec, model, n, self, self.reference, self.sets) if n else None


def subject_of(spec: Spec, planned: Any, n: int, by: Measurer, reference: str, sets: Sequence[str] = ()) -> Subject:
    """What certificates measure of a spec."""
    assert spec.model is not None
    quiet = attrs.evolve(
        spec, model=sizes.without_dropout(spec.model), addons=sizes.without_dropout(spec.addons)
    )  # fmt: skip
    overrides = "".join(f" --set '{one}'" for one in sets)
    return Subject(
        build=lambda seed: build_model(spec, seed=seed, registry=by.registry, device="cpu", dtype=torch.float32),
        quiet=lambda seed: build_model(quiet, seed=seed, registry=by.registry, device="cpu", dtype=torch.float32),
        n=n, vocab=planned.vocab, dim=planned.dim, causal=spec.model.options["causal"] if planned.decodes else "none",
        name=spec.name, node=spec.model, source=source_of(planned, n),
        width=planned.inputs.width, prefix=planned.prefix, far=_far(planned), low=planned.works_in is not None,
        again=f"xcompose check {reference}{overrides} --seed {by.seed} --no-cache",
        cache={"key": (spec.model, spec.addons)},
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
