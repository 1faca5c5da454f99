"""Find plugins and load each one by itself, so that a broken one costs a finding and never the program."""

from __future__ import annotations

import difflib
import importlib
import re
import time
from collections.abc import Iterable
from typing import Any

import attrs
import pluggy

from xcompose import hookspecs
from xcompose.registry.component import Component
from xcompose.registry.discovery import Found

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@attrs.frozen
class Loaded:
    """What became of a plugin."""

    found: Found
    components: tuple[Component, ...] = ()
    spec_packages: tuple[str, ...] = ()
    error: str = ""
    """Why it is not in use; empty when it is."""
    seconds: float = 0.0
    hooks: tuple[str, ...] = ()


class PluginFault(Exception):
    """A plugin breaks the contract; the text says how and what to do."""


class Loader:
    """Loads plugins one after the other into a plugin manager of its own."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)

    def load(self, found: Found) -> Loaded:
        """Import, register and ask one plugin. Whatever it raises, sys.exit included, becomes its `error`."""
        begin = time.perf_counter()
        try:
            module = importlib.import_module(found.module)
            components, packages, hooks = self._register(module, found)
        except KeyboardInterrupt:
            raise
        except PluginFault as fault:
            return Loaded(found, error=str(fault), seconds=time.perf_counter() - begin)
        except BaseException as error:  # a plugin may raise anything, SystemExit too, and must not end the program
            text = f"{type(error).__name__}: {error}".strip().rstrip(":")
            return Loaded(found, error=text, seconds=time.perf_counter() - begin)
        return Loaded(found, components, packages, seconds=time.perf_counter() - begin, hooks=hooks)

    def _register(self, module: Any, found: Found) -> tuple[tuple[Component, ...], tuple[str, ...], tuple[str, ...]]:
        try:
            self.manager.register(module, name=found.module)
            self._refuse_unknown_hooks(module)
        except (pluggy.PluginValidationError, PluginFault) as error:
            # pluggy leaves a plugin half registered when its hook does not fit the contract
            if self.manager.get_plugin(found.module) is not None:
                self.manager.unregister(name=found.module)
            raise PluginFault(_first_line(str(error))) from error
        hooks = tuple(caller.name for caller in self.manager.get_hookcallers(module) or ())
        components = tuple(self._check(c, found) for c in self._call(module, "components"))
        packages = tuple(str(p) for p in self._call(module, "specs"))
        return components, packages, hooks

    def _call(self, module: Any, hook: str) -> Iterable[Any]:
        """Ask this plugin alone: one that raises must not take the answers of the others with it."""
        others = [p for p in self.manager.get_plugins() if p is not module]
        answers = self.manager.subset_hook_caller(hook, remove_plugins=others)()
        return [item for answer in answers for item in answer]

    def _refuse_unknown_hooks(self, module: Any) -> None:
        known = [name for name in vars(hookspecs) if hasattr(getattr(hookspecs, name), hookspecs.PROJECT + "_spec")]
        for name in dir(module):
            marked = getattr(getattr(module, name, None), hookspecs.PROJECT + "_impl", None)
            if marked is not None and name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
                mend = f"did you mean '{near[0]}'?" if near else f"the hooks are {', '.join(known)}"
                raise PluginFault(f"there is no hook '{name}'; {mend}")

    def _check(self, component: Any, found: Found) -> Component:
        if not isinstance(component, Component):
            raise PluginFault(f"components() must return Component objects, found {type(component).__name__}")
        if not _NAME.fullmatch(component.name):
            raise PluginFault(f"'{component.name}' is no name of a component: lower-case words joined by dashes")
        component = attrs.evolve(component, namespace=found.namespace, distribution=found.distribution)
        try:
            _ = component.schema
        except TypeError as error:
            raise PluginFault(f"the options of {component.kind} '{component.name}' are wrong: {error}") from error
        return component


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:3])
