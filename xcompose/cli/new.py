"""xcompose new: a first spec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xcompose.cli.common import console, usage_error

EXAMPLE = "Example:  xcompose new mine"

TEMPLATE = """\
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
    """Write a first spec: six lines that build, check and train."""
    path = Path(name.removesuffix(".xc.yaml") + ".xc.yaml")
    if path.exists():
        raise usage_error(f"{path} exists already and stays as it is", "choose another name")
    if not path.parent.is_dir():
        raise usage_error(f"the folder {path.parent} does not exist", f"mkdir -p {path.parent}")
    path.write_text(TEMPLATE, encoding="utf-8")
    console.print(f"wrote {path} ({len(TEMPLATE.splitlines())} lines)", markup=False)
    console.print(f"next:  xcompose build {path}  ·  xcompose train {path} --budget 2min", markup=False)
