"""xcompose new: a first spec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xcompose.cli.common import console, usage_error
from xcompose.cli.schema import MODELINE, schema_text, write

EXAMPLE = "Example:  xcompose new mine"

SCHEMA = ".xcompose/schema.json"
TEMPLATE = f"""\
{MODELINE}{SCHEMA}
xcompose: 1
model:
  type: decoder
  dim: 256
  layers: 4
task: lm(data=stdlib)
"""


def run(
    name: Annotated[str, typer.Argument(help="name of the spec: mine gives mine.xc.yaml")],
) -> None:
    """Write a first spec: six lines that build, check and train; and a schema, by which editors complete it."""
    path = Path(name.removesuffix(".xc.yaml") + ".xc.yaml")
    if path.exists():
        raise usage_error(f"{path} exists already and stays as it is", "choose another name")
    if not path.parent.is_dir():
        raise usage_error(f"the folder {path.parent} does not exist", f"mkdir -p {path.parent}")
    schema = path.parent / SCHEMA
    write(schema, schema_text())
    path.write_text(TEMPLATE, encoding="utf-8")
    lines = len(TEMPLATE.splitlines())
    console.print(f"wrote {path} ({lines} lines) and {schema} (your editor completes specs now)", markup=False)
    console.print(f"next:  xcompose build {path}  ·  xcompose train {path} --budget 2min", markup=False)
