"""xcompose plugin: the plugins that are installed, what is wrong with them, and what they are asked."""

from __future__ import annotations

import typer

from xcompose.cli import plugin_new
from xcompose.cli.common import Format, FormatOption, console, print_json

EXAMPLE = "Example:  xcompose plugin doctor"

app = typer.Typer(
    name="plugin",
    help="Plugins: list those that are installed, find what is wrong with them, follow what they are asked.",
    epilog=EXAMPLE,
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.command("new", epilog=plugin_new.EXAMPLE)(plugin_new.run)


@app.command("list", epilog="Example:  xcompose plugin list --format json")
def list_(format: FormatOption = Format.text) -> None:
    """Show which plugins are installed beside the built-in ones."""
    from xcompose.registry.discovery import announced

    found = [{"distribution": f.distribution, "version": f.version, "namespace": f.namespace} for f in announced()]
    if format is Format.json:
        print_json(found)
        return
    for one in found:
        console.print("  ".join(one.values()), markup=False)
