"""xcompose check: every spec through every stage."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
import typer

from xcompose.cli.common import Sets, errors, usage_error
from xcompose.cli.formats import FORMATS, Output, outputs, write
from xcompose.cli.mend import mend
from xcompose.cli.workers import Job, Task, check_at_once, check_in_turn, reasonable

if TYPE_CHECKING:
    from xcompose.diagnostics import Diagnostic
    from xcompose.verify.results import Report, SpecReport

EXAMPLE = (
    "Example:  xcompose check specs/  ·  xcompose check mine.xc.yaml --stage schema  ·  "
    "xcompose check --format sarif -o check.sarif"
)


def run(
    paths: Annotated[
        list[str] | None, typer.Argument(help="specs, folders; without any: what pyproject names, else specs/")
    ] = None,
    stage: Annotated[
        str,
        typer.Option(
            help="the last stage to run, after all before it: parse, schema, compose, build, contracts, numerics. "
            "parse and schema import neither torch nor plugins"
        ),
    ] = "numerics",
    compile_: Annotated[bool, typer.Option("--compile", help="also torch.compile and torch.export")] = False,
    set_: Sets = None,
    suggest: Annotated[bool, typer.Option(help="print a contract that holds today, to paste")] = False,
    seed: Annotated[int, typer.Option(help="of the random sequences")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, help="files checked at once; 0: one a core")] = 0,
    format: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=FILE]",
            help=f"{', '.join(FORMATS)}. With =FILE it goes to that file, and may be given several times",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="where the format goes; the terminal then shows text"),
    ] = None,
    cache: Annotated[
        bool, typer.Option(help="show what was found before where nothing has changed; --no-cache: check everything")
    ] = True,
    fix: Annotated[
        bool, typer.Option("--fix", help="first write what findings say exactly: names in full, new names")
    ] = False,
    strict_plugins: Annotated[bool, typer.Option(help="a plugin that is not in use is an error")] = False,
) -> None:
    """Prove that specs keep their promises: read, composed, counted, and measured on small sizes.

    A file is taken with all its variants. Exit code 0: nothing wrong; 1: findings; 2: wrong usage.
    """
    from xcompose.registry.problems import nuisances
    from xcompose.verify.kept import circumstances
    from xcompose.verify.results import STAGES

    wanted = outputs(format or [], output)
    if stage not in STAGES:
        raise usage_error(f"there is no stage '{stage}'", " | ".join(STAGES))
    references = _references(paths or [])
    stages = (*STAGES[: STAGES.index(stage) + 1], *(["compile"] if compile_ else []))
    if fix:
        mend(references)
    sets = tuple(set_ or ())
    broken = _broken(strict_plugins)
    known = circumstances(sets, stages, seed, suggest, broken) if cache else ""
    report = check(references, Job(sets, stages, seed, suggest, known), jobs)
    _say(attrs.evolve(report, plugins=(*broken, *nuisances()), installed=_in_use()), wanted, stages)


def _say(report: Report, wanted: Sequence[Output], stages: Sequence[str]) -> None:
    """Write what was found.

    Raises:
        Exit: something is wrong.
    """
    try:
        write(report, wanted, stages)
        sys.stdout.flush()
    except BrokenPipeError:
        if report.ok:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads it, and it failed all the same
    if not report.ok:
        raise typer.Exit(1)


def _references(paths: list[str]) -> list[str]:
    from xcompose.spec.folders import candidates

    variants = [p for p in paths if ".xc.yaml@" in p]
    found = (
        [str(p) for p in candidates([p for p in paths if p not in variants])]
        if len(variants) < len(paths) or not paths
        else []
    )
    if not found and not variants:
        raise usage_error("no spec was found: nothing ends in .xc.yaml there", "xcompose new mine")
    return [_relative(p) for p in found] + variants


def _relative(path: str) -> str:
    try:
        absolute, here = Path(path).resolve(), Path.cwd()
    except RuntimeError:  # links in a circle, and checking it says so
        return path
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else path


def check(references: Sequence[str], job: Job, jobs: int = 0) -> Report:
    """Check files with their variants, with a progress bar on standard error where that is a terminal.

    Args:
        references: FILE is taken with all its variants, FILE@VARIANT by itself.
        job: the same for all.
        jobs: how many processes; 0: one a core. The stages that only read take one.
    """
    from xcompose.verify.kept import Kept, forget_old
    from xcompose.verify.results import STATIC, Report

    began = time.perf_counter()
    tasks = [_task(reference, job) for reference in dict.fromkeys(references)]
    every = list(dict.fromkeys(reference for task in tasks for reference in task))
    kept = Kept(job.circumstances)
    with _progress(len(every)) as done:
        found = {}
        for reference in every:
            report = kept.find(reference)
            if report is not None:
                found[reference] = report
                done(report)
        rest = [left for task in tasks if (left := tuple(one for one in task if one not in found))]
        if rest:
            alone = set(job.stages) <= set(STATIC) or len(rest) == 1
            processes = 1 if alone else reasonable(jobs, len(rest))
            found |= check_at_once(rest, job, processes, done) if processes > 1 else check_in_turn(rest, job, done)
            forget_old()
    return Report(tuple(found[reference] for reference in every), time.perf_counter() - began)


def _task(reference: str, job: Job) -> Task:
    """A file with its variants, one of which may be named by itself. A suggestion is made for the file alone."""
    from xcompose.diagnostics import SpecError
    from xcompose.spec import variants_of

    if job.suggest or ".xc.yaml@" in reference:
        return (reference,)
    try:
        return (reference, *(f"{reference}@{variant}" for variant in variants_of(reference)))
    except SpecError:
        return (reference,)  # checking it says what is wrong with it


@contextmanager
def _progress(total: int) -> Iterator[Callable[[SpecReport], None]]:
    if not errors.is_terminal:
        yield lambda report: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("check"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda report: progress.update(task, advance=1, description=report.name)


def _broken(strict: bool) -> tuple[Diagnostic, ...]:
    """What is wrong with plugins, as errors where `strict`."""
    from xcompose import registry

    severity = "error" if strict else "warning"
    return tuple(attrs.evolve(problem, severity=severity) for problem in registry.third_party().problems)


def _in_use() -> tuple[str, ...]:
    """The distributions that bring plugins which work: `acme-mixers 0.3.1`."""
    from xcompose import registry

    found = (plugin.found for plugin in registry.third_party().plugins if not plugin.error)
    return tuple(dict.fromkeys(f"{one.distribution} {one.version}" for one in found))
