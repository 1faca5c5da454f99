"""xcompose cost: parameters, work, memory and state at any length."""

from __future__ import annotations

from typing import Annotated

import typer

from xcompose.cli.common import (
    Format,
    FormatOption,
    Sets,
    SpecArgument,
    console,
    print_json,
    print_plugin_problems,
    read_length,
)

EXAMPLE = "Example:  xcompose cost specs/beyond/window-then-linear.xc.yaml --length 1Ki,16Ki,1Mi"


def run(
    spec: SpecArgument,
    length: Annotated[str, typer.Option(help="lengths, joined by commas: 1Ki is 1024, 1k is 1000")] = "1Ki,16Ki,1Mi",
    set_: Sets = None,
    training: Annotated[bool, typer.Option(help="also count a training step and its activations")] = True,
    format: FormatOption = Format.text,
) -> None:
    """Count what a model costs, on the meta device: nothing is computed, no memory is used."""
    import xcompose as xc
    from xcompose.cost.report import report

    lengths = [read_length(text, "--length") for text in length.split(",")]
    found = report(xc.read(spec, *(set_ or ())), lengths, training=training)
    if format is Format.json:
        print_json(found.as_data())
        return
    console.print(found.text(), markup=False)
    print_plugin_problems()
