"""xcompose schema: what editors need to complete and check specs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from xcompose.cli.common import console, errors, usage_error

EXAMPLE = "Example:  xcompose schema -o .xcompose/schema.json  ·  xcompose schema -o .xcompose/schema.json --check"
MODELINE = "# yaml-language-server: $schema="


def run(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="a file to write instead of the screen")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="write nothing; exit code 1 if the file is not what would be written")
    ] = False,
) -> None:
    """Write a JSON Schema of all installed components: with it a YAML editor completes, explains and checks specs.

    A spec names it in a comment of its own, with a path relative to the spec:
    # yaml-language-server: $schema=.xcompose/schema.json
    """
    if check and output is None:
        raise usage_error("--check compares a file, and none is named", "xcompose schema -o FILE --check")
    text = schema_text()
    if output is None:
        sys.stdout.write(text)
    elif check:
        _compare(output, text)
    else:
        write(output, text)
        console.print(f"wrote {output}", markup=False)


def schema_text() -> str:
    """The schema of all that is installed, as the text of a file."""
    import json

    from xcompose import registry
    from xcompose.spec.json_schema import json_schema

    return json.dumps(json_schema(registry.load().catalogue), indent=1, ensure_ascii=False) + "\n"


def write(path: Path, text: str) -> None:
    """Write the schema as a whole file, in a folder that is made where it is missing."""
    from xcompose.writing import replace

    replace(path, text.encode())


def _compare(path: Path, text: str) -> None:
    there = path.read_bytes() if path.is_file() else None
    if there == text.encode():
        console.print(f"{path}: up to date", markup=False)
        return
    message = f"{path} is not what is installed now" if there is not None else f"there is no file {path}"
    errors.print(f"error: {message}", markup=False)
    errors.print(f"  = fix: xcompose schema -o {path}", markup=False)
    raise typer.Exit(1)
