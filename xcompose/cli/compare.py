"""xcompose compare: several specs by one recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import attrs
import typer

from xcompose.cli.common import (
    Format,
    FormatOption,
    Sets,
    console,
    errors,
    print_json,
    read_budget,
    refuse_accelerator,
    usage_error,
)

EXAMPLE = (
    "Example:  xcompose compare specs/beyond/dense-12m.xc.yaml@tiny specs/beyond/linear-12m.xc.yaml@tiny "
    "--recipe specs/recipes/bytes-2min.xc.yaml --budget 30s"
    "  ·  xcompose compare mine.xc.yaml --vary let.w 32 64 128"
)


def run(
    words: Annotated[list[str], typer.Argument(metavar="SPEC ...", help="specs; behind --vary PATH: its values")],
    recipe: Annotated[
        str | None, typer.Option(help="a spec with `task` and `train`; default: the specs' own task, default training")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="of each run: 200 steps, 30s, 2min; as train.budget")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="runs of each spec: the seeds 0, 1, 2 ...")] = 1,
    vary: Annotated[
        str | None, typer.Option(metavar="PATH V1 V2 ...", help="also compare these values of one place of the spec")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="file or folder to train on, instead of the task's own data")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="a folder for report and runs; default runs/compare-N")] = None,
    set_: Sets = None,
    addons: Annotated[
        bool, typer.Option("--addons", help="also compare each spec without its add-ons, and with one more each time")
    ] = False,
    teacher: Annotated[Path | None, typer.Option(help="weights, or a run's folder, of the teacher of all")] = None,
    base: Annotated[Path | None, typer.Option(help="weights, or a run's folder, that all begin with")] = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu or gpu")] = "auto",
    format: FormatOption = Format.text,
) -> None:
    """Train several specs by one recipe and compare quality, speed, work, memory and decode state.

    Writes an HTML report with curves and pictures. What differs by chance only is said to differ by chance only.
    """
    from xcompose import registry
    from xcompose.allocator import keep_memory
    from xcompose.compare.candidates import candidates, recipe_of
    from xcompose.compare.compare import compare
    from xcompose.compare.table import text
    from xcompose.compose.addons import Given
    from xcompose.compose.spelling import Speller
    from xcompose.spec import load
    from xcompose.train.run import require_extra, weights_in

    require_extra()
    keep_memory()
    refuse_accelerator(accelerator)
    references, values = _split(words, vary)
    known = registry.load()
    varied = (vary, values) if vary else None
    found = candidates(
        references, set_ or (), known.catalogue, varied, Speller(known).spelled if addons else None
    )  # fmt: skip
    how = load(recipe, catalogue=known.catalogue) if recipe else None
    made = recipe_of(how, found, known.catalogue)
    if budget:
        made = attrs.evolve(made, train={**made.train, "budget": read_budget(budget)})
    if teacher is not None and not (made.train["addons"] or any(c.spec.train.get("addons") for c in found)):
        raise usage_error("--teacher: nothing learns from a teacher here", "a spec with train.addons that name one")
    result = compare(
        found, made, out or free_folder(Path("runs")), seeds=seeds, data=data, registry=known,
        console=errors if format is Format.json else console, accelerator=accelerator,
        given=Given(teacher=weights_in(teacher)), base=weights_in(base),
    )  # fmt: skip
    if format is Format.json:
        print_json(result.as_json())
        return
    console.print()
    console.print(text(result), markup=False)


def _split(words: list[str], vary: str | None) -> tuple[list[str], list[str]]:
    """Specs, and behind them the values of --vary."""
    references = [word for word in words if ".xc.yaml" in word]
    values = [word for word in words if ".xc.yaml" not in word]
    if values and not vary:
        raise usage_error(f"'{values[0]}' is no spec: it does not end in .xc.yaml", "values stand behind --vary")
    if vary and not values:
        raise usage_error(f"--vary {vary} needs values", f"--vary {vary} 32 64 128")
    if not references:
        raise usage_error("no spec to compare", "xcompose compare mine.xc.yaml other.xc.yaml")
    return references, values


def free_folder(parent: Path) -> Path:
    """The first of compare-1, compare-2 ... that does not exist."""
    number = 1
    while (parent / f"compare-{number}").exists():
        number += 1
    return parent / f"compare-{number}"
