"""xcompose train: from a spec to a run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import attrs
import typer

from xcompose.cli.common import (
    Format,
    FormatOption,
    Sets,
    SpecArgument,
    console,
    errors,
    print_findings,
    print_json,
    read_budget,
    refuse_accelerator,
    usage_error,
)

EXAMPLE = "Example:  xcompose train specs/beyond/window-then-linear.xc.yaml@tiny --budget 2min"


def run(
    spec: SpecArgument,
    data: Annotated[
        Path | None, typer.Option(help="file or folder to train on, instead of the task's own data")
    ] = None,
    run_: Annotated[Path | None, typer.Option("--run", help="the run's folder; default runs/NAME")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="a spec whose `task` and `train` are taken instead of the spec's own")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="how long: 200 steps, 2min, 3 epochs; as train.budget")] = None,
    set_: Sets = None,
    teacher: Annotated[
        Path | None, typer.Option(help="weights, or a run's folder, of the teacher that train.addons names")
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="weights to begin with, or a run's folder: the model without its adapters")
    ] = None,
    adapter: Annotated[
        list[Path] | None, typer.Option(help="a file of an adapter to begin with; may be given several times")
    ] = None,
    resume: Annotated[bool, typer.Option(help="go on with a run that was stopped, exactly where it was")] = False,
    overwrite: Annotated[bool, typer.Option(help="start afresh where there is a run already")] = False,
    accelerator: Annotated[str, typer.Option(help="auto, cpu or gpu")] = "auto",
    format: FormatOption = Format.text,
) -> None:
    """Train a spec's model. The run's folder gets the frozen spec, weights, figures, a plot and checkpoints."""
    from xcompose import registry
    from xcompose.allocator import keep_memory
    from xcompose.compose.addons import Given
    from xcompose.spec import load, train_settings
    from xcompose.train.before import table
    from xcompose.train.run import train, weights_in

    refuse_accelerator(accelerator)
    known = registry.load()
    resolved = load(spec, set_ or (), catalogue=known.catalogue)
    if recipe:
        how = load(recipe, catalogue=known.catalogue)
        resolved = attrs.evolve(resolved, task=how.task, train=how.train)
    if budget:
        settings = {**train_settings(resolved, known.catalogue), "budget": read_budget(budget)}
        resolved = attrs.evolve(resolved, train=settings)
    if teacher is not None and not resolved.train.get("addons"):
        raise usage_error("--teacher: nothing learns from a teacher here", "a spec with train.addons that name one")
    keep_memory()
    result = train(
        resolved,
        run_ or Path("runs") / resolved.name,
        data=data,
        resume=resume,
        overwrite=overwrite,
        registry=known,
        console=errors if format is Format.json else console,
        accelerator=accelerator,
        given=Given(teacher=weights_in(teacher)),
        base=weights_in(base),
        adapters=tuple(adapter or ()),
    )
    if format is Format.json:
        print_json(result.as_json())
    elif result.interrupted:
        console.print(f"stopped at step {result.steps}; go on with --resume", markup=False)
    else:
        console.print(
            f"\n{result.metric.replace('_', ' ')}: {result.valid[result.metric]:.3f} on held-out data", markup=False
        )
        prompt = ' --source "..."' if result.reads_source else ' --prompt "def "' if result.unit == "bytes" else ""
        if result.before and result.after:
            console.print(
                "\n".join(table(result.before, result.after, result.metric, result.unit)), markup=False, highlight=False
            )
        then = f"; next:  xcompose generate {result.folder}{prompt}" if result.generates else ""
        console.print(f"written to {result.folder}{then}", markup=False)
    if result.missed:
        print_findings(result.missed)
    if result.interrupted or result.missed:
        raise typer.Exit(1)
