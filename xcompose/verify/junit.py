"""A report as JUnit XML: a suite for each spec, a case for each of its stages."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as Xml

from xcompose.diagnostics import Diagnostic
from xcompose.diagnostics.places import from_root
from xcompose.diagnostics.render import prepared, text, visible
from xcompose.verify.results import Report, SpecReport, Stage


def junit(report: Report, stages: Sequence[str]) -> str:
    """The whole report; stages behind one that failed are skipped.

    Args:
        report: what was found.
        stages: that were asked for.
    """
    suites = [_suite(spec, stages) for spec in report.specs]
    if report.plugins:
        suites.insert(0, _plugins(report.plugins))
    root = Xml.Element("testsuites", {"name": "xcompose check", **_sums(suites)})
    root.extend(suites)
    Xml.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + Xml.tostring(root, encoding="unicode")


def _suite(spec: SpecReport, stages: Sequence[str]) -> Xml.Element:
    ran = {stage.name: stage for stage in spec.stages}
    names = dict.fromkeys([*ran, *stages])
    cases = [_case(spec, name, ran.get(name)) for name in names]
    return _filled(spec.name, cases)


def _case(spec: SpecReport, name: str, stage: Stage | None) -> Xml.Element:
    file = visible(from_root(spec.file))
    seconds = f"{stage.seconds if stage else 0:.3f}"
    case = Xml.Element("testcase", classname=visible(spec.name), name=name, file=file, time=seconds)
    if stage is None:
        Xml.SubElement(case, "skipped", message="an earlier stage failed")
        return case
    findings = _of_stage(spec, stage)
    if stage.status == "skipped":
        Xml.SubElement(case, "skipped", message=stage.remark)
    elif stage.status == "failed":
        _failure(case, [finding for finding in findings if finding.severity == "error"])
    rest = [f for f in findings if stage.status != "failed" or f.severity != "error"]
    if rest:
        Xml.SubElement(case, "system-out").text = _legal(text(rest))
    return case


def _of_stage(spec: SpecReport, stage: Stage) -> list[Diagnostic]:
    """The findings of a stage. Errors of any other name are those of the stage that failed."""
    names = {one.name for one in spec.stages}
    last = spec.stages[-1].name

    def at(finding: Diagnostic) -> str:
        if finding.severity == "error" and spec.stages[-1].status == "failed":
            return last
        return finding.stage if finding.stage in names else last

    return [finding for finding in spec.findings if at(finding) == stage.name]


def _failure(case: Xml.Element, errors: Sequence[Diagnostic]) -> None:
    first = prepared(errors)[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    failure = Xml.SubElement(case, "failure", message=visible(first.message) + more, type=first.code)
    failure.text = _legal(text(errors))


def _plugins(problems: Sequence[Diagnostic]) -> Xml.Element:
    cases = []
    for problem in problems:
        case = Xml.Element("testcase", classname="plugins", name=visible(problem.message), time="0.000")
        if problem.severity == "error":
            _failure(case, [problem])
        else:
            Xml.SubElement(case, "system-out").text = _legal(text([problem]))
        cases.append(case)
    return _filled("plugins", cases)


def _filled(name: str, cases: Sequence[Xml.Element]) -> Xml.Element:
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
        "time": f"{sum(float(case.get('time', '0')) for case in cases):.3f}",
    }
    suite = Xml.Element("testsuite", {"name": visible(name), **counts})
    suite.extend(cases)
    return suite


def _sums(suites: Sequence[Xml.Element]) -> dict[str, str]:
    sums = {key: str(sum(int(s.get(key, "0")) for s in suites)) for key in ("tests", "failures", "errors", "skipped")}
    return {**sums, "time": f"{sum(float(s.get('time', '0')) for s in suites):.3f}"}


def _legal(said: str) -> str:
    """Without characters that XML has no place for; `text` has shown the others already."""
    return "\n".join(visible(line) for line in said.split("\n"))
