"""What `check` writes: a report in one of its formats, to the terminal or to files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from xcompose.cli.common import console, errors, plain, print_findings, usage_error
from xcompose.diagnostics import Diagnostic
from xcompose.diagnostics import render as findings

if TYPE_CHECKING:
    from xcompose.verify.results import Report

FORMATS = ("text", "concise", "json", "jsonl", "github", "gitlab", "junit", "sarif")
SUMMARY = "GITHUB_STEP_SUMMARY"
"""Names the file that GitHub shows as the summary of a job."""


@attrs.frozen
class Output:
    """A format, and the file that it goes to; None is the terminal."""

    format: str
    file: Path | None = None


def outputs(formats: Sequence[str], file: Path | None) -> list[Output]:
    """What is to be written, from the command line: `NAME` or `NAME=FILE`, and the file of the one without a file.

    The terminal shows text where no other format goes there.

    Raises:
        Exit: a format that does not exist, two for one place, a folder that does not exist.
    """
    found, bare = [], []
    for name, equals, path in (given.partition("=") for given in formats):
        if name not in FORMATS:
            raise usage_error(f"there is no format '{name}'", " | ".join(FORMATS))
        if equals and not path:
            raise usage_error(f"--format {name}= names no file", f"--format {name}=FILE")
        if equals:
            found.append(Output(name, Path(path)))
        else:
            bare.append(name)
    if len(set(bare)) > 1:
        more = " ".join(f"--format {name}=FILE" for name in bare[1:])
        raise usage_error(f"{len(set(bare))} formats for one place", f"--format {bare[0]} {more}")
    if file is not None:
        found.append(Output(bare[0] if bare else "text", file))
        bare = []
    for output in found:
        if output.file and not output.file.parent.is_dir():
            raise usage_error(f"there is no folder {output.file.parent}", f"mkdir -p {output.file.parent}")
    return [*found, Output(bare[0] if bare else "text")]


def write(report: Report, wanted: Iterable[Output], stages: Sequence[str]) -> None:
    """Write a report everywhere it goes.

    Raises:
        OSError: a file cannot be written.
    """
    for output in wanted:
        if output.file is not None:
            written = _encoded(_rendered(report, output.format, stages))
            output.file.write_bytes(written)
        elif output.format == "text":
            _show(report)
        else:
            said = _rendered(report, output.format, stages)
            if said:
                plain(_encoded(said).decode())
    if any(output.format == "github" for output in wanted) and os.environ.get(SUMMARY):
        from xcompose.verify.markdown import markdown

        with Path(os.environ[SUMMARY]).open("ab") as file:
            file.write(_encoded(markdown(report)))


def _encoded(said: str) -> bytes:
    """UTF-8; what cannot be written in it, an odd byte of a file's name, becomes an escape."""
    return (said.rstrip("\n") + "\n").encode(errors="backslashreplace") if said else b""


def _rendered(report: Report, format: str, stages: Sequence[str]) -> str:
    renderers: dict[str, Callable[[], str]] = {
        "text": lambda: _text(report),
        "concise": lambda: findings.concise(report.findings),
        "json": lambda: json.dumps(report.as_data(), indent=2, ensure_ascii=False),
        "jsonl": lambda: "\n".join(json.dumps(spec.as_data(), ensure_ascii=False) for spec in report.specs),
        "github": lambda: findings.github(report.findings),
        "gitlab": lambda: _gitlab(report),
        "junit": lambda: _junit(report, stages),
        "sarif": lambda: _sarif(report),
    }
    return renderers[format]()


def _text(report: Report) -> str:
    parts = [findings.text(report.findings), f"{report.table()}\n{_last_line(report)}", *_suggestions(report)]
    return "\n\n".join(part for part in parts if part)


def _show(report: Report) -> None:
    """Findings on standard error, coloured where the terminal can; everything else on standard output."""
    if report.findings:
        print_findings(report.findings)
        errors.print()
    console.print(report.table(), markup=False)
    console.print(_last_line(report), markup=False)
    for suggestion in _suggestions(report):
        console.print(f"\n{suggestion}", markup=False)


def _last_line(report: Report) -> str:
    line = f"{report.summary()}   {report.seconds:.1f} s"
    exact = len({finding.edits for finding in report.findings if finding.edits})
    if not exact:
        return line
    return f"{line}\n{exact} of the findings can be mended by machine: xcompose check --fix"


def _suggestions(report: Report) -> list[str]:
    return [
        f"What holds today for {spec.name}, to paste:\n\n{spec.suggestion}" for spec in report.specs if spec.suggestion
    ]


def _home(report: Report) -> Callable[[Diagnostic], str]:
    """Which file a finding is about: its spec's; of a plugin, the project's settings where there are some."""
    files = {finding: spec.file for spec in report.specs for finding in spec.findings}
    otherwise = "pyproject.toml" if Path("pyproject.toml").is_file() else report.specs[0].file
    return lambda finding: files.get(finding, otherwise)


def _gitlab(report: Report) -> str:
    from xcompose.diagnostics.gitlab import gitlab

    return gitlab(report.findings, _home(report))


def _junit(report: Report, stages: Sequence[str]) -> str:
    from xcompose.verify.junit import junit

    return junit(report, stages)


def _sarif(report: Report) -> str:
    from importlib.metadata import version

    from xcompose.diagnostics.sarif import sarif

    return sarif(report.findings, _home(report), version("xcompose"))
