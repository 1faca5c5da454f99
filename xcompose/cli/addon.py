"""xcompose addon: put an add-on behind a run that is trained already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xcompose.cli.common import Format, FormatOption, console, print_findings, print_json

EXAMPLE = "Example:  xcompose addon runs/mine 'quantize(int8)' --run runs/mine-int8"


def run(
    source: Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a finished run; it stays as it is")],
    addons: Annotated[list[str], typer.Argument(metavar="ADDON...", help="as a spec lists them, in order")],
    run_: Annotated[Path, typer.Option("--run", help="the folder of the run that this makes")],
    data: Annotated[Path | None, typer.Option(help="file or folder to measure on, instead of the run's own")] = None,
    overwrite: Annotated[bool, typer.Option(help="write over a run that is there")] = False,
    format: FormatOption = Format.text,
) -> None:
    """Change how a trained model's numbers are kept, and compare it with what it was."""
    import attrs

    from xcompose.train.afterwards import change_run
    from xcompose.train.before import table
    from xcompose.train.run import require_extra

    require_extra()
    found = change_run(source, addons, run_, data=data, overwrite=overwrite)
    if format is Format.json:
        before, after = attrs.asdict(found.before), attrs.asdict(found.after)
        missed = [d.message for d in found.missed]
        forms = {"folder": str(found.folder), "before": before, "after": after}
        print_json({**forms, "remarks": list(found.remarks), "missed": missed})
    else:
        lines = [*found.remarks, *table(found.before, found.after, found.metric, found.unit)]
        console.print("\n".join(lines), markup=False, highlight=False)
        console.print(f"written to {found.folder}", markup=False)
    if found.missed:
        print_findings(found.missed)
        raise typer.Exit(1)
