"""xcompose diff: what changed between two specs, in meaning."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from xcompose.cli.common import (
    Format,
    FormatOption,
    Sets,
    console,
    print_findings,
    print_json,
    print_plugin_problems,
    read_length,
)
from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.diagnostics.data import as_data

if TYPE_CHECKING:
    from rich.text import Text

    from xcompose.compare.abilities import Measured
    from xcompose.compare.diff import Change
    from xcompose.compare.revisions import Opened
    from xcompose.registry import Registry

EXAMPLE = "Example:  xcompose diff origin/main:specs/mine.xc.yaml specs/mine.xc.yaml"
REFERENCE = "FILE.xc.yaml, with @VARIANT if wanted; REVISION:FILE takes it from git"


def run(
    old: Annotated[str, typer.Argument(metavar="OLD", help=REFERENCE)],
    new: Annotated[
        str | None, typer.Argument(metavar="[NEW]", help="the same; without it OLD as it is now, against git's HEAD")
    ] = None,
    length: Annotated[str, typer.Option(help="lengths at which costs are compared, joined by commas")] = "1Ki,16Ki",
    set_: Sets = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="end with 1 where they differ")] = False,
    format: FormatOption = Format.text,
) -> None:
    """Say what changed between two specs, or two versions of one: layers, costs, abilities, reach.

    Equal meanings are no change, however they are written. Layers have their numbers in NEW, those that went in OLD.
    FILE behind a REVISION is below the top of the repository, ./FILE below this folder. `--set` changes NEW alone.
    """
    from xcompose import registry
    from xcompose.compare.revisions import committed

    lengths = [read_length(text, "--length") for text in length.split(",")]
    known = registry.load()
    before, after = (committed(old), old) if new is None else (old, new)
    found = _compared(before, after, set_ or (), lengths, known)
    if format is Format.json:
        print_json(found.data())
    else:
        if found.said is not None:
            console.print(text(before, after, found.said, found.measured), markup=False)
        for side in (found.measured.old, found.measured.new):
            if side:
                print_findings(side)
        print_plugin_problems()
    if found.measured.old or found.measured.new or (found.said and exit_code):
        raise typer.Exit(1)


class _Found(NamedTuple):
    """What is known about two specs."""

    said: Sequence[Change] | None
    """None where one of them cannot be read."""
    measured: Measured

    def data(self) -> dict[str, Any]:
        findings = {"old": self.measured.old, "new": self.measured.new}
        return {
            "same": None if self.said is None else not self.said,
            "changes": [change._asdict() for change in self.said or ()],
            "facts": [fact._asdict() for fact in self.measured.differences],
            "findings": {side: [as_data(one) for one in found] for side, found in findings.items()},
        }


def _compared(before: str, after: str, sets: Sequence[str], lengths: Sequence[int], known: Registry) -> _Found:
    from xcompose.compare.abilities import Measured, measured
    from xcompose.compare.diff import changes
    from xcompose.compare.revisions import opened

    with ExitStack() as stack:
        sides: list[Opened] = []
        refused: list[tuple[Diagnostic, ...]] = []
        for reference, changed in ((before, ()), (after, sets)):
            try:
                sides.append(stack.enter_context(opened(reference, changed, catalogue=known.catalogue)))
                refused.append(())
            except SpecError as error:
                refused.append(error.diagnostics)
        if len(sides) < 2:
            return _Found(None, Measured((), *refused))
        old, new = sides
        said = [
            change._replace(old=old.named(change.old), new=new.named(change.new))
            for change in changes(old.spec, new.spec, known)
        ]
        return _Found(said, measured(old.spec, new.spec, lengths, known))


def text(old: str, new: str, said: Sequence[Change], measured: Measured) -> Text:
    """A line for each change, and one for each fact that is another one."""
    from rich.text import Text

    if not said:
        return Text(f"{old} and {new} mean the same")
    where = max(len(c.where) for c in said)
    what = max(len(c.what) for c in said)
    shown = Text.assemble((old, "red"), " → ", (new, "green"), "\n")
    for change in said:
        lead = f"\n  {change.where:<{where}}   " + (f"{change.what:<{what}}   " if what else "")
        shown.append(lead).append_text(_turned(change.old, change.new))
    shown.append("\n")
    if not measured.differences:
        same = "neither composes" if measured.old else "costs, abilities and reach are the same"
        return shown.append(f"\n  {same}")
    width = max(len(d.name) for d in measured.differences)
    for fact in measured.differences:
        shown.append(f"\n  {fact.name:<{width}}   {fact}")
    return shown


def _turned(old: str, new: str) -> Text:
    from rich.text import Text

    if not old:
        return Text.assemble(("+ ", "green"), (new, "green"))
    if not new:
        return Text.assemble(("- ", "red"), (old, "red"))
    return Text.assemble((old, "red"), " → ", (new, "green"))
