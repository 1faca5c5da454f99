"""xcompose freeze: a spec with every default written out, and what it means."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from xcompose.cli.common import Sets, SpecArgument, console, print_findings
from xcompose.spec.drift import DRIFTED

EXAMPLE = "Example:  xcompose freeze mine.xc.yaml@tiny -o frozen.xc.yaml"


def run(
    spec: SpecArgument,
    set_: Sets = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="a file to write instead of the screen")] = None,
) -> None:
    """Print a spec with all its defaults and nothing to look up, and a record of what it means.

    The record holds versions, and digests of options, of the model's tensors, and of who may read whom in it. `check`
    refuses the frozen spec when it does not mean the same any more; tensors and who reads whom it compares from stage
    `build` on.
    """
    from xcompose import registry
    from xcompose.compose.build import plan_model
    from xcompose.diagnostics import SpecError
    from xcompose.spec import check
    from xcompose.spec.frozen import signed
    from xcompose.train.folder import write_atomically
    from xcompose.verify.facts import Facts
    from xcompose.verify.sight import sight

    installed = registry.load()
    found, said = check(spec, set_ or (), installed.catalogue, drifted="warning")
    if found is None:
        raise SpecError(said)
    drifted = [diagnostic for diagnostic in said if diagnostic.code == DRIFTED]
    if drifted:
        print_findings(drifted)
    model = plan_model(found, registry=installed) if found.model is not None else None
    reads = sight(Facts(model, found)) if model is not None else ""
    text = signed(found, installed.catalogue, output.parent if output is not None else None, model, reads)
    if output is None:
        sys.stdout.write(text)
        return
    write_atomically(output, text.encode())
    console.print(f"wrote {output}", markup=False)
