"""xcompose plugin: the plugins that are installed, what is wrong with them, and what they are asked."""

from __future__ import annotations

import importlib.metadata
import os
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xcompose.cli import plugin_new
from xcompose.cli.common import Format, FormatOption, console, print_json, usage_error

if TYPE_CHECKING:
    from xcompose.registry.discovery import Found
    from xcompose.registry.doctor import Examination

EXAMPLE = "Example:  xcompose plugin doctor"

COLOURS = {"fine": "green", "in use": "green", "needs a look": "yellow", "broken": "red", "not loaded": "red"}

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
    """Show which plugins are installed, whose, and where. None of them is imported."""
    from xcompose.registry.doctor import finding_data
    from xcompose.registry.listing import listed
    from xcompose.registry.problems import unmatched

    core = _core()
    found, doubts = listed(), unmatched()
    if format is Format.json:
        findings = [finding_data(doubt) for doubt in doubts]
        print_json({"xcompose": core, "plugins": [one.as_data() for one in found], "findings": findings})
        return
    rows = [("plugin", "version", "namespace", "API", "components", "import", "status")]
    rows.append(("xcompose", core["version"], "–", str(core["api"]), str(core["components"]), "–", "built in"))
    titles = _titles((one.found.distribution, one.found.title) for one in found)
    for one in found:
        taken = "–" if one.seconds is None else f"{one.seconds:.2f} s"
        count = "–" if one.components is None else str(one.components)
        title = titles[one.found.distribution, one.found.title]
        rows.append((title, one.found.version, one.found.namespace, one.api, count, taken, one.status))
    _print_table(rows, [[], [], *([line for line in (one.path, one.why) if line] for one in found)])
    _print_findings(doubts)


@app.command(epilog=EXAMPLE)
def doctor(format: FormatOption = Format.text) -> None:
    """Import every plugin afresh, and say what is wrong or doubtful with it. Exit code 1: one is broken."""
    from xcompose import registry
    from xcompose.registry.doctor import examine

    core, found = _core(), examine(registry.built_in().catalogue)
    if format is Format.json:
        print_json({"xcompose": core, **found.as_data()})
    else:
        _print_examination(core, found)
    if not found.ok:
        raise typer.Exit(1)


def _core() -> dict[str, Any]:
    from xcompose import registry
    from xcompose.registry.discovery import API_VERSION

    version = importlib.metadata.version("xcompose")
    return {"version": version, "api": API_VERSION, "components": len(registry.built_in().catalogue)}


def _print_examination(core: dict[str, Any], found: Examination) -> None:
    rows = [("xcompose", core["version"], "–", _count(core["components"]), "", "fine")]
    below: list[list[str]] = [[]]
    titles = _titles((one.plugin.found.distribution, one.plugin.found.title) for one in found.plugins)
    for one in found.plugins:
        plugin = one.plugin
        title = titles[plugin.found.distribution, plugin.found.title]
        count = "not loaded" if plugin.error or one.left_out else _count(len(plugin.schemas))
        taken = f"{plugin.seconds:.2f} s" if plugin.seconds else ""
        rows.append((title, plugin.found.version, plugin.found.namespace, count, taken, one.status))
        below.append([line for finding in one.findings for line in _lines(finding)])
    _print_table(rows, below)
    _print_findings(found.findings)
    if not found.plugins:
        console.print("no plugin is installed beside the built-in ones", markup=False)


def _print_findings(findings: Iterable[Any]) -> None:
    for finding in findings:
        for line in _lines(finding):
            console.print(line, markup=False)


def _lines(finding: Any) -> list[str]:
    where = f"  ({finding.label})" if finding.label else ""
    head = "note:" if finding.severity == "hint" else finding.code
    return [f"{head} {finding.message}{where}", *(f"      = fix: {fix}" for fix in finding.fixes)]


@app.command(epilog="Example:  xcompose plugin trace acme-mean  ·  xcompose plugin trace --built-in")
def trace(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="distributions or entry points; without any: all")
    ] = None,
    built_in: Annotated[bool, typer.Option("--built-in", help="the plugins that ship with xcompose, too")] = False,
    format: FormatOption = Format.text,
) -> None:
    """Load plugins afresh and show every step: which hook is called on which, in which order, and how long it takes."""
    import attrs

    from xcompose.registry.trace import trace as traced

    calls = traced(_chosen(names or [], built_in))
    if format is Format.json:
        print_json([attrs.asdict(call) for call in calls])
        return
    if not calls:
        console.print("no plugin is installed beside the built-in ones: --built-in", markup=False)
        return
    rows = [("", "plugin", "step", "took", "gave")]
    titles = _titles((call.distribution, call.plugin) for call in calls)
    for number, call in enumerate(calls, 1):
        rows.append(
            (
                str(number),
                titles[call.distribution, call.plugin],
                call.what,
                f"{1000 * call.seconds:.1f} ms",
                call.result,
            )
        )
    _print_table(rows, [[] for _ in rows])


def _chosen(names: list[str], built_in: bool) -> list[Found]:
    from xcompose.diagnostics.suggest import nearest
    from xcompose.registry import discovery

    found = [*(discovery.built_in() if built_in else ()), *discovery.third_party()]
    known = {discovery.normal(name) for one in found for name in (one.distribution, one.title)}
    left_out = {discovery.normal(name) for one in discovery.announced() for name in (one.distribution, one.title)}
    for name in names:
        if discovery.normal(name) in left_out - known:
            setting = f"{discovery.SETTING}={os.environ[discovery.SETTING]}"
            raise usage_error(
                f"plugin '{name}' is left out by {setting}", f"name it there, or unset {discovery.SETTING}"
            )
        if discovery.normal(name) not in known:
            near = nearest(name, sorted(known))
            raise usage_error(
                f"no plugin is called '{name}'", f"did you mean '{near[0]}'?" if near else "xcompose plugin list"
            )
    wanted = {discovery.normal(name) for name in names}
    return [
        one for one in found
        if not wanted or not wanted.isdisjoint({discovery.normal(one.distribution), discovery.normal(one.title)})
    ]  # fmt: skip


def _titles(pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """What to call each plugin: by its distribution, and by its own name, too, where that has several."""
    every = set(pairs)
    many = Counter(distribution for distribution, _ in every)
    return {(one, plugin): f"{one}: {plugin}" if many[one] > 1 else one for one, plugin in every}


def _count(components: int) -> str:
    return f"{components} component{'' if components == 1 else 's'}"


def _print_table(rows: list[tuple[str, ...]], below: list[list[str]]) -> None:
    """Rows in columns, each with lines of its own below it; words in the last column that say a state are coloured."""
    from rich.text import Text

    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row, lines in zip(rows, below, strict=True):
        *cells, last = row
        text = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False))
        console.print(Text.assemble(f" {text}  ", (last, COLOURS.get(last, ""))), highlight=False)
        for line in lines:
            console.print(Text(f"   {line}", style="" if line.startswith("XC") else "dim"))
