"""xcompose draw: who reads whom, as a picture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcompose.cli.common import (
    Format,
    FormatOption,
    Sets,
    SpecArgument,
    console,
    print_json,
    read_length,
    refuse_picture,
    usage_error,
)

if TYPE_CHECKING:
    from xcompose.attention.grid import Grid
    from xcompose.compose.model import Model

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
    at: Annotated[
        str | None, typer.Option(help="of a model on a grid: what the query in this ROW,COLUMN reads, on the grid")
    ] = None,
    set_: Sets = None,
    format: FormatOption = Format.text,
) -> None:
    """Draw who reads whom in each layer and group of heads, and what has reached each position after each layer."""
    if at is not None and length is not None:
        raise usage_error("--at shows the whole grid, which has a length of its own", "leave --length out")
    if output is not None:
        refuse_picture(output, "-o")
    n = None if length is None else read_length(length, "--length")
    if n is not None and not 2 <= n <= LONGEST:
        raise usage_error(f"--length: a picture shows 2 to {LONGEST} tokens, not {n}", "--length 256")
    import xcompose as xc
    from xcompose.compare.draw import draw, summary, telling_length
    from xcompose.compare.draw_grid import draw_on_grid
    from xcompose.compose.build import plan_model

    read = xc.read(spec, *(set_ or ()))
    model = plan_model(read)
    file = output or Path(f"{read.name}.png")
    if at is None:
        wanted = n or telling_length(model)
        path = draw(model, file, n=wanted)
    else:
        grid, place = _place(model, at)
        wanted, path = grid.size, draw_on_grid(model, file, grid, place)
    if format is Format.json:
        print_json({"file": str(path), "length": wanted, "layers": summary(model, wanted)})
        return
    console.print(f"wrote {path}: {len(model.layers)} layers, {wanted} tokens", markup=False)


def _place(model: Model, at: str) -> tuple[Grid, tuple[int, int]]:
    """The grid of a model, and a place on it."""
    from xcompose.compare.draw_grid import grid_of_model

    grid = grid_of_model(model)
    if grid is None:
        raise usage_error("--at: the model has no grid of two sides", "draw it without --at")
    if grid.size > LONGEST:
        raise usage_error(f"--at: a picture shows {LONGEST} tokens at most, the grid has {grid.size}", "a smaller grid")
    rows, columns = grid.sides[0], grid.size // grid.sides[0]
    found = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", at)
    if found is None or int(found[1]) >= rows or int(found[2]) >= columns:
        limits = f"0 to {rows - 1}, and a column, 0 to {columns - 1}"
        raise usage_error(f"--at names a row, {limits}, not '{at}'", f"--at {rows // 2},{columns // 2}")
    return grid, (int(found[1]), int(found[2]))
