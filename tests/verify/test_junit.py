"""Reports for test viewers, and for the summary of a job."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

import pytest

from xcompose.diagnostics import Diagnostic, Span
from xcompose.verify.junit import junit
from xcompose.verify.markdown import markdown
from xcompose.verify.results import Report, SpecReport, Stage

STAGES = ("parse", "schema", "compose", "build")
WRONG = Diagnostic(
    "XC031", "a decoder cannot \x1b use <this> & \ud800", Span("b.xc.yaml", 3, 1, 3, 4), "it | reads", stage="compose"
)
ALSO = Diagnostic("XC031", "nor that", Span("b.xc.yaml", 4, 1, 4, 4), fixes=("drop *it*",))
HINT = Diagnostic("XC015", "an old name", Span("b.xc.yaml", 2, 1, 2, 4), severity="warning", stage="schema")
GOOD = SpecReport("a", "a.xc.yaml", tuple(Stage(name, "passed", 0.25) for name in STAGES))
BAD = SpecReport(
    "b@long", "b.xc.yaml",
    (Stage("parse", "passed"), Stage("schema", "passed", 1.0), Stage("compose", "failed", 0.5)), (HINT, WRONG, ALSO),
)  # fmt: skip
RECIPE = SpecReport("r", "r.xc.yaml", (*GOOD.stages[:2], *(Stage(n, "skipped", remark="no model") for n in STAGES[2:])))
REPORT = Report((GOOD, BAD, RECIPE), 3.0)
BROKEN = Diagnostic("XC050", "plugin 'acme' is not loaded: ImportError")


@pytest.fixture
def tree() -> Xml.Element:
    return Xml.fromstring(junit(REPORT, STAGES).encode())


def test_a_suite_for_each_spec_and_a_case_for_each_stage(tree):
    assert (tree.tag, tree.attrib["name"]) == ("testsuites", "xcompose check")
    assert [(suite.get("name"), suite.get("tests")) for suite in tree] == [("a", "4"), ("b@long", "4"), ("r", "4")]
    assert [case.get("name") for case in tree[1]] == list(STAGES)
    assert tree[1][2].attrib == {"classname": "b@long", "name": "compose", "file": "b.xc.yaml", "time": "0.500"}


def test_counts_add_up(tree):
    for one in (tree, *tree):
        cases = list(one.iter("testcase"))
        assert int(one.get("tests", "")) == len(cases)
        assert int(one.get("failures", "")) == len(list(one.iter("failure")))
        assert int(one.get("skipped", "")) == len(list(one.iter("skipped")))
        assert one.get("errors") == "0"
        assert float(one.get("time", "")) == pytest.approx(sum(float(case.get("time", "")) for case in cases))


def test_a_failure_is_the_located_finding(tree):
    (failure,) = tree.iter("failure")

    assert failure.attrib == {
        "message": "a decoder cannot \N{REPLACEMENT CHARACTER} use <this> & \N{REPLACEMENT CHARACTER} (and 1 more)",
        "type": "XC031",
    }
    assert (failure.text or "").startswith("error[XC031]: a decoder cannot ")
    assert " --> b.xc.yaml:3:1" in (failure.text or "")
    assert "nor that" in (failure.text or "")
    assert "an old name" not in (failure.text or "")


def test_warnings_stand_beside_and_what_did_not_run_is_skipped(tree):
    (warned,) = tree[1][1]
    assert warned.tag == "system-out"
    assert (warned.text or "").startswith("warning[XC015]: an old name")
    assert [skipped.get("message") for skipped in tree.iter("skipped")] == [
        "an earlier stage failed", "no model", "no model",
    ]  # fmt: skip


@pytest.mark.parametrize(("severity", "tag"), [("warning", "system-out"), ("error", "failure")])
def test_broken_plugins_are_a_suite(severity, tag):
    problem = Diagnostic(BROKEN.code, BROKEN.message, severity=severity)
    tree = Xml.fromstring(junit(Report((GOOD,), plugins=(problem,)), STAGES))

    assert tree[0].get("name") == "plugins"
    assert [child.tag for child in tree[0][0]] == [tag]


def test_a_summary_in_markdown():
    assert markdown(REPORT) == (
        "### ✗ xcompose check\n\n"
        "3 specs: 2 findings in 1 spec\n\n"
        "| spec | parse | schema | compose | build |\n"
        "|---|---|---|---|---|\n"
        "| b\\@long | ✓ | ✓ | ✗ |  |\n"
        "| 2 others | ✓ | ✓ | ✓ | ✓ |\n\n"
        "- warning **XC015** `b.xc.yaml:2:1` an old name\n"
        "- error **XC031** `b.xc.yaml:3:1` a decoder cannot \N{REPLACEMENT CHARACTER} use \\<this\\> & "
        "\N{REPLACEMENT CHARACTER}: it \\| reads\n"
        "- error **XC031** `b.xc.yaml:4:1` nor that  \n  Fix: drop \\*it\\*\n\n"
    )


def test_a_summary_without_findings_and_with_too_many():
    assert markdown(Report((GOOD,))) == "### ✓ xcompose check\n\n1 spec: 0 findings\n\n"
    many = tuple(Diagnostic("XC011", f"m{n}", Span("a.xc.yaml", n, 1, n, 2)) for n in range(1, 53))
    said = markdown(Report((SpecReport("a", "a.xc.yaml", (Stage("parse", "failed"),), many),)))
    assert said.count("error **XC011**") == 50
    assert said.endswith("- ... and 2 more findings\n\n")


@pytest.mark.parametrize(
    ("file", "shown"),
    [("a\n# b.xc.yaml", "`a # b.xc.yaml:1:2`"), ("a`b.xc.yaml", "`` a`b.xc.yaml:1:2 ``")],
)
def test_the_name_of_a_file_ends_neither_its_line_nor_its_letters(file, shown):
    finding = Diagnostic("XC011", "wrong", span=Span(file, 1, 2, 1, 3))

    assert markdown(Report((), plugins=(finding,))).splitlines()[-2] == f"- error **XC011** {shown} wrong"
