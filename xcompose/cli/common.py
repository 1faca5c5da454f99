"""What the commands share: consoles, findings, formats."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from xcompose.diagnostics import Diagnostic
from xcompose.diagnostics import SpecError as SpecError

if TYPE_CHECKING:
    from xcompose.spec.bounds import Budget

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

ACCELERATORS = ("auto", "cpu", "gpu")
PICTURES = (".png", ".svg")
SPEC_HELP = "FILE.xc.yaml, with @VARIANT or @A+B if wanted"
SpecArgument = Annotated[str, typer.Argument(metavar="SPEC", help=SPEC_HELP)]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change one place of the spec; may be given several times."),
]


class Format(StrEnum):
    """What a command prints."""

    text = "text"
    json = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="text for people, json for programs")]


def print_json(data: Any) -> None:
    """Print data for a program, without colours or wrapping."""
    plain(json.dumps(data, indent=2, ensure_ascii=False, default=str))


_said: set[str] = set()
"""Messages of the findings that this command has printed."""


def begin() -> None:
    """Forget what an earlier command of this process has said."""
    _said.clear()


def print_findings(diagnostics: Iterable[Diagnostic]) -> None:
    """Print findings in full, coloured where the terminal can."""
    from xcompose.diagnostics.render import text

    found = list(diagnostics)
    _said.update(finding.message for finding in found)
    errors.print(text(found, color=errors.is_terminal), markup=False, highlight=False)


def print_plugin_problems() -> None:
    """Say which plugins are not in use, on standard error, once; every command goes on without them."""
    from xcompose import registry
    from xcompose.registry.problems import nuisances

    found = (*registry.third_party().problems, *nuisances())
    problems = [problem for problem in found if problem.message not in _said]
    if problems:
        print_findings(problems)


def usage_error(message: str, fix: str = "") -> typer.Exit:
    """Say what is wrong with the command line itself; raise what this returns."""
    errors.print(f"error: {message}", markup=False)
    if fix:
        errors.print(f"  = fix: {fix}", markup=False)
    return typer.Exit(2)


def read_length(text: str, option: str) -> int:
    """A length as the command line writes it: 1Ki is 1024, 1k is 1000."""
    from xcompose.spec.numbers import Problem, parse_length

    try:
        n = parse_length(text.strip())
    except Problem as problem:
        raise usage_error(f"{option}: {problem.message}", "; ".join(problem.fixes) or f"{option} 1Ki") from problem
    if n < 1:
        raise usage_error(f"{option}: a length is at least 1", f"{option} 1Ki")
    return n


def refuse_picture(path: Path, option: str) -> None:
    """Refuse a file that is to be no picture.

    Raises:
        Exit: its name ends in neither .png nor .svg.
    """
    if path.suffix.lower() not in PICTURES:
        fix = f"{option} {path.stem or 'picture'}.png"
        raise usage_error(f"a picture ends in .png or .svg, '{path}' does not", fix)


def plain(text: str) -> None:
    """Print a text for a program as it is."""
    sys.stdout.write(text.rstrip("\n") + "\n")


def read_budget(text: str) -> Budget:
    """How long to train, as the command line writes it: 200 steps, 30s, 2min."""
    from xcompose.spec.bounds import parse_budget
    from xcompose.spec.numbers import Problem

    try:
        return parse_budget(text)
    except Problem as problem:
        raise usage_error(f"--budget: {problem.message}", "; ".join(problem.fixes) or "--budget 2min") from problem


def refuse_accelerator(name: str) -> None:
    """Refuse a machine that does not exist, or is not here.

    Raises:
        Exit: it is neither auto, cpu nor gpu; or a GPU is wanted and torch has none.
    """
    import torch

    if name not in ACCELERATORS:
        raise usage_error(f"--accelerator: there is no '{name}'", " | ".join(ACCELERATORS))
    if name == "gpu" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise usage_error("--accelerator: torch finds no GPU here", "--accelerator cpu")
