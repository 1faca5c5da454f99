"""The plugin contract: everything that pluggy may call on a plugin."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from xcompose.registry.component import Component

PROJECT = "xcompose"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def components() -> Iterable[Component]:  # type: ignore[empty-body]
    """Return the components this plugin adds. Called once, when the plugin is loaded.

    Their names and options are kept between runs, and the plugin is imported only when one of them is taken. So the
    answer may depend on the plugin's code and on nothing else.
    """


@hookspec
def specs() -> Iterable[str]:  # type: ignore[empty-body]
    """Return names of packages whose `*.xc.yaml` files others may extend as `package:path/name`. Kept likewise."""
