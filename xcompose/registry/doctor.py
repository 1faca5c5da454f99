"""What is wrong or doubtful with each installed plugin: imported afresh, looked at, and compared with the others."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import attrs

from xcompose.diagnostics import Diagnostic, Severity
from xcompose.registry import discovery, fault, kept
from xcompose.registry.clash import Clash
from xcompose.registry.discovery import Found
from xcompose.registry.loader import Loaded, Loader, Plugin
from xcompose.registry.problems import unmatched
from xcompose.registry.registry import Registry
from xcompose.registry.shelf import differing
from xcompose.schema import ComponentSchema
from xcompose.spec.catalogue import Catalogue, canonical

BLOCKS = ("Maths", "Shapes", "Cost", "Limits", "Paper")
Status = Literal["fine", "needs a look", "broken", "left out"]


@attrs.frozen
class Examined:
    """One plugin and what was found."""

    plugin: Plugin
    findings: tuple[Diagnostic, ...] = ()
    left_out: bool = False
    """Whether `XCOMPOSE_PLUGINS` leaves it out, so that it was not imported."""

    @property
    def status(self) -> Status:
        if self.left_out:
            return "left out"
        if any(f.severity == "error" for f in self.findings):
            return "broken"
        return "needs a look" if any(f.severity == "warning" for f in self.findings) else "fine"


@attrs.frozen
class Examination:
    """All plugins, and what concerns none of them alone."""

    plugins: tuple[Examined, ...]
    findings: tuple[Diagnostic, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether none is broken."""
        return all(one.status != "broken" for one in self.plugins)

    def as_data(self) -> dict[str, Any]:
        """Plain data, for programs."""
        return {
            "ok": self.ok,
            "plugins": [
                {
                    "distribution": found.distribution, "version": found.version, "namespace": found.namespace,
                    "entry_point": found.entry_point, "status": one.status, "components": len(one.plugin.schemas),
                    "seconds": round(one.plugin.seconds, 4), "printed": one.plugin.printed,
                    "findings": [finding_data(finding) for finding in one.findings],
                }
                for one in self.plugins
                for found in [one.plugin.found]
            ],
            "findings": [finding_data(finding) for finding in self.findings],
        }  # fmt: skip


def finding_data(finding: Diagnostic) -> dict[str, Any]:
    """Plain data of a finding about plugins: its place, if any, is text."""
    return {
        "code": finding.code, "severity": finding.severity, "message": finding.message, "where": finding.label,
        "fixes": list(finding.fixes),
    }  # fmt: skip


def examine(built_ins: Catalogue) -> Examination:
    """Import every third-party plugin afresh and look at it; what is kept of it is made anew.

    Args:
        built_ins: the components whose short names belong to xcompose itself.
    """
    wanted, loader = discovery.wanted(), Loader()
    announced = discovery.announced()
    looked = [_look(found, loader) for found in announced if discovery.is_wanted(found, wanted)]
    loaded = [one for one, _ in looked]
    registry = Registry.of_loaded(loader, loaded)
    rivals = Rivals.of([one.plugin for one in loaded], registry.absent, built_ins)
    examined = {
        one.plugin.found: Examined(one.plugin, (*_alone(one), *said, *rivals.findings(one.plugin)))
        for one, said in looked
    }
    everything = [examined.get(found) or Examined(Plugin(found), left_out=True) for found in announced]
    return Examination(tuple(everything), tuple(unmatched()))


def doubt(message: str, *fixes: str, severity: Severity = "warning", code: str = "XC056") -> Diagnostic:
    return Diagnostic(code=code, severity=severity, message=message, fixes=tuple(f for f in fixes if f))


def _look(found: Found, loader: Loader) -> tuple[Loaded, list[Diagnostic]]:
    """Load one plugin, and say what only its loading shows."""
    before, stale = kept.peek(found), kept.is_stale(found)
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        loaded = loader.load(found)
    said = [
        doubt(f"it warns while it is imported: {one.category.__name__}: {' '.join(str(one.message).split())}")
        for one in raised
        if fault.is_inside(one.filename, found)
    ]
    plugin = loaded.plugin
    if before is not None and not before.error and not plugin.error and before.schemas != plugin.schemas:
        changed = differing(before.schemas, plugin.schemas)
        said.append(doubt(f"it does not offer what it offered before, with the same code: {changed}", code="XC057"))
    if stale:
        said.append(doubt("what was known of it is out of date; it is known anew now", severity="hint"))
    if not kept.keep(loaded):
        said.append(doubt("an option's default is no plain data, so that every command has to import the plugin"))
    return loaded, said


def _alone(loaded: Loaded) -> Iterator[Diagnostic]:
    """What can be said of a plugin without the others."""
    plugin = loaded.plugin
    if plugin.error:
        yield Diagnostic(code=plugin.code, message=plugin.error, label=plugin.where,
                         fixes=(plugin.fix,) if plugin.fix else ())  # fmt: skip
    if not plugin.found.unreadable:
        yield from _bounds(plugin.found)
    for said, mend in plugin.nuisances:
        yield doubt(f"it {said}", mend)
    if not plugin.error and not plugin.schemas and not plugin.spec_packages:
        yield doubt("it offers no component and no spec", "write a hook: @hookimpl def components()")
    for component in loaded.components:
        yield from _options(component.schema)
    for module, card in {c.options.__module__: c.card for c in loaded.components}.items():
        words = {line.split()[0] for line in card.splitlines() if line[:1].strip()}
        absent = [block for block in BLOCKS if block not in words]
        if absent:
            yield doubt(f"the card of {module} has no {', '.join(absent)}", "say it in the docstring of the module")


def _options(schema: ComponentSchema) -> Iterator[Diagnostic]:
    name = canonical(schema)
    for option in schema.options:
        if not option.note:
            yield doubt(f"option `{option.name}` has no sentence: `xcompose show {name}` cannot explain it",
                        "write a docstring below it")  # fmt: skip


def _bounds(found: Found) -> Iterator[Diagnostic]:
    """Whether the distribution says that it works with this xcompose; an installer may have overruled it."""
    here = importlib.metadata.version("xcompose")
    bounds = [r for r in fault.requirements(found) if discovery.normal(r.name) == "xcompose"]
    if not bounds:
        yield doubt("it does not say which versions of xcompose it works with", f'dependencies = ["xcompose>={here}"]')
    for bound in bounds:
        if not bound.specifier.contains(here, prereleases=True):
            said = f"{found.distribution} {found.version} requires xcompose{bound.specifier}; this is xcompose {here}"
            yield doubt(said, f"pip install --upgrade {found.distribution}")


@attrs.frozen
class Rivals:
    """What plugins do to one another: names and namespaces that more than one has."""

    absent: dict[tuple[str, str], Clash]
    short: dict[tuple[str, str], list[str]]
    """Kind and short name, to the canonical names that it could mean."""
    owners: dict[str, list[str]]
    """Namespace to distributions."""
    built_ins: Catalogue

    @classmethod
    def of(cls, plugins: Iterable[Plugin], absent: dict[tuple[str, str], Clash], built_ins: Catalogue) -> Rivals:
        short: dict[tuple[str, str], set[str]] = defaultdict(set)
        owners: dict[str, set[str]] = defaultdict(set)
        for plugin in plugins:
            owners[plugin.found.namespace].add(plugin.found.distribution)
            for schema in plugin.schemas:
                short[schema.kind, schema.name].add(canonical(schema))
        return cls(
            absent, {key: sorted(names) for key, names in short.items()},
            {namespace: sorted(names) for namespace, names in owners.items()}, built_ins,
        )  # fmt: skip

    def findings(self, plugin: Plugin) -> Iterator[Diagnostic]:
        for schema in plugin.schemas:
            name = canonical(schema)
            clash = self.absent.get((schema.kind, name))
            if clash:
                yield doubt(clash.reason, clash.fix, severity="error", code="XC051")
            if schema.name in self.built_ins.names(schema.kind):
                yield doubt(f"`{schema.name}` means the built-in {schema.kind}: specs must write `{name}`", "rename it")
                continue
            many = self.short[schema.kind, schema.name]
            if len({one.partition("@")[0] for one in many}) > 1:
                yield doubt(f"`{schema.name}` could be {' or '.join(many)}: specs must say whose", severity="hint")
        others = [one for one in self.owners[plugin.found.namespace] if one != plugin.found.distribution]
        if others:
            yield doubt(f"{' and '.join(others)} has the namespace '{plugin.found.namespace}', too", severity="hint")
