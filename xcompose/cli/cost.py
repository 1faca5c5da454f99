"""xcompose cost: parameters, work, memory and state at any length."""

from __future__ import annotations

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
)

if TYPE_CHECKING:
    from xcompose.spec.model import Spec

EXAMPLE = "Example:  xcompose cost specs/beyond/window-then-linear.xc.yaml --length 1Ki,16Ki,1Mi"

LENGTHS = (2**10, 2**14, 2**20)


def run(
    spec: SpecArgument,
    length: Annotated[
        str | None,
        typer.Option(
            help="lengths, joined by commas: 1Ki is 1024, 1k is 1000; default 1Ki,16Ki,1Mi, up to the model's own"
        ),
    ] = None,
    set_: Sets = None,
    training: Annotated[bool, typer.Option(help="also count a training step and its activations")] = True,
    format: FormatOption = Format.text,
) -> None:
    """Count what a model costs, on the meta device: nothing is computed, no memory is used."""
    import xcompose as xc
    from xcompose.cost.report import report

    read = xc.read(spec, *(set_ or ()))
    lengths = usual(read) if length is None else [read_length(text, "--length") for text in length.split(",")]
    found = report(read, lengths, training=training)
    if format is Format.json:
        print_json(found.as_data())
        return
    console.print(found.text(), markup=False)


def usual(spec: Spec) -> list[int]:
    """Lengths that are counted where none is said: none is longer than the model takes."""
    from xcompose.spec.model import Section

    options = spec.model.options if spec.model else {}
    stated = [options.get("length"), *(s.options.get("length") for s in options.values() if isinstance(s, Section))]
    longest = min((n for n in stated if n), default=None)
    return list(LENGTHS) if longest is None else [*(n for n in LENGTHS if n < longest), min(longest, LENGTHS[-1])]
