"""xcompose migrate: specs in the names and the version of today."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated

import typer

from xcompose.cli.common import console, errors, print_findings, usage_error

if TYPE_CHECKING:
    from xcompose.spec.migrate import Migration

EXAMPLE = "Example:  xcompose migrate specs/  ·  xcompose migrate mine.xc.yaml --diff  ·  xcompose migrate --check"
PLAN = "say what would change and write nothing; exit code 1 if something would"


def run(
    paths: Annotated[
        list[str] | None, typer.Argument(help="specs, folders; without any: what pyproject names, else specs/")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help=PLAN)] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="print what would change, line by line, and write nothing")
    ] = False,
) -> None:
    """Rewrite old names of options and components, and specs of an older version of the language.

    Comments and layout stay as they are. A file is written only if it means the same afterwards.
    Exit code 0: everything is as it should be now; 1: a file has errors, or with --check, would change; 2: wrong usage.
    """
    from xcompose import registry
    from xcompose.diagnostics import SpecError
    from xcompose.spec import find_specs, migrate

    catalogue = registry.load().catalogue
    files = [str(path) for path in find_specs(paths or [])]
    if not files:
        raise usage_error("no spec was found: nothing ends in .xc.yaml there", "xcompose migrate FILE.xc.yaml")
    found, broken = [], 0
    for file in files:
        try:
            found.append(migrate.migrate(file, catalogue))
        except SpecError as error:
            print_findings(error.diagnostics)
            errors.print()
            broken += 1
    changed = [one for one in found if one.changes]
    for one in changed:
        _one(one, write=not (check or diff), diff=diff)
    _say_elsewhere(found, files)
    _summary(len(files), len(changed), broken, "would change" if check or diff else "changed")
    if broken or (check and changed):
        raise typer.Exit(1)


def _one(one: Migration, *, write: bool, diff: bool) -> None:
    from pathlib import Path

    from xcompose.writing import replace

    if write:
        replace(Path(one.file), one.data)
    if diff:
        console.print(_diff(one), markup=False, end="")
        return
    console.print(one.file, markup=False, style="bold")
    width = max(len(f"{change.line}:{change.column}") for change in one.changes)
    for change in one.changes:
        console.print(f"  {f'{change.line}:{change.column}':<{width}}  {change.old} → {change.new}", markup=False)


def _diff(one: Migration) -> str:
    """Both texts line by line, as patch programs read it."""
    before, after = (text.removeprefix("\ufeff").splitlines() for text in (one.before, one.after))
    lines = difflib.unified_diff(before, after, f"a/{one.file}", f"b/{one.file}", lineterm="", n=1)
    return "".join(f"{line}\n" for line in lines)


def _say_elsewhere(found: list[Migration], files: list[str]) -> None:
    for one in found:
        for other in one.elsewhere:
            if other not in files:
                errors.print(f"note: {one.file} extends {other}, which has old names, too", markup=False)
                errors.print(f"  = fix: xcompose migrate {other}", markup=False)


def _summary(total: int, changed: int, broken: int, said: str) -> None:
    specs = f"{total} spec{'s' * (total != 1)}"
    parts = [f"{changed} {said}"] if changed else []
    parts += [f"{broken} with errors, left alone"] if broken else []
    console.print(f"{specs}: {', '.join(parts) or 'nothing to change'}", markup=False)
