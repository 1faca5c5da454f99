"""xcompose freeze: a spec with every default written out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from xcompose.cli.common import Sets, SpecArgument, console

EXAMPLE = "Example:  xcompose freeze mine.xc.yaml@tiny -o frozen.xc.yaml"


def run(
    spec: SpecArgument,
    set_: Sets = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="a file to write instead of the screen")] = None,
) -> None:
    """Print a spec with all its defaults and nothing to look up: it means the same for ever."""
    from xcompose import registry
    from xcompose.spec import freeze, load
    from xcompose.train.folder import write_atomically

    text = freeze(load(spec, set_ or (), catalogue=registry.load().catalogue))
    if output is None:
        sys.stdout.write(text)
        return
    write_atomically(output, text.encode())
    console.print(f"wrote {output}", markup=False)
