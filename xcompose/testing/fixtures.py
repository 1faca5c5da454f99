"""Registries for tests: the built-in components and what is under test, and no other plugin that happens to be there.

Re-exported by the pytest plugin, so that every test can ask for them.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xcompose.registry import Component, Registry
    from xcompose.registry.discovery import Found

SETTING = "XCOMPOSE_PLUGINS"


def registry_with(*modules: str, components: Iterable[Component] = ()) -> Registry:
    """The built-in components, those of these modules, and these; nothing else that is installed.

    Args:
        modules: dotted names, `acme_mean.mean`. One that an installed distribution announces has its namespace; for
            any other it is the first word of the module's name.
        components: made by hand.

    Raises:
        LookupError: a module cannot be used as a plugin; the text says why.
    """
    found = _loaded(tuple(modules))
    more = {(c.kind, c.full_name): c for c in components}
    if not more:
        return found
    from xcompose.registry import Registry

    return Registry({**{(c.kind, c.full_name): c for c in found.components()}, **more})


@functools.cache
def _loaded(modules: tuple[str, ...]) -> Registry:
    from xcompose.registry import Registry
    from xcompose.registry.discovery import built_in

    registry = Registry.from_found([*built_in(), *(_found(module) for module in modules)])
    for plugin in registry.plugins:
        if plugin.error and plugin.found.module in modules:
            raise LookupError(f"plugin '{plugin.found.module}' cannot be tested: {plugin.error}")
    return registry


def _found(module: str) -> Found:
    from xcompose.registry.discovery import Found, announced, namespace_of, normal

    top = module.partition(".")[0]
    made_up = Found(module, normal(top), "0", namespace_of(top), top)
    return next((found for found in announced() if found.module == module), made_up)


def announced_for(namespaces: Iterable[str]) -> tuple[str, ...]:
    """The modules of installed plugins that own one of these namespaces."""
    from xcompose.registry.discovery import announced

    wanted = set(namespaces)
    return tuple(found.module for found in announced() if found.namespace in wanted) if wanted else ()


@pytest.fixture
def xc_registry(request: pytest.FixtureRequest) -> Registry:
    """The built-in components and what is under test: the modules that the test's class names as `plugin` (one name, or
    a tuple of them), else the installed plugins whose namespaces its `expressions` name. Override it for more."""
    cls = request.cls
    plugin = getattr(cls, "plugin", "") if cls else ""
    if plugin:
        return registry_with(*((plugin,) if isinstance(plugin, str) else plugin))
    expressions = getattr(cls, "expressions", ()) if cls else ()
    return registry_with(*announced_for(e.partition("/")[0] for e in expressions if "/" in e))


@pytest.fixture
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing but the built-in components is found, by this process or one that it starts."""
    from xcompose import registry

    monkeypatch.setenv(SETTING, "none")
    registry.load.cache_clear()
    yield
    registry.load.cache_clear()
