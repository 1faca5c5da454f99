"""xcompose plugin new: a package for a mechanism, complete from the first minute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcompose.cli.common import console, usage_error

if TYPE_CHECKING:
    from xcompose.scaffold import File

EXAMPLE = "Example:  xcompose plugin new acme-mean --kind memory"


def run(
    name: Annotated[str, typer.Argument(help="of the distribution: acme-mean gives `acme/mean` in a spec")],
    kind: Annotated[str, typer.Option("--kind", "-k", help="pattern, score, memory, mixer, ffn ...")],
    output: Annotated[Path, typer.Option("--output", "-o", help="the folder to make the package in")] = Path("."),
) -> None:
    """Write a package for a mechanism: code, spec, tests, CI and publishing. It runs as it is."""
    from xcompose.scaffold import NameProblem, files_of, names_of, write
    from xcompose.scaffold.names import refuse_taken

    _refuse_kind(kind)
    if not output.is_dir():
        raise usage_error(f"the folder {output} does not exist", f"mkdir -p {output}")
    try:
        names = names_of(name)
        refuse_taken(names)
    except NameProblem as problem:
        raise usage_error(problem.message, problem.fix) from problem
    _refuse_offered(kind, names.full)
    folder = output / name
    files = files_of(names, kind)
    try:
        write(files, folder)
    except FileExistsError as error:
        raise usage_error(f"{folder} exists already and stays as it is", "another name, or --output") from error
    _report(folder, files)


def _refuse_kind(kind: str) -> None:
    from xcompose.diagnostics.suggest import nearest
    from xcompose.schema import KINDS

    if kind not in KINDS:
        near = nearest(kind, KINDS, 1)
        raise usage_error(f"there is no kind '{kind}'", f"did you mean '{near[0]}'?" if near else ", ".join(KINDS))


def _refuse_offered(kind: str, full: str) -> None:
    """Two distributions that offer one name are both left out, so nobody should begin like that."""
    from xcompose import registry

    there = registry.load().catalogue.get(kind, full)
    if there is not None:
        raise usage_error(f"{there.distribution} offers the {kind} '{full}' already", "another name")


def _report(folder: Path, files: tuple[File, ...]) -> None:
    """The tree with a phrase for each file, and what to do next."""
    console.print(f"wrote {folder}/", markup=False)
    width = max(len(file.path) for file in files)
    for file in files:
        console.print(f"  {file.path:<{width}}  {file.phrase}".rstrip(), markup=False)
    console.print(f"next:  cd {folder} && pip install -e '.[test]' && pytest", markup=False)
