"""A report as Markdown, for the summary of a job on a forge."""

from __future__ import annotations

import re

from xcompose.diagnostics import Diagnostic
from xcompose.diagnostics.places import from_root, is_file
from xcompose.diagnostics.render import prepared, visible
from xcompose.verify.results import MARKS, Report

MOST = 50


def markdown(report: Report) -> str:
    """A heading, a table of the specs that failed, and the findings, at most fifty."""
    lines = [f"### {'✓' if report.ok else '✗'} xcompose check", "", _plain(report.summary()), ""]
    bad = [spec for spec in report.specs if not spec.ok]
    if bad:
        names = list(dict.fromkeys(stage.name for spec in report.specs for stage in spec.stages))
        lines += [f"| spec | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for spec in bad:
            marks = {stage.name: MARKS[stage.status] for stage in spec.stages}
            lines.append(f"| {_plain(spec.name)} | {' | '.join(marks.get(name, '') for name in names)} |")
        others = len(report.specs) - len(bad)
        if others:
            lines.append(f"| {others} other{'' if others == 1 else 's'} |{' ✓ |' * len(names)}")
        lines.append("")
    found = prepared(report.findings)
    lines += [_finding(diagnostic) for diagnostic in found[:MOST]]
    if len(found) > MOST:
        lines.append(f"- ... and {len(found) - MOST} more findings")
    return "\n".join(lines).rstrip("\n") + "\n\n"


def _finding(diagnostic: Diagnostic) -> str:
    span = diagnostic.span
    file = span and (from_root(span.file) if is_file(span.file) else span.file)
    where = f" {_code(f'{file}:{span.line}:{span.column}')}" if span else ""
    said = f"- {diagnostic.severity} **{diagnostic.code}**{where} {_plain(diagnostic.message)}"
    said += f": {_plain(diagnostic.label)}" if diagnostic.label else ""
    return said + "".join(f"  \n  Fix: {_plain(fix)}" for fix in diagnostic.fixes)


def _code(said: str) -> str:
    """A text in the letters of code, on one line."""
    longest = max((len(run) for run in re.findall("`+", said)), default=0)
    mark, gap = "`" * (longest + 1), " " if longest else ""
    return f"{mark}{gap}{visible(said)}{gap}{mark}"


def _plain(said: str) -> str:
    """A text in which Markdown sees nothing to obey."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()<>#|~$@!" else c for c in visible(said))
