"""The installed plugins as they can be listed without an import: from what they announce, and what was kept of them."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import attrs

from xcompose.registry import discovery, kept
from xcompose.registry.discovery import Found
from xcompose.registry.loader import Plugin, refused


@attrs.frozen
class Listed:
    """One installed plugin."""

    found: Found
    plugin: Plugin | None
    """What is known of it; None if it was not imported since it was installed or changed."""
    left_out: bool

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
        return "not loaded" if self.plugin.error else "in use"

    @property
    def why(self) -> str:
        """Why it is not in use; empty where it is, or nothing is known."""
        if self.left_out:
            return f"{discovery.SETTING}={os.environ[discovery.SETTING]}"
        return self.plugin.error if self.plugin else ""

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
    return tuple(
        Listed(found, _known(found), not discovery.is_wanted(found, wanted)) for found in discovery.announced()
    )


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
    return str(files[0]) if files else str(Path(spec.origin or "").parent)
