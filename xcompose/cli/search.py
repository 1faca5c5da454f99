"""xcompose search: architectures among the choices of a spec."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from xcompose.cli.common import (
    Format,
    FormatOption,
    Sets,
    SpecArgument,
    console,
    errors,
    print_json,
    read_budget,
    refuse_accelerator,
    usage_error,
)

if TYPE_CHECKING:
    from xcompose.search.trial import Trial

EXAMPLE = 'Example:  xcompose search specs/addons/search.xc.yaml --jobs 2 --budget "24 trials"'


def run(
    spec: SpecArgument,
    data: Annotated[
        Path | None, typer.Option(help="file or folder to train on, instead of the task's own data")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="trials that are measured at once")] = 1,
    budget: Annotated[str | None, typer.Option(help="how long: 60 trials, 20min; as search.budget")] = None,
    out: Annotated[Path | None, typer.Option(help="a folder for the search; default runs/search-NAME")] = None,
    set_: Sets = None,
    resume: Annotated[bool, typer.Option(help="go on with a search that was stopped, exactly where it was")] = False,
    overwrite: Annotated[bool, typer.Option(help="start afresh where there is a search already")] = False,
    accelerator: Annotated[str, typer.Option(help="auto, cpu or gpu")] = "auto",
    format: FormatOption = Format.text,
) -> None:
    """Search among the choices in the `search` of a spec, and write each winner out as a spec of its own.

    Illegal combinations are rejected before they cost anything, hopeless trials are stopped early. Ctrl-C keeps what is
    done; --resume goes on.
    """
    from xcompose.allocator import keep_memory
    from xcompose.search.report import rejected, remarks, table
    from xcompose.search.run import search

    refuse_accelerator(accelerator)
    if resume and overwrite:
        raise usage_error("--resume goes on with a search, --overwrite starts afresh", "one of the two")
    asked = None if budget is None else read_budget(budget)
    if asked is not None and asked.unit not in ("trials", "seconds"):
        raise usage_error(f"--budget: a search lasts for trials or for a time, found '{asked}'", '--budget "60 trials"')
    keep_memory()
    shows = errors if format is Format.json else console
    watcher = Watching(shows)
    try:
        result = search(
            spec, set_ or (), out, data=data, jobs=jobs, resume=resume, overwrite=overwrite, budget=asked,
            watcher=watcher, accelerator=accelerator,
        )  # fmt: skip
    finally:
        watcher.end()
    if format is Format.json:
        print_json(result.as_json())
    elif result.interrupted:
        console.print(f"{result.summary()}\nstopped; go on with --resume", markup=False)
    else:
        if result.winners:
            console.print(table(result))
        for line in remarks(result):
            console.print(line, markup=False)
        for reason, count in rejected(result).items():
            console.print(f"  {count} × {reason}", markup=False)
        if result.winners:
            first = result.folder / "winner-1.xc.yaml"
            console.print(
                f"written to {result.folder}; look at pareto.html; next:  xcompose check {first}", markup=False
            )
    if result.interrupted:
        raise typer.Exit(1)
    if not result.winners:
        errors.print("error: no combination was measured and kept all bounds", markup=False)
        errors.print("  = fix: wider bounds in search.within, other choices, or a larger budget", markup=False)
        raise typer.Exit(1)


class Watching:
    """A bar on a terminal, and a line for each trial that is over."""

    def __init__(self, console: Console):
        self.console = console
        self._progress = Progress(
            TextColumn("{task.fields[share]:>4.0%}"), BarColumn(bar_width=30), TextColumn("{task.fields[text]}"),
            console=console, transient=True,
        )  # fmt: skip
        self._task = self._progress.add_task("", total=1.0, share=0.0, text="")
        if console.is_terminal:
            self._progress.start()

    def trial(self, trial: Trial, share: float) -> None:
        self._progress.update(self._task, completed=share, share=share, text="")
        self.console.print(line(trial), markup=False)

    def show(self, text: str, share: float) -> None:
        self._progress.update(self._task, text=f"{text}  {share:.0%}" if share else text)

    def end(self) -> None:
        if self.console.is_terminal:
            self._progress.stop()


def line(trial: Trial) -> str:
    """What became of a trial: `trial 7  done  params 120k  loss 2.31`."""
    from xcompose.search.result import shown

    figures = "  ".join(f"{name} {shown(name, value)}" for name, value in trial.figures.items())
    why = f"  {trial.reason}" if trial.reason else ""
    return f"trial {trial.number:<4} {trial.state:<9} {figures}{why}".rstrip()
