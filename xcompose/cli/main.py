"""The command line: one file a command; heavy imports happen inside the commands."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import sys
from typing import Annotated, Any

import typer

from xcompose.cli import common
from xcompose.diagnostics import TooLong

COMMANDS = {
    "Write": ("new", "list", "show", "explain", "why", "freeze", "migrate", "schema"),
    "Prove": ("check", "diff", "build", "cost", "draw", "bench"),
    "Run": ("train", "addon", "generate", "compare", "search", "quickstart"),
}
"""Every command under its title; its module is called like it, or as MODULES says."""
MODULES = {"list": "list_"}
GROUPS = {"adapter": "Run", "plugin": "Publish"}
"""Commands that have commands, and their titles."""


def _new() -> typer.Typer:
    made = typer.Typer(
        name="xcompose",
        help="Compose efficient-Transformer mechanisms into one checked model, from one YAML file.",
        epilog="Example:  xcompose new mine  ·  xcompose check  ·  xcompose train mine.xc.yaml@tiny",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_common)  # with it, an application of one command is still called with that command's name
    return made


def _print_version(wanted: bool) -> None:
    if wanted:
        torch = f"torch {_version('torch')}"
        typer.echo(f"xcompose {_version('xcompose')}, {torch}, Python {platform.python_version()}")
        raise typer.Exit


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="say which versions are here, and end"),
    ] = False,
) -> None:
    pass


app = _new()


def add_commands() -> None:
    """Give the application its commands, once."""
    if app.registered_commands:
        return
    for name, title in GROUPS.items():
        app.add_typer(_module(name).app, rich_help_panel=title)
    for name, title in _titles().items():
        _add(app, name, title)


def only(name: str) -> typer.Typer:
    """The application with one command: the modules of the others are not imported."""
    made = _new()
    _add(made, name, _titles()[name])
    return made


def _titles() -> dict[str, str]:
    return {name: title for title, names in COMMANDS.items() for name in names}


def _add(to: typer.Typer, name: str, title: str) -> None:
    module = _module(name)
    to.command(name, rich_help_panel=title, epilog=module.EXAMPLE)(module.run)


def _module(name: str) -> Any:
    return importlib.import_module(f"xcompose.cli.{MODULES.get(name, name)}")


def _asked_for() -> typer.Typer:
    """The application, as far as the command line needs it."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name == "--version":
        return _new()
    if name in _titles():
        return only(name)
    add_commands()
    return app


def main() -> None:
    """Run the command line. Exit code 0: fine; 1: findings; 2: wrong usage or an internal error."""
    common.begin()
    try:
        _run()
    finally:
        if _looks_at_plugins(sys.argv[1:]):
            common.print_plugin_problems()


def _looks_at_plugins(words: list[str]) -> bool:
    """Whether to say at the end which plugins are broken: not after a page of help, nor where nothing else is said."""
    return bool(words) and words[0] not in ("plugin", "--version") and not {"-h", "--help"}.intersection(words)


def _run() -> None:
    try:
        _asked_for()(prog_name="xcompose")
    except common.SpecError as error:
        common.print_findings(error.diagnostics)
        sys.exit(1)
    except TooLong as error:
        common.errors.print(f"error: {error}", markup=False)
        common.errors.print(f"  = fix: {error.limit} tokens at most", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        common.errors.print("stopped")
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output wants no more of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        common.errors.print(f"error: {f'{error.filename}: ' if error.filename else ''}{reason}", markup=False)
        sys.exit(2)
    except Exception as error:
        if os.environ.get("XCOMPOSE_DEBUG"):
            raise
        common.errors.print(f"internal error: {type(error).__name__}: {error}", markup=False)
        common.errors.print("This is a fault of xcompose or of a plugin. XCOMPOSE_DEBUG=1 shows where.", markup=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
