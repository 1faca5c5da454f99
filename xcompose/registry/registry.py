"""The registry: every component that is installed and works, and what is wrong with those that do not."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from xcompose.diagnostics import Diagnostic
from xcompose.registry import discovery, kept
from xcompose.registry.clash import Clash, clashes
from xcompose.registry.component import Component
from xcompose.registry.discovery import Found
from xcompose.registry.loader import Loaded, Loader, Plugin, refused
from xcompose.registry.problems import absences, problems
from xcompose.registry.shelf import Key, Shelf
from xcompose.spec.catalogue import canonical

if TYPE_CHECKING:
    from xcompose.spec.catalogue import Catalogue


@attrs.define(slots=False)
class Registry:
    """Components by kind and name. Make one with `load()`; tests make their own from a few components."""

    by_name: Mapping[Key, Component] = attrs.field(converter=Shelf.of)
    """Taking one may import its plugin; its names, and `catalogue`, import nothing."""
    plugins: tuple[Plugin, ...] = ()
    absent: dict[Key, Clash] = attrs.field(factory=dict)
    """Names that cannot be used although something offers them, with the reason."""

    @classmethod
    def of(cls, components: Iterable[Component]) -> Registry:
        """A registry of just these components, without any discovery."""
        return cls({(c.kind, c.full_name): c for c in components})

    @classmethod
    def from_found(cls, found: Iterable[Found]) -> Registry:
        """Load these plugins now, each kept apart from the others; nothing that was kept is read."""
        loader = Loader()
        return cls.of_loaded(loader, [loader.load(one) for one in found])

    @classmethod
    def of_loaded(cls, loader: Loader, known: Iterable[Loaded]) -> Registry:
        """From plugins of which some gave their components, and of others only the schemas are known."""
        known = list(known)
        offers, live = {}, {}
        for one in known:
            offers |= {(s.kind, canonical(s)): (one.plugin, s) for s in one.plugin.schemas}
            live |= {(c.kind, c.full_name): c for c in one.components}
        absent = clashes(one.plugin for one in known)
        there = {key: component for key, component in live.items() if key not in absent}
        waiting = {key: offer for key, offer in offers.items() if key not in absent and key not in there}
        shelf = Shelf(there, waiting, lambda plugin: loader.load(plugin.found))
        return cls(shelf, tuple(one.plugin for one in known), absent)

    def component(self, kind: str, name: str) -> Component:
        """The component of that kind and full name; its plugin is imported now if it was not yet.

        Raises:
            KeyError: there is none; the spec language has refused such a name before it comes here.
            SpecError: its plugin fails now, or offers something else than when it was last looked at.
        """
        return self.by_name[kind, name]

    def components(self, kind: str | None = None) -> tuple[Component, ...]:
        """All of them, or those of one kind, by name; imports their plugins."""
        return tuple(self.by_name[key] for key in self.by_name if kind in (None, key[0]))

    def component_of(self, part: Any) -> Component:
        """The component whose options object this is."""
        return self._shelf.with_options(type(part))

    @property
    def _shelf(self) -> Shelf:
        return Shelf.of(self.by_name)

    @functools.cached_property
    def catalogue(self) -> Catalogue:
        """What the spec language knows of all this: plain data, for which no plugin is imported that is kept."""
        from xcompose.spec.catalogue import Catalogue

        return Catalogue(self._shelf.schemas(), absent=absences(self.plugins, self.absent))

    @functools.cached_property
    def problems(self) -> tuple[Diagnostic, ...]:
        """One warning for each plugin that is not in use, and for each name that two distributions claim."""
        return problems(self.plugins, self.absent)

    def spec_package(self, name: str) -> bool:
        """Whether specs of this package may be extended as `package:path`."""
        return any(name in plugin.spec_packages for plugin in self.plugins)


@functools.cache
def load() -> Registry:
    """Everything that is installed. What was kept of a plugin stands for it until one of its components is taken."""
    loader = Loader()
    return Registry.of_loaded(loader, [*_built_in(loader), *_third_party(loader)])


@functools.cache
def built_in() -> Registry:
    """Only what ships with xcompose."""
    loader = Loader()
    return Registry.of_loaded(loader, _built_in(loader))


@functools.cache
def third_party() -> Registry:
    """Only what other distributions bring."""
    loader = Loader()
    return Registry.of_loaded(loader, _third_party(loader))


def _built_in(loader: Loader) -> list[Loaded]:
    live: list[Loaded] = []

    def now() -> list[Plugin]:
        live.extend(loader.load(found) for found in discovery.built_in())
        return [one.plugin for one in live]

    known = kept.built_ins(now)
    return live or [Loaded(plugin) for plugin in known]


def _third_party(loader: Loader) -> list[Loaded]:
    known = []
    for found in discovery.third_party():
        plugin = refused(found) or kept.peek(found)
        loaded = loader.load(found) if plugin is None else Loaded(plugin)
        if plugin is None:
            kept.keep(loaded)
        known.append(loaded)
    return known
