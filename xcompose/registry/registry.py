"""The registry: every component that is installed and works, and what is wrong with those that do not."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs

from xcompose.diagnostics import Diagnostic
from xcompose.registry.component import Component
from xcompose.registry.discovery import Found, built_in, third_party
from xcompose.registry.loader import Loaded, Loader

if TYPE_CHECKING:
    from xcompose.spec.catalogue import Catalogue

Key = tuple[str, str]
"""Kind and full name."""


@attrs.define(slots=False)
class Registry:
    """Components by kind and name. Make one with `load()`; tests make their own from a few components."""

    by_name: dict[Key, Component]
    plugins: tuple[Loaded, ...] = ()
    absent: dict[Key, str] = attrs.field(factory=dict)
    """Names that cannot be used although something offers them, with the reason."""

    @classmethod
    def of(cls, components: Iterable[Component]) -> Registry:
        """A registry of just these components, without any discovery."""
        return cls({(c.kind, c.full_name): c for c in components})

    @classmethod
    def from_found(cls, found: Iterable[Found]) -> Registry:
        """Load these plugins, each kept apart from the others."""
        loader = Loader()
        loaded = tuple(loader.load(one) for one in found)
        offers: dict[Key, list[Component]] = defaultdict(list)
        for plugin in loaded:
            for component in plugin.components:
                offers[component.kind, component.full_name].append(component)
        absent = {key: _clash(key, many) for key, many in offers.items() if len(many) > 1}
        working = {key: many[0] for key, many in offers.items() if key not in absent}
        return cls(working, loaded, absent)

    def component(self, kind: str, name: str) -> Component:
        """The component of that kind and full name.

        Raises:
            KeyError: there is none; the spec language has refused such a name before it comes here.
        """
        return self.by_name[kind, name]

    def components(self, kind: str | None = None) -> tuple[Component, ...]:
        """All of them, or those of one kind, by name."""
        return tuple(c for key, c in sorted(self.by_name.items()) if kind in (None, c.kind))

    def component_of(self, part: Any) -> Component:
        """The component whose options object this is."""
        return self._by_options[type(part)]

    @functools.cached_property
    def _by_options(self) -> dict[type, Component]:
        return {c.options: c for c in self.by_name.values()}

    @functools.cached_property
    def catalogue(self) -> Catalogue:
        """What the spec language knows of all this: plain data."""
        from xcompose.spec.catalogue import Absence, Catalogue

        clashes = [
            Absence(reason, names=frozenset([key]), fix="uninstall one of them") for key, reason in self.absent.items()
        ]
        broken = [
            Absence(f"plugin '{_title(p.found)}' is not loaded: {p.error}", namespace=p.found.namespace)
            for p in self.plugins
            if p.error and p.found.namespace
        ]
        return Catalogue([c.schema for c in self.components()], absent=[*clashes, *broken])

    @functools.cached_property
    def problems(self) -> tuple[Diagnostic, ...]:
        """One warning for each plugin that is not in use, one error for each name that two distributions claim."""
        broken = [
            Diagnostic(
                code="XC050", severity="warning", message=f"plugin '{_title(p.found)}' is not loaded: {p.error}",
                fixes=(f"mend or uninstall {p.found.distribution}, or leave it out: XCOMPOSE_PLUGINS=none",),
                stage="schema",
            )
            for p in self.plugins
            if p.error
        ]  # fmt: skip
        clashes = [
            Diagnostic(code="XC051", message=reason, fixes=("uninstall one of them",), stage="schema")
            for reason in self.absent.values()
        ]
        return (*broken, *clashes)

    def spec_package(self, name: str) -> bool:
        """Whether specs of this package may be extended as `package:path`."""
        return any(name in plugin.spec_packages for plugin in self.plugins)


def _clash(key: Key, offers: list[Component]) -> str:
    who = " and ".join(sorted({c.distribution for c in offers}))
    return f"two plugins offer the {key[0]} '{key[1]}': {who}"


def _title(found: Found) -> str:
    return found.entry_point or found.module.rpartition(".")[2]


@functools.cache
def load() -> Registry:
    """Everything that is installed; loaded once in a process."""
    return Registry.from_found([*built_in(), *third_party()])
