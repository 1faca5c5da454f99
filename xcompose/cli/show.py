"""xcompose show: a component's card, options and picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from xcompose.cli.common import Format, FormatOption, console, print_json, usage_error

if TYPE_CHECKING:
    from xcompose.registry import Component
    from xcompose.schema import OptionSchema

EXAMPLE = "Example:  xcompose show window  ·  xcompose show pattern heads"


def run(
    words: Annotated[list[str], typer.Argument(metavar="[KIND] NAME", help="the component's name, its kind if needed")],
    format: FormatOption = Format.text,
) -> None:
    """Show what a component is, what its options mean, and what its pattern looks like."""
    component = _find(words)
    if format is Format.json:
        print_json(_as_data(component))
        return
    _print_head(component)
    _print_options(component)
    _print_picture(component)
    console.print()
    console.print(escape(component.card.partition("\n")[2].strip("\n")))
    if component.also:
        console.print(f"also      {escape(', '.join(component.also))}")


def _find(words: list[str]) -> Component:
    from xcompose import registry
    from xcompose.diagnostics.suggest import nearest
    from xcompose.spec.catalogue import canonical

    known = registry.load()
    kind, name = (words[0], words[1]) if len(words) == 2 else (None, words[0])
    schemas = [s for s in known.catalogue if kind in (None, s.kind)]
    found = [s for s in schemas if name in (canonical(s), s.name)]
    own = [s for s in found if name == canonical(s)]
    if len(own) == 1:
        found = own
    if len(found) == 1:
        return known.component(found[0].kind, canonical(found[0]))
    if found:
        commands = " · ".join(f"xcompose show {s.kind} {canonical(s)}" for s in found)
        raise usage_error(f"{len(found)} components are called {name}", commands)
    others = [s for s in schemas if name in s.also]
    if others:
        raise usage_error(f"no component is called '{name}'", f"xcompose calls it '{canonical(others[0])}'")
    near = nearest(name, [canonical(s) for s in schemas])
    raise usage_error(f"no component is called '{name}'", f"did you mean '{near[0]}'?" if near else "xcompose list")


def _print_head(component: Component) -> None:
    origin = "core" if not component.namespace else component.distribution
    facts = f"{component.kind}   {origin}, version {component.version}"
    console.print(f"[bold]{component.full_name}[/bold]   {facts}")
    console.print(escape(component.summary))


def _print_options(component: Component) -> None:
    options = component.schema.options
    if not options:
        return
    console.print()
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for one in options:
        table.add_row("▸" if one.main else " ", one.name, escape(_type(one)), escape(one.note))
    console.print(table)
    main = component.schema.main
    if main is not None:
        console.print(f"  ▸ {main.name} is the unnamed argument: {component.name}({_sample(main)})")


def _type(option: OptionSchema) -> str:
    value = option.type
    name = " or ".join(value.words) if value.name == "word" else value.kind or value.name
    if value.name == "list" and value.of is not None:
        fields = ", ".join(field.name for field in value.of.fields)
        name = f"list of {{{fields}}}" if fields else f"list of {value.of.kind or value.of.name}"
    if option.inherited:
        return f"{name}, the layer's"
    return name if option.required else f"{name} = {_default(option.default)}"


def _default(value: Any) -> str:
    words = {True: "true", False: "false", None: "none"}
    if value is None or isinstance(value, bool):
        return words[value]
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _sample(option: OptionSchema) -> str:
    samples = {"count": "4", "length": "256", "real": "0.1", "width": "4x", "component": "...", "list": "a, b"}
    return samples.get(option.type.name, "...")


def _print_picture(component: Component) -> None:
    from xcompose.compare.picture import pictures_of

    lines = pictures_of(component)
    if lines:
        console.print()
        for line in lines:
            console.print("  " + escape(line))


def _as_data(component: Component) -> dict[str, Any]:
    return {
        "kind": component.kind,
        "name": component.full_name,
        "version": component.version,
        "distribution": component.distribution,
        "summary": component.summary,
        "card": component.card,
        "also": list(component.also),
        "options": [
            {
                "name": o.name,
                "type": o.type.kind or o.type.name,
                "words": list(o.type.words),
                "required": o.required,
                "default": None if o.required else o.default,
                "main": o.main,
                "inherited": o.inherited,
                "note": o.note,
            }
            for o in component.schema.options
        ],
    }
