"""xcompose list: the components there are."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated

import typer

from xcompose.cli.common import Format, FormatOption, console, print_json, usage_error

EXAMPLE = "Example:  xcompose list pattern"


def run(
    kind: Annotated[str | None, typer.Argument(help="pattern, score, memory, mixer ...")] = None,
    format: FormatOption = Format.text,
) -> None:
    """List components, one line each, by kind."""
    from xcompose import registry
    from xcompose.schema import KINDS
    from xcompose.spec.catalogue import canonical

    if kind is not None and kind not in KINDS:
        from xcompose.diagnostics.suggest import nearest

        near = nearest(kind, KINDS)
        raise usage_error(f"there is no kind '{kind}'", f"did you mean '{near[0]}'?" if near else ", ".join(KINDS))
    schemas = [s for s in registry.load().catalogue if kind in (None, s.kind)]
    by_kind = sorted(schemas, key=lambda s: (KINDS.index(s.kind), canonical(s)))
    if format is Format.json:
        print_json(
            [dict(kind=s.kind, name=canonical(s), summary=s.summary, distribution=s.distribution) for s in by_kind]
        )
        return
    width = max((len(canonical(s)) for s in schemas), default=0)
    for title, group in groupby(by_kind, key=lambda s: s.kind):
        console.print(f"\n[bold]{title}[/bold]")
        for schema in group:
            summary = schema.summary.replace("[", "\\[")
            console.print(f"  {canonical(schema):<{width}}  [dim]{summary}[/dim]")
