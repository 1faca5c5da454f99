"""Code-quality reports."""

from __future__ import annotations

import json

from tests.diagnostics.findings import CHAT, EVERY, LONG, RENAMED, home, sources
from xcompose.diagnostics import Diagnostic, Span
from xcompose.diagnostics.gitlab import gitlab


def written(*findings: Diagnostic):
    return json.loads(gitlab(findings, home, sources()))


def test_an_issue():
    (issue,) = written(RENAMED)

    assert len(issue.pop("fingerprint")) == 32
    assert issue == {
        "description": "option 'wide' is now called 'size': renamed. measured: nothing. Fix: write 'size'",
        "check_name": "XC015",
        "severity": "minor",
        "location": {"path": CHAT, "lines": {"begin": 2, "end": 2}},
    }


def test_every_finding_is_an_issue_with_a_place_and_a_fingerprint_of_its_own():
    issues = written(*EVERY)

    assert len({issue["fingerprint"] for issue in issues}) == len(EVERY)
    assert {issue["severity"] for issue in issues} == {"critical", "minor", "info"}
    assert [(issue["location"]["path"], issue["location"]["lines"]) for issue in issues] == [
        ("pyproject.toml", {"begin": 1}),
        (CHAT, {"begin": 1}),
        ("/elsewhere/a b.xc.yaml", {"begin": 1, "end": 1}),
        (CHAT, {"begin": 1}),
        (LONG.span.file if LONG.span else "", {"begin": 1, "end": 3}),
        (CHAT, {"begin": 2, "end": 2}),
    ]


def test_equal_findings_in_two_places_are_two():
    one, two = (Diagnostic("XC011", "m", Span("gone", line, 1, line, 2)) for line in (1, 2))
    first, second = written(one, two)

    assert first["fingerprint"] != second["fingerprint"]
    assert [first["fingerprint"], second["fingerprint"]] == [i["fingerprint"] for i in written(one, two)]


def test_nothing_is_an_empty_list():
    assert written() == []
