"""xcompose build: what a spec's model looks like."""

from __future__ import annotations

from typing import Annotated

import typer

from xcompose.cli.common import Format, FormatOption, Sets, SpecArgument, console, print_json

EXAMPLE = "Example:  xcompose build mine.xc.yaml --set dim=128 --explain"


def run(
    spec: SpecArgument,
    set_: Sets = None,
    explain: Annotated[bool, typer.Option(help="say which executor each read gets, and why")] = False,
    format: FormatOption = Format.text,
) -> None:
    """Compose a spec's model and print it: one line a part, shapes, parameters. Takes no memory."""
    import xcompose as xc
    from xcompose.compose.build import plan_model
    from xcompose.compose.summary import summarise
    from xcompose.compose.summary_text import text

    summary = summarise(plan_model(xc.read(spec, *(set_ or ()))), explain=explain)
    if format is Format.json:
        print_json(summary.as_json())
        return
    console.print(text(summary), markup=False)
