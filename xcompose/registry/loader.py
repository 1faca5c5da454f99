"""Load each plugin by itself, so that a broken one costs a finding and never the program."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import io
import os
import sys
import time
from collections.abc import Iterable
from typing import Any

import attrs
import pluggy

from xcompose import hookspecs
from xcompose.registry.component import Component
from xcompose.registry.contract import PluginFault, checked, listed
from xcompose.registry.discovery import API_VERSION, GROUP, Found, version_of
from xcompose.registry.fault import missing, where
from xcompose.registry.stamps import stamp_of
from xcompose.schema import ComponentSchema

PRINTED = 2000
"""So many characters are kept of what a plugin prints."""
SLOW = 2.0
"""Seconds: a plugin that takes longer to import is named."""
imported: dict[Found, Plugin] = {}
"""The third-party plugins that were imported by this process, as they were the first time."""
_stamps: dict[str, str] = {}
"""The stamps of third-party plugins before this process imported them, by module."""


@attrs.frozen
class Plugin:
    """What is known of a plugin that was loaded, in this run or an earlier one: plain data."""

    found: Found
    schemas: tuple[ComponentSchema, ...] = ()
    spec_packages: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    error: str = ""
    """Why it is not in use; empty when it is."""
    code: str = ""
    """The code of that error."""
    fix: str = ""
    """What would mend it, where that is known."""
    where: str = ""
    """The place inside the plugin where it failed, `FILE:LINE`, where there is one."""
    seconds: float = 0.0
    """What its import and registration took, without the import of torch."""
    printed: str = ""
    """What it wrote to standard output meanwhile, which nobody saw."""
    moved: str = ""
    """The folder that it made the working folder, where it did; that was undone."""

    @property
    def title(self) -> str:
        """Its name and whose it is: 'nystrom' of acme-mixers 0.3.1."""
        return f"'{self.found.title}' of {self.found.distribution} {self.found.version}"

    @property
    def sentence(self) -> str:
        """What is wrong with it, in one line."""
        return f"plugin {self.title} {'' if self.code == 'XC054' else 'is not loaded: '}{self.error}"

    @property
    def nuisances(self) -> tuple[tuple[str, str], ...]:
        """What its import does beside its work, each with a way to mend it: takes long, prints, moves."""
        found = []
        if self.seconds > SLOW:
            found.append((f"takes {self.seconds:.1f} s to import", "import what is slow where a component is built"))
        if self.printed.strip():
            first = self.printed.strip().splitlines()[0]
            found.append((f"prints while it is imported: {first!r}", "use the module `logging` instead"))
        if self.moved:
            found.append((f"changes the working folder while it is imported, to {self.moved}; that was undone",
                          "leave out os.chdir(), and write whole paths"))  # fmt: skip
        return tuple(found)


@attrs.frozen
class Loaded:
    """A plugin, and the components it gave; none if it failed."""

    plugin: Plugin
    components: tuple[Component, ...] = ()
    stamp: str = ""
    """Of its code, taken before that was imported; empty where it is not known what code was imported."""


class Loader:
    """Loads plugins one after the other into a plugin manager of its own."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self._announced: dict[str, Found] = {}

    def load(self, found: Found) -> Loaded:
        """Import, register and ask one plugin. Whatever it raises, sys.exit included, becomes its `error`."""
        known = refused(found)
        if known is not None:
            return Loaded(known)
        if found.namespace:
            for module in ("torch", "einops", "xcompose.api"):  # which all may import: their time is not the plugin's
                importlib.import_module(module)
        stamp = _stamp_before_import(found) if found.namespace else ""
        begin, printed, here = time.perf_counter(), io.StringIO(), _folder()
        components: tuple[Component, ...] = ()
        facts: dict[str, Any] = {}
        try:
            with contextlib.redirect_stdout(printed):
                module = importlib.import_module(found.module)
                components, packages, hooks = self._register(module, found)
            facts = {"schemas": tuple(c.schema for c in components), "spec_packages": packages, "hooks": hooks}
        except KeyboardInterrupt:
            raise
        except PluginFault as fault:
            facts = {"error": str(fault), "code": fault.code}
        except BaseException as error:  # a plugin may raise anything, SystemExit too, and must not end the program
            text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")
            facts = {"error": text, "code": "XC050", "where": where(error, found), "fix": missing(error, found)}
        facts |= {"seconds": time.perf_counter() - begin, "printed": printed.getvalue()[:PRINTED]}
        if here and here != _folder():
            facts["moved"] = _folder() or "one that is gone"
            os.chdir(here)
        plugin = Plugin(found, **facts)
        if found.namespace:
            imported.setdefault(found, plugin)
        return Loaded(plugin, components, stamp)

    def _register(self, module: Any, found: Found) -> tuple[tuple[Component, ...], tuple[str, ...], tuple[str, ...]]:
        if self._announced.setdefault(found.module, found) != found:
            raise PluginFault(f"another plugin announces its module '{found.module}', too", code="XC051")
        if self.manager.get_plugin(found.module) is not None:  # it is loaded once more
            self.manager.unregister(name=found.module)
        _refuse_unmarked(module)
        try:
            _refuse_unknown_hooks(module)
            self.manager.register(module, name=found.module)
        except (pluggy.PluginValidationError, PluginFault) as error:
            # pluggy leaves a plugin half registered when its hook does not fit the contract
            if self.manager.get_plugin(found.module) is not None:
                self.manager.unregister(name=found.module)
            raise PluginFault(_first_lines(str(error)), code="XC052") from error
        hooks = tuple(caller.name for caller in self.manager.get_hookcallers(module) or ())
        components = checked(self._call(module, "components", hooks), found)
        packages = self._call(module, "specs", hooks)
        wrong = next((p for p in packages if not isinstance(p, str)), None)
        if wrong is not None:
            raise PluginFault(f"specs() must return names of packages, found {type(wrong).__name__}")
        return components, tuple(packages), hooks

    def _call(self, module: Any, hook: str, hooks: Iterable[str]) -> list[Any]:
        """Ask this plugin alone: one that raises must not take the answers of the others with it."""
        if hook not in hooks:
            return []
        others = [p for p in self.manager.get_plugins() if p is not module]
        return listed(hook, self.manager.subset_hook_caller(hook, remove_plugins=others)())


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was deleted; then there is nothing to come back to
        return ""


def _stamp_before_import(found: Found) -> str:
    """What is imported already may be older than its file, which is stamped only before the import."""
    if found.module not in sys.modules:
        _stamps[found.module] = stamp_of(found)
    return _stamps.get(found.module, "")


def refused(found: Found) -> Plugin | None:
    """What becomes of a plugin whose announcement alone shows that it cannot be imported; None for any other."""
    if found.unreadable:
        error = f"what its distribution says of itself cannot be read: {found.unreadable}"
        return Plugin(found, error=error, code="XC050", fix="uninstall it, or install it anew")
    if found.group != GROUP:
        return _for_another_api(found)
    module, colon, _ = found.module.partition(":")
    if colon:
        error = f"its entry point '{found.module}' names an object, and an entry point names a module"
        return Plugin(found, error=error, code="XC053", fix=f'write {found.entry_point} = "{module.strip()}"')
    return None


def _for_another_api(found: Found) -> Plugin:
    version = version_of(found.group)
    here = f"this xcompose has API {API_VERSION}"
    if version is None:
        error = f"is announced in the entry-point group '{found.group}', which says no API version; {here}"
        return Plugin(found, error=error, code="XC054", fix=f"announce it in the group '{GROUP}'")
    # Never `pip install xcompose`: on the public index the bare name is another project's.
    newer = version > API_VERSION
    fix = "take a newer xcompose from its repository" if newer else f"pip install --upgrade {found.distribution}"
    return Plugin(found, error=f"is written for API {version}; {here}", code="XC054", fix=fix)


def _known_hooks() -> list[str]:
    return [name for name in vars(hookspecs) if hasattr(getattr(hookspecs, name), hookspecs.PROJECT + "_spec")]


def _refuse_unknown_hooks(module: Any) -> None:
    known = _known_hooks()
    for name, value in vars(module).items():
        if getattr(value, hookspecs.PROJECT + "_impl", None) is None:
            continue
        if name in known:
            given = inspect.signature(getattr(hookspecs, name)).parameters
            more = [f"'{wanted}'" for wanted in inspect.signature(value).parameters if wanted not in given]
            if more:
                raise PluginFault(f"the hook {name}({', '.join(given)}) is not given {' and '.join(more)}")
        else:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            mend = f"did you mean '{near[0]}'?" if near else f"the hooks are {', '.join(known)}"
            raise PluginFault(f"there is no hook '{name}'; {mend}")


def _refuse_unmarked(module: Any) -> None:
    for name in _known_hooks():
        value = vars(module).get(name)
        own = getattr(value, "__module__", None) == module.__name__
        if own and callable(value) and getattr(value, hookspecs.PROJECT + "_impl", None) is None:
            raise PluginFault(f"{name}() is not marked with @hookimpl, so it would never be called", code="XC052")


def _first_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:3])
