"""xcompose explain: what a code means."""

from __future__ import annotations

from typing import Annotated

import typer

from xcompose.cli.common import Format, FormatOption, console, print_json, usage_error

EXAMPLE = "Example:  xcompose explain XC031"


def run(
    code: Annotated[str, typer.Argument(help="as printed in a message: XC031")],
    format: FormatOption = Format.text,
) -> None:
    """Explain a code: what it means, a spec that earns it, and how to mend it."""
    from xcompose.diagnostics.codes import CODES
    from xcompose.diagnostics.suggest import nearest

    entry = CODES.get(code.upper())
    if entry is None:
        near = nearest(code.upper(), CODES)
        raise usage_error(f"there is no code '{code}'", f"did you mean {near[0]}?" if near else "codes look like XC031")
    if format is Format.json:
        print_json(
            {
                "code": entry.code,
                "title": entry.title,
                "explanation": entry.explanation,
                "bad": entry.bad,
                "mend": entry.mend,
            }
        )
        return
    console.print(f"[bold]{entry.code}[/bold]  {entry.title}\n")
    console.print(entry.explanation, markup=False)
    for title, text in (("This earns it:", entry.bad), ("This mends it:", entry.mend)):
        if text:
            console.print(f"\n[bold]{title}[/bold]\n")
            console.print("\n".join("    " + line for line in text.rstrip().splitlines()), markup=False)
