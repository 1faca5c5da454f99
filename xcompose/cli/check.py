"""xcompose check: every spec through every stage."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcompose.cli.common import Sets, console, errors, print_findings, print_json, print_plugin_problems, usage_error
from xcompose.cli.workers import Job, check_at_once, checked, reasonable

if TYPE_CHECKING:
    from xcompose.verify.results import Report

EXAMPLE = "Example:  xcompose check specs/  ·  xcompose check mine.xc.yaml --suggest  ·  xcompose check --format github"

FORMATS = ("text", "concise", "json", "github")


def run(
    paths: Annotated[
        list[str] | None, typer.Argument(help="specs, folders; without any: what pyproject names, else specs/")
    ] = None,
    stage: Annotated[
        str, typer.Option(help="the last stage: parse, schema, compose, build, contracts, numerics")
    ] = "numerics",
    compile_: Annotated[bool, typer.Option("--compile", help="also torch.compile and torch.export")] = False,
    set_: Sets = None,
    suggest: Annotated[bool, typer.Option(help="print a contract that holds today, to paste")] = False,
    seed: Annotated[int, typer.Option(help="of the random sequences")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, help="files checked at once; 0: one a core")] = 0,
    format: Annotated[str, typer.Option(help=" | ".join(FORMATS))] = "text",
) -> None:
    """Prove that specs keep their promises: read, composed, counted, and measured on small sizes.

    A file is taken with all its variants. Exit code 0: nothing wrong; 1: findings; 2: wrong usage.
    """
    from xcompose.verify.results import STAGES

    if format not in FORMATS:
        raise usage_error(f"there is no format '{format}'", " | ".join(FORMATS))
    if stage not in STAGES:
        raise usage_error(f"there is no stage '{stage}'", " | ".join(STAGES))
    references = _references(paths or [])
    stages = [*STAGES[: STAGES.index(stage) + 1], *(["compile"] if compile_ else [])]
    job = Job(tuple(set_ or ()), tuple(stages), seed, suggest)
    report = check(references, job, reasonable(jobs, len(references)))
    _print(report, format)
    if format == "text":
        print_plugin_problems()
    if not report.ok:
        raise typer.Exit(1)


def _references(paths: list[str]) -> list[str]:
    from xcompose.spec import find_specs

    variants = [p for p in paths if ".xc.yaml@" in p]
    found = (
        [str(p) for p in find_specs([p for p in paths if p not in variants])]
        if len(variants) < len(paths) or not paths
        else []
    )
    if not found and not variants:
        raise usage_error("no spec was found: nothing ends in .xc.yaml there", "xcompose new mine")
    return [_relative(p) for p in found] + variants


def _relative(path: str) -> str:
    absolute, here = Path(path).resolve(), Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else path


def check(references: list[str], job: Job, jobs: int) -> Report:
    """Check files with a progress bar on standard error, where that is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from xcompose.verify.results import Report

    columns = (TextColumn("check"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("", total=len(references) if job.suggest else _count(references))

        def done(name: str) -> None:
            progress.update(task, advance=1, description=name)

        if jobs > 1:
            return check_at_once(references, job, jobs, done)
        began = time.perf_counter()
        reports = [r for reference in references for r in checked(reference, job, lambda r: done(r.name))]
        return Report(tuple(reports), time.perf_counter() - began)


def _count(references: list[str]) -> int | None:
    from xcompose.diagnostics import SpecError
    from xcompose.spec import variants_of

    try:
        return sum(1 if ".xc.yaml@" in r else 1 + len(variants_of(r)) for r in references)
    except SpecError:
        return None  # the check itself says what is wrong with the file


def _print(report: Report, format: str) -> None:
    from xcompose.diagnostics import render

    if format == "json":
        print_json(report.as_data())
        return
    if format in ("concise", "github"):
        lines: Any = getattr(render, format)(report.findings)
        sys.stdout.write(lines + "\n" if lines else "")
        return
    if report.findings:
        print_findings(report.findings)
        errors.print()
    console.print(report.table(), markup=False)
    console.print(f"{report.summary()}   {report.seconds:.1f} s", markup=False)
    for spec in report.specs:
        if spec.suggestion:
            console.print(f"\nWhat holds today for {spec.name}, to paste:\n\n{spec.suggestion}", markup=False)
