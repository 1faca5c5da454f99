"""Makes this process see other plugins than before."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from tests.registry.distributions import Distribution
from xcompose import registry
from xcompose.registry import loader, stamps


def fresh() -> None:
    """Forget what this process knows of plugins, as if it had just been started."""
    importlib.invalidate_caches()
    for known in (registry.load, registry.built_in, registry.third_party, stamps.environment_stamp):
        known.cache_clear()
    loader.imported.clear()


def forget(folder: Path) -> None:
    """Forget the plugins of a folder, and that their modules were imported."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
    fresh()


def install(folder: Path) -> Callable[..., None]:
    """What installs distributions into a folder on Python's path."""

    def into(*distributions: Distribution) -> None:
        for one in distributions:
            one.install(folder)
        fresh()

    return into
