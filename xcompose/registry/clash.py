"""Names that more than one plugin claims: they belong to none of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import attrs

from xcompose.registry.loader import Plugin
from xcompose.spec.catalogue import canonical


@attrs.frozen
class Clash:
    """Why nobody has a name, and what would mend it."""

    reason: str
    fix: str


def clashes(plugins: Iterable[Plugin]) -> dict[tuple[str, str], Clash]:
    """The components that several of these plugins offer, by kind and canonical name."""
    offers: dict[tuple[str, str], list[Plugin]] = defaultdict(list)
    for plugin in plugins:
        for schema in plugin.schemas:
            offers[schema.kind, canonical(schema)].append(plugin)
    return {key: _clash(key, many) for key, many in offers.items() if len(many) > 1}


def _clash(key: tuple[str, str], offers: list[Plugin]) -> Clash:
    kind, name = key
    distributions = sorted({plugin.found.distribution for plugin in offers})
    if len(distributions) > 1:
        return Clash(f"two plugins offer the {kind} '{name}': {' and '.join(distributions)}", "uninstall one of them")
    entries = " and ".join(sorted(f"{plugin.found.entry_point} ({plugin.found.module})" for plugin in offers))
    return Clash(
        f"two plugins of {distributions[0]} offer the {kind} '{name}': {entries}",
        "rename one component, or take one plugin out of its entry points",
    )
