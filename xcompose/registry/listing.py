"""The installed plugins as they can be listed without an import: from what they announce, and what was kept of them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from xcompose.registry import discovery, kept
from xcompose.registry.clash import Clash, clashes
from xcompose.registry.discovery import Found
from xcompose.registry.loader import Plugin, refused
from xcompose.spec.catalogue import canonical


@attrs.frozen
class Listed:
    """One installed plugin."""

    found: Found
    plugin: Plugin | None
    """What is known of it; None if it was not imported since it was installed or changed."""
    left_out: bool
    clash: str = ""
    """Why a name that it offers is nobody's, as far as the others are known; empty where none is."""

    @property
    def api(self) -> str:
        """The API version that it is written for."""
        version = discovery.version_of(self.found.group)
        return "?" if version is None else str(version)

    @property
    def components(self) -> int | None:
        return None if self.plugin is None or self.plugin.error else len(self.plugin.schemas)

    @property
    def seconds(self) -> float | None:
        """What its import took, when it was last imported."""
        return self.plugin.seconds if self.plugin and self.plugin.seconds else None

    @property
    def path(self) -> str:
        """The file of its module, as far as that can be said without an import."""
        return module_file(self.found.module)

    @property
    def status(self) -> str:
        if self.left_out:
            return "left out"
        if self.plugin is None:
            return "not imported yet"
        if self.plugin.error:
            return "not loaded"
        return "needs a look" if self.clash else "in use"

    @property
    def why(self) -> str:
        """Why it, or one of its components, is not in use; empty where all is, or nothing is known."""
        if self.left_out:
            return f"{discovery.SETTING}={os.environ[discovery.SETTING]}"
        return (self.plugin.error if self.plugin else "") or self.clash

    def as_data(self) -> dict[str, Any]:
        found = self.found
        return {
            "distribution": found.distribution, "version": found.version, "namespace": found.namespace,
            "entry_point": found.entry_point, "group": found.group, "api": discovery.version_of(found.group),
            "module": found.module, "path": self.path, "components": self.components, "seconds": self.seconds,
            "hooks": list(self.plugin.hooks) if self.plugin else [], "status": self.status,
            "why": self.why,
        }  # fmt: skip


def listed() -> tuple[Listed, ...]:
    """Every plugin that another distribution announces. Nothing is imported."""
    wanted = discovery.wanted()
    known = {found: _known(found) for found in discovery.announced()}
    used = [plugin for found, plugin in known.items() if plugin and discovery.is_wanted(found, wanted)]
    rivals = clashes(used)
    return tuple(
        Listed(found, plugin, not discovery.is_wanted(found, wanted), _clash(plugin, rivals))
        for found, plugin in known.items()
    )


def _clash(plugin: Plugin | None, rivals: Mapping[tuple[str, str], Clash]) -> str:
    keys = [(schema.kind, canonical(schema)) for schema in plugin.schemas] if plugin else []
    return "; ".join(rivals[key].reason for key in keys if key in rivals)


def _known(found: Found) -> Plugin | None:
    return refused(found) or kept.peek(found)


def module_file(module: str) -> str:
    """The file that a module would be imported from; the folder of its top-level package, or nothing, if unclear."""
    top, _, rest = module.partition(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return ""
    if spec is None:
        return ""
    if not rest:
        return spec.origin or ""
    places = [Path(folder, *rest.split(".")) for folder in spec.submodule_search_locations or ()]
    files = [file for place in places for file in (place.with_suffix(".py"), place / "__init__.py") if file.exists()]
    return str(files[0] if files else next(iter(spec.submodule_search_locations or ()), ""))
