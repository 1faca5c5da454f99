"""xcompose why: where a value comes from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xcompose.cli.common import Format, FormatOption, Sets, SpecArgument, console, print_json

EXAMPLE = "Example:  xcompose why specs/beyond/window-then-linear.xc.yaml@tiny let.w --set let.w=16"


def run(
    spec: SpecArgument,
    path: Annotated[str, typer.Argument(help="as --set writes it: model.layers.0.mixer")],
    set_: Sets = None,
    format: FormatOption = Format.text,
) -> None:
    """Say who gave a place its value, and what was overridden on the way."""
    from xcompose import registry
    from xcompose.spec import load, why

    chain = why(load(spec, set_ or (), catalogue=registry.load().catalogue), path)
    if format is Format.json:
        print_json([{"text": o.text, "by": o.by, "place": _place(o)} for o in chain])
        return
    rows = [(_lead(number, o), o.text, _place(o), o.by) for number, o in enumerate(chain)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1, 2)]
    for lead, text, place, by in rows:
        line = f"{lead:<{widths[0]}} {text:<{widths[1]}}   {place:<{widths[2]}}   {by if by != 'used at' else ''}"
        console.print(line.rstrip(), markup=False)


def _lead(number: int, origin: Any) -> str:
    if origin.by == "used at":
        return "used at"
    return "" if number == 0 else "over"


def _place(origin: Any) -> str:
    return f"{origin.span.file}:{origin.span.line}" if origin.span else ""
