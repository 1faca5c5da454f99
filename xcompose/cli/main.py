"""The command line: one file a command; heavy imports happen inside the commands."""

from __future__ import annotations

import os
import sys

import typer

from xcompose.cli import common
from xcompose.diagnostics import TooLong

app = typer.Typer(
    name="xcompose",
    help="Compose efficient-Transformer mechanisms into one checked model, from one YAML file.",
    epilog="Example:  xcompose new mine  ·  xcompose check  ·  xcompose train mine.xc.yaml@tiny",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def add_commands() -> None:
    """Give the application its commands, once."""
    if app.registered_commands:
        return
    from xcompose.cli import (
        adapter,
        addon,
        bench,
        build,
        check,
        compare,
        cost,
        diff,
        draw,
        explain,
        freeze,
        generate,
        list_,
        migrate,
        new,
        plugin,
        quickstart,
        search,
        show,
        train,
        why,
    )

    app.add_typer(adapter.app, rich_help_panel="Run")
    app.add_typer(plugin.app, rich_help_panel="Publish")
    groups = {
        "Write": {
            "new": new,
            "list": list_,
            "show": show,
            "explain": explain,
            "why": why,
            "freeze": freeze,
            "migrate": migrate,
        },
        "Prove": {"check": check, "diff": diff, "build": build, "cost": cost, "draw": draw, "bench": bench},
        "Run": {
            "train": train,
            "addon": addon,
            "generate": generate,
            "compare": compare,
            "search": search,
            "quickstart": quickstart,
        },  # fmt: skip
    }
    for title, commands in groups.items():
        for name, module in commands.items():
            app.command(name, rich_help_panel=title, epilog=module.EXAMPLE)(module.run)


def main() -> None:
    """Run the command line. Exit code 0: fine; 1: findings; 2: wrong usage or an internal error."""
    add_commands()
    common.begin()
    try:
        _run()
    finally:
        if _looks_at_plugins(sys.argv[1:]):
            common.print_plugin_problems()


def _looks_at_plugins(words: list[str]) -> bool:
    """Whether to say at the end which plugins are broken: not after a page of help, nor where nothing else is said."""
    return bool(words) and words[0] != "plugin" and not {"-h", "--help"}.intersection(words)


def _run() -> None:
    try:
        app(prog_name="xcompose")
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
