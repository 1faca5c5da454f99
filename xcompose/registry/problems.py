"""What is said of plugins that are not in use: findings for people, reasons for the spec language."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping

from xcompose.diagnostics import Diagnostic
from xcompose.diagnostics.suggest import nearest
from xcompose.registry import discovery
from xcompose.registry.clash import Clash
from xcompose.registry.loader import Plugin, imported
from xcompose.spec.catalogue import Absence


def nuisances() -> tuple[Diagnostic, ...]:
    """A warning for what the import of a plugin cost in this process: its time, or what it printed.

    It is said where it happens; as long as a plugin is known from an earlier run, its import costs nothing.
    """
    return tuple(
        Diagnostic(code="XC056", severity="warning", message=f"plugin {p.title} {said}", fixes=(mend,), stage="schema")
        for p in imported.values()
        for said, mend in p.nuisances
    )


def problems(plugins: Iterable[Plugin], absent: Mapping[tuple[str, str], Clash]) -> tuple[Diagnostic, ...]:
    """One warning for each plugin that failed, for each name that two plugins claim, and for each name in
    `XCOMPOSE_PLUGINS` that nothing has. Specs that need what is missing get an error of their own."""
    broken = [
        Diagnostic(
            code=p.code, severity="warning", message=p.sentence, label=p.where, stage="schema",
            fixes=(
                *([p.fix] if p.fix else []),
                f"mend or uninstall {p.found.distribution}, or leave it out: {discovery.SETTING}=none",
            ),
        )
        for p in plugins
        if p.error
    ]  # fmt: skip
    clashes = [
        Diagnostic(code="XC051", severity="warning", message=clash.reason, fixes=(clash.fix,), stage="schema")
        for clash in absent.values()
    ]
    return (*broken, *clashes, *unmatched())


def unmatched() -> list[Diagnostic]:
    """A warning for each name in `XCOMPOSE_PLUGINS` that nothing has, and for `none` beside names."""
    if discovery.is_mixed():
        said = f"{discovery.SETTING}={os.environ[discovery.SETTING]} says 'none' beside names, and lets in no plugin"
        fix = "leave out 'none', or the names"
        return [Diagnostic(code="XC055", severity="warning", message=said, fixes=(fix,), stage="schema")]
    if not discovery.wanted():
        return []
    there = discovery.announced()
    names = sorted({name for one in there for name in (one.distribution, one.entry_point)})
    return [
        Diagnostic(
            code="XC055", severity="warning", stage="schema",
            message=f"{discovery.SETTING} names '{name}', and no installed plugin is called that",
            fixes=(_nearest(name, names, sorted({one.distribution for one in there})),),
        )
        for name in discovery.unmatched(there)
    ]  # fmt: skip


def _nearest(name: str, names: list[str], distributions: list[str]) -> str:
    near = nearest(name, names)
    if near:
        return f"did you mean '{near[0]}'?"
    if distributions:
        return f"installed are {', '.join(distributions)}"
    return "no plugin is installed beside the built-in ones"


def absences(plugins: Iterable[Plugin], absent: Mapping[tuple[str, str], Clash]) -> list[Absence]:
    """Why names are missing that one might look for: clashes, plugins that failed, plugins that were left out."""
    clashes = [Absence(clash.reason, names=frozenset([key]), fix=clash.fix) for key, clash in absent.items()]
    reasons: dict[str, list[str]] = defaultdict(list)
    for plugin in plugins:
        if plugin.error and plugin.found.namespace:
            reasons[plugin.found.namespace].append(plugin.sentence)
    for found in _left_out():
        said = f"plugin '{found.title}' of {found.distribution} {found.version} is left out by"
        reasons[found.namespace].append(f"{said} {discovery.SETTING}={os.environ[discovery.SETTING]}")
    return [*clashes, *(Absence("; ".join(said), namespace=namespace) for namespace, said in reasons.items())]


def _left_out() -> list[discovery.Found]:
    names = discovery.wanted()
    return [] if names is None else [one for one in discovery.announced() if not discovery.is_wanted(one, names)]
