"""Components that are known by name and options, and whose plugins are imported when one of theirs is taken."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.registry import kept
from xcompose.registry.component import Component
from xcompose.registry.loader import Loaded, Plugin
from xcompose.schema import ComponentSchema
from xcompose.spec.catalogue import canonical

Key = tuple[str, str]
"""Kind and full name."""


class Shelf(Mapping[Key, Component]):
    """Looks like a plain mapping of components; taking one may import its plugin.

    Args:
        live: components that are there already.
        waiting: the plugin and the schema of each that is not.
        load: loads a plugin.
    """

    def __init__(
        self,
        live: Mapping[Key, Component],
        waiting: Mapping[Key, tuple[Plugin, ComponentSchema]] | None = None,
        load: Callable[[Plugin], Loaded] | None = None,
    ):
        self._live = dict(live)
        self._waiting = dict(waiting or {})
        self._load = load
        self._by_options = {c.options: c for c in self._live.values()}
        self._lock = threading.RLock()

    @classmethod
    def of(cls, components: Mapping[Key, Component]) -> Shelf:
        return components if isinstance(components, Shelf) else cls(components)

    def __getitem__(self, key: Key) -> Component:
        with self._lock:
            if key in self._waiting:
                self._bring(self._waiting[key][0])
            return self._live[key]

    def __iter__(self) -> Iterator[Key]:
        return iter(sorted({*self._live, *self._waiting}))

    def __len__(self) -> int:
        return len(self._live) + len(self._waiting)

    def __contains__(self, key: object) -> bool:
        return key in self._live or key in self._waiting

    def schemas(self) -> tuple[ComponentSchema, ...]:
        """What every component takes, in the order of kinds and names; nothing is imported."""
        known = {key: schema for key, (_, schema) in self._waiting.items()}
        known |= {key: component.schema for key, component in self._live.items()}
        return tuple(known[key] for key in sorted(known))

    def with_options(self, options: type) -> Component:
        """The component that has this option class. The plugin whose module made the class is looked at first.

        Raises:
            KeyError: no component has it.
        """
        with self._lock:
            if options not in self._by_options:
                plugins = {plugin.found: plugin for plugin, _ in self._waiting.values()}
                for found in sorted(plugins, key=lambda f: (f.module != options.__module__, f.module)):
                    self._bring(plugins[found])
                    if options in self._by_options:
                        break
        return self._by_options[options]

    def _bring(self, plugin: Plugin) -> None:
        """Import a plugin. What it offers must be what was kept of it: the spec was read with that."""
        assert self._load is not None, "only what a loader knows can wait"
        loaded = self._load(plugin)
        if loaded.plugin.error or loaded.plugin.schemas != plugin.schemas:
            if plugin.found.namespace:
                kept.keep(loaded)
            raise SpecError(_changed(plugin, loaded.plugin))
        for component in loaded.components:
            key = (component.kind, component.full_name)
            if self._waiting.pop(key, None) is not None:  # else it is one that two plugins claim
                self._live[key] = component
                self._by_options[component.options] = component


def _changed(known: Plugin, now: Plugin) -> Diagnostic:
    if now.error:
        fixes = (now.fix,) if now.fix else ("xcompose plugin doctor",)
        return Diagnostic(code=now.code, message=now.sentence, label=now.where, fixes=fixes, stage="compose")
    return Diagnostic(
        code="XC057",
        message=f"plugin {known.title} does not offer what it offered before: {differing(known.schemas, now.schemas)}",
        fixes=("run it again: what is offered now has been kept",),
        stage="compose",
    )


def differing(before: Iterable[ComponentSchema], now: Iterable[ComponentSchema]) -> str:
    """The components that are not the same in both."""
    there, here = ({(s.kind, canonical(s)): s for s in schemas} for schemas in (before, now))
    changed = [key for key in sorted({*there, *here}) if there.get(key) != here.get(key)]
    return ", ".join(f"{kind} '{name}'" for kind, name in changed)
