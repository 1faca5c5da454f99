"""A page for each command, from what `--help` knows."""

from __future__ import annotations

import enum
import typing
from collections.abc import Iterator
from typing import Any

import typer.core
import typer.main

from xcompose.cli import main


def pages(sample: bool = False) -> dict[str, str]:
    """Every page about commands, by its place; they are quick, so a sample holds all."""
    found = {"commands/index.md": _index()}
    for name, command in _commands():
        found[page_of(name)] = _page(name, command)
    return found


def navigation(sample: bool = False) -> list[Any]:
    """The pages about commands, in the order of `xcompose --help`."""
    return ["commands/index.md", *({f"xcompose {name}": page_of(name)} for name, _ in _commands())]


def page_of(name: str) -> str:
    return f"commands/{name.replace(' ', '-')}.md"


def _commands() -> Iterator[tuple[str, Any]]:
    """Names with their commands, those of groups too."""
    main.add_commands()
    yield from _below(typer.main.get_command(main.app), "")


def _below(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    for word, command in group.commands.items():
        full = f"{name} {word}".strip()
        if isinstance(command, typer.core.TyperGroup):
            yield from _below(command, full)
        elif not command.hidden:
            yield full, command


def _index() -> str:
    rows = [
        f"| [`xcompose {name}`]({page_of(name).partition('/')[2]}) | {_first(command)} |"
        for name, command in _commands()
    ]
    said = "Every command says with `--help` what stands here. Exit codes are 0: fine, 1: findings, 2: wrong usage."
    return f"# Command line\n\n{said}\n\n" + "\n".join(["| command | what it does |", "|---|---|", *rows]) + "\n"


def _first(command: Any) -> str:
    return _cell((command.help or "").split("\n\n")[0])


def _page(name: str, command: Any) -> str:
    hints = typing.get_type_hints(command.callback)
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join([f"xcompose {name}", *map(_argument, arguments), *["[OPTIONS]"] * bool(options)])
    parts = [f"# xcompose {name}", command.help or "", f"```text\n{usage}\n```"]
    if arguments:
        rows = [f"| `{_argument(p)}` | {_cell(p.help or '')} |" for p in arguments]
        parts += ["## Arguments", "\n".join(["| argument | what it is |", "|---|---|", *rows])]
    if options:
        rows = [f"| {_spelled(p, hints[p.name])} | {_default(p)} | {_cell(p.help or '')} |" for p in options]
        parts += ["## Options", "\n".join(["| option | default | what it does |", "|---|---|---|", *rows])]
    examples = _examples(command.epilog or "")
    if examples:
        parts += ["## Example", "```console\n" + "\n".join(f"$ {one}" for one in examples) + "\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _argument(argument: Any) -> str:
    word = (argument.metavar or argument.name).upper().strip("[]")
    word = f"{word}..." if argument.nargs == -1 and not word.endswith("...") else word
    return word if argument.required else f"[{word}]"


def _spelled(option: Any, hint: Any) -> str:
    words = ", ".join(f"`{word}`" for word in (*option.opts, *option.secondary_opts))
    if option.is_flag:
        return words
    kinds = [hint, *typing.get_args(hint)]
    choices = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, enum.Enum)]
    taken = (
        " or ".join(f"`{one.value}`" for one in choices[0]) if choices else f"`{option.metavar or option.name.upper()}`"
    )
    return f"{words} {taken}".replace("|", "\\|")


def _default(option: Any) -> str:
    value = option.default
    if value is None or callable(value):
        return ""
    if isinstance(value, bool):
        return "on" if value else ""
    return f"`{value.value if isinstance(value, enum.Enum) else value}`"


def _examples(epilog: str) -> list[str]:
    return [one.strip() for one in epilog.removeprefix("Example:").split("  ·  ") if one.strip()]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
