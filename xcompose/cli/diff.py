"""xcompose diff: what changed between two specs, in meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from xcompose.cli.common import Format, FormatOption, Sets, console, print_json, print_plugin_problems, read_length

if TYPE_CHECKING:
    from rich.text import Text

    from xcompose.compare.abilities import Difference
    from xcompose.compare.diff import Change

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

    Equal meanings are no change, however they are written. `--set` changes NEW alone.
    """
    from xcompose import registry
    from xcompose.compare.abilities import differences
    from xcompose.compare.diff import changes
    from xcompose.compare.revisions import load_at

    lengths = [read_length(text, "--length") for text in length.split(",")]
    known = registry.load()
    before, after = (f"HEAD:{old}", old) if new is None else (old, new)
    one = load_at(before, catalogue=known.catalogue)
    other = load_at(after, set_ or (), catalogue=known.catalogue)
    said = changes(one, other, known)
    measured = differences(one, other, lengths, known) if one.model and other.model else ()
    if format is Format.json:
        print_json({"same": not said, "changes": [c._asdict() for c in said], "facts": [d._asdict() for d in measured]})
    else:
        console.print(text(before, after, said, measured), markup=False)
        print_plugin_problems()
    if said and exit_code:
        raise typer.Exit(1)


def text(old: str, new: str, said: Sequence[Change], measured: Sequence[Difference]) -> Text:
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
    if not measured:
        return shown.append("\n  costs, abilities and reach are the same")
    width = max(len(d.name) for d in measured)
    for fact in measured:
        shown.append(f"\n  {fact.name:<{width}}   {fact}")
    return shown


def _turned(old: str, new: str) -> Text:
    from rich.text import Text

    if not old:
        return Text.assemble(("+ ", "green"), (new, "green"))
    if not new:
        return Text.assemble(("- ", "red"), (old, "red"))
    return Text.assemble((old, "red"), " → ", (new, "green"))
