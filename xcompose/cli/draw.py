"""xcompose draw: who reads whom, as a picture."""

from __future__ import annotations

from pathlib import Path
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
    refuse_picture,
    usage_error,
)

EXAMPLE = "Example:  xcompose draw specs/beyond/window-then-linear.xc.yaml@tiny -o picture.png --length 256"

LONGEST = 4096
"""A picture has a cell for each query and key; further out nobody sees single cells."""


def run(
    spec: SpecArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="a .png or .svg file; default NAME.png, here")
    ] = None,
    length: Annotated[
        str | None, typer.Option(help="of the sequence drawn; default: the smallest that shows structure")
    ] = None,
    set_: Sets = None,
    format: FormatOption = Format.text,
) -> None:
    """Draw who reads whom in each layer and group of heads, and what has reached each position after each layer."""
    if output is not None:
        refuse_picture(output, "-o")
    n = None if length is None else read_length(length, "--length")
    if n is not None and not 2 <= n <= LONGEST:
        raise usage_error(f"--length: a picture shows 2 to {LONGEST} tokens, not {n}", "--length 256")
    import xcompose as xc
    from xcompose.compare.draw import draw, summary, telling_length
    from xcompose.compose.build import plan_model

    read = xc.read(spec, *(set_ or ()))
    model = plan_model(read)
    wanted = n or telling_length(model)
    path = draw(model, output or Path(f"{read.name}.png"), n=wanted)
    if format is Format.json:
        print_json({"file": str(path), "length": wanted, "layers": summary(model, wanted)})
        return
    console.print(f"wrote {path}: {len(model.layers)} layers, {wanted} tokens", markup=False)
    print_plugin_problems()
