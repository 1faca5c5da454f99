"""What the commands share: consoles, findings, formats."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from enum import Enum
from typing import Annotated, Any

import typer
from rich.console import Console

from xcompose.diagnostics import Diagnostic
from xcompose.diagnostics import SpecError as SpecError

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

SPEC_HELP = "FILE.xc.yaml, with @VARIANT or @A+B if wanted"
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change one place of the spec; may be given several times."),
]


class Format(str, Enum):
    """What a command prints."""

    text = "text"
    json = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="text for people, json for programs")]


def print_json(data: Any) -> None:
    """Print data for a program, without colours or wrapping."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n")


def print_findings(diagnostics: Iterable[Diagnostic]) -> None:
    """Print findings in full, coloured where the terminal can."""
    from xcompose.diagnostics.render import text

    errors.print(text(list(diagnostics), color=errors.is_terminal), markup=False, highlight=False)


def print_plugin_problems() -> None:
    """Say which plugins are not in use, on standard error; every command goes on without them."""
    from xcompose import registry

    problems = registry.load().problems
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
        raise usage_error(f"{option}: {problem.message}", "; ".join(problem.fixes)) from problem
    if n < 1:
        raise usage_error(f"{option}: a length is at least 1", f"{option} 1Ki")
    return n
