"""Whatever is composed from what is installed is refused with a reason and a mend, or keeps every promise.

The cases of the quick test are the same in every run; the slow one draws others each time, and makes a failure small.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from xcompose.diagnostics import Diagnostic, render
from xcompose.registry import Component
from xcompose.verify.blame import CODE as RAISED
from xcompose.verify.results import STAGES
from xcompose.verify.runner import check_spec

from .stacks import KINDS_DRAWN, Case, cases, drawn, installed

EACH = 6
"""Cases that hold a component, for each that is installed."""
STATIC = ("parse", "schema", "compose")
"""Stages in which nothing is measured: a spec that is refused is refused here."""


def unlike(finding: Diagnostic) -> list[str]:
    """What a refusal lacks that a user needs."""
    there = {
        "a code": finding.code not in ("", RAISED), "a place": finding.span is not None and finding.span.line > 0,
        "a message": bool(finding.message), "a mend": bool(finding.fixes),
    }  # fmt: skip
    return [name for name, found in there.items() if not found]


def fault(case: Case, folder: Path) -> str:
    """What is wrong: a crash, a refusal that does not help, or a promise that is not kept; empty where nothing is."""
    file = folder / "drawn.xc.yaml"
    file.write_text(case.text)
    report = check_spec(str(file))
    errors = [f for f in report.findings if f.severity == "error"]
    last = report.stages[-1]
    if errors and last.name in STATIC and not any(unlike(f) for f in errors):
        return ""
    if not errors and [stage.name for stage in report.stages if stage.status == "passed"] == list(STAGES):
        return ""
    lacks = "; ".join(f"{f.message}: lacks {' and '.join(unlike(f))}" for f in errors if unlike(f))
    return f"{case.text}\n{last}\n{lacks}\n{render.text(report.findings)}"


KNOWN = {
    "memory-sinkhorn": "in a decoder with few blocks the sorted block is the block before, whatever the scores: check "
    "says that nothing depends on them (XC075, XC072), and no part refuses it before",
}
"""Components of which a drawn stack is known to keep less than it promises; `check` says so with a place."""


def marked(one: Any) -> Any:
    name = f"{one.kind}-{one.full_name}"
    marks = [pytest.mark.xfail(reason=KNOWN[name], strict=True)] if name in KNOWN else []
    return pytest.param(one, id=name, marks=marks)


@pytest.mark.parametrize("wanted", [marked(one) for one in installed()])
def test_a_stack_with_it_is_refused_with_a_mend_or_keeps_its_promises(wanted, tmp_path):
    faults = [said for case in drawn(wanted, EACH) if (said := fault(case, tmp_path))]

    assert not faults, "\n\n".join([f"{len(faults)} of {EACH}", *faults])


@pytest.mark.slow
def test_so_is_any_other(tmp_path):
    @settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
    @given(cases())
    def holds(case: Case) -> None:
        said = fault(case, tmp_path)
        assert not said, said

    holds()


@pytest.fixture(scope="module")
def every() -> list[Case]:
    return [case for one in installed() for case in drawn(one, EACH)]


def test_enough_of_what_is_drawn_composes(every, tmp_path):
    def composes(case: Case) -> bool:
        file = tmp_path / "drawn.xc.yaml"
        file.write_text(case.text)
        return check_spec(str(file), stages=["compose"]).ok

    legal = [case for case in every if composes(case)]
    used = {one for case in legal for one in case.components}
    seldom = [kind for kind in KINDS_DRAWN if 3 * len(of(kind, used)) < 2 * len(of(kind, names(installed())))]

    assert len({case.text for case in every}) >= 400
    assert 3 * len(legal) >= len(every)
    assert seldom == [], f"of these fewer than two thirds were composed; only {sorted(used)} were"


def test_everything_that_is_installed_is_drawn(every):
    assert names(installed()) - {one for case in every for one in case.components} == set()


def test_cases_are_the_same_whenever_they_are_drawn(every):
    again = drawn(installed()[0], EACH)

    assert [case.text for case in again] == [case.text for case in every[: len(again)]]


def names(components: Iterable[Component]) -> set[tuple[str, str]]:
    return {(one.kind, one.full_name) for one in components}


def of(kind: str, components: set[tuple[str, str]]) -> set[str]:
    return {name for one, name in components if one == kind}
