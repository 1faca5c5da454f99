"""xcompose list: the components there are."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated

import typer

from xcompose.cli.common import Format, FormatOption, console, print_json, print_plugin_problems, usage_error

EXAMPLE = "Example:  xcompose list pattern"


def run(
    kind: Annotated[str | None, typer.Argument(help="pattern, score, memory, mixer ...")] = None,
    format: FormatOption = Format.text,
) -> None:
    """List components, one line each, by kind."""
    from xcompose import registry
    from xcompose.schema import KINDS

    if kind is not None and kind not in KINDS:
        from xcompose.diagnostics.suggest import nearest

        near = nearest(kind, KINDS)
        raise usage_error(f"there is no kind '{kind}'", f"did you mean '{near[0]}'?" if near else ", ".join(KINDS))
    components = registry.load().components(kind)
    if format is Format.json:
        print_json(
            [dict(kind=c.kind, name=c.full_name, summary=c.summary, distribution=c.distribution) for c in components]
        )
        return
    by_kind = sorted(components, key=lambda c: (KINDS.index(c.kind), c.full_name))
    width = max((len(c.full_name) for c in components), default=0)
    for title, group in groupby(by_kind, key=lambda c: c.kind):
        console.print(f"\n[bold]{title}[/bold]")
        for component in group:
            summary = component.summary.replace("[", "\\[")
            console.print(f"  {component.full_name:<{width}}  [dim]{summary}[/dim]")
    print_plugin_problems()
