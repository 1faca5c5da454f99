"""Which plugins are installed, as their distributions announce them: nothing is imported here."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import pkgutil
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from xcompose.registry.stamps import BUILT_IN

API_VERSION = 1
"""The version of what plugins are written for: of `xcompose.api`, of the hooks, and of what components promise."""
GROUP = f"xcompose.v{API_VERSION}"
"""The entry-point group of third-party plugins. The version is in the name, so it is known without any import."""
SETTING = "XCOMPOSE_PLUGINS"
_VERSIONED = re.compile(r"xcompose\.v(\d+)")


@attrs.frozen
class Found:
    """A plugin that is installed, before anything of it is imported."""

    module: str
    distribution: str
    version: str
    namespace: str
    entry_point: str = ""
    """The name of its entry point; empty for built-in plugins."""
    group: str = GROUP
    """The entry-point group that announces it."""
    unreadable: str = ""
    """Why what its distribution says of itself cannot be read; there is no module then."""

    @property
    def title(self) -> str:
        return self.entry_point or self.module.rpartition(".")[2] or self.distribution


def built_in() -> Iterator[Found]:
    """The plugins that ship with xcompose: every module below `plugins/`."""
    version = importlib.metadata.version("xcompose")
    package = importlib.import_module(BUILT_IN)
    for module in pkgutil.walk_packages(package.__path__, BUILT_IN + "."):
        if not module.ispkg:
            yield Found(module.name, "xcompose", version, "")


def third_party() -> tuple[Found, ...]:
    """The plugins that other distributions announce and `XCOMPOSE_PLUGINS` lets in, in an order that no file system
    decides. Those in a group of another API version are among them; the loader refuses them."""
    names = wanted()
    if names == frozenset():
        return ()
    return tuple(found for found in announced() if is_wanted(found, names))


def announced() -> tuple[Found, ...]:
    """Every plugin that another distribution announces, whatever `XCOMPOSE_PLUGINS` says of it.

    A distribution that has a plugin for this API may have others for other versions: those are not for us.
    """
    by_distribution: dict[str, list[Found]] = {}
    for distribution in importlib.metadata.distributions():
        found = _announced_by(distribution)
        if found:
            # of two copies Python imports the one that comes first on its path
            by_distribution.setdefault(normal(found[0].distribution), found)
    every = [one for many in by_distribution.values() for one in _for_this_version(many)]
    return tuple(sorted(every, key=lambda f: (f.namespace, f.distribution, f.group, f.entry_point)))


def _announced_by(distribution: importlib.metadata.Distribution) -> list[Found]:
    try:
        announced = distribution.read_text("entry_points.txt") or ""
    except UnicodeDecodeError as error:
        others = b"[xcompose" not in error.object
        return [] if others else [_unreadable(distribution, "entry_points.txt is not UTF-8")]
    if "[xcompose" not in announced:
        return []
    try:
        name, version = distribution.metadata["Name"], distribution.metadata["Version"]
        if not (name and version):
            return [_unreadable(distribution, "METADATA is not there, or says no name and version")]
        return [
            Found(entry.value, name, version, namespace_of(name), entry.name, entry.group)
            for entry in distribution.entry_points
            if entry.group == "xcompose" or entry.group.startswith("xcompose.")
        ]
    except Exception as error:  # what reads the files of others may raise anything, and must not end the program
        return [_unreadable(distribution, f"{type(error).__name__}: {error}")]


def _unreadable(distribution: importlib.metadata.Distribution, why: str) -> Found:
    """A plugin of which no more is known than the name of its folder says."""
    folder = Path(str(vars(distribution).get("_path", "unknown-0"))).stem
    name, _, version = folder.partition("-")
    return Found("", normal(name), version or "?", namespace_of(name), unreadable=why)


def _for_this_version(found: list[Found]) -> list[Found]:
    return [one for one in found if one.group == GROUP] or found


def version_of(group: str) -> int | None:
    """The API version that an entry-point group names; None if it names none."""
    match = _VERSIONED.fullmatch(group)
    return int(match[1]) if match else None


def wanted() -> frozenset[str] | None:
    """What `XCOMPOSE_PLUGINS` lets in: None for everything (unset or empty), nothing where it says `none`, else names
    of distributions or entry points, spelled as package indexes spell them."""
    names = _named()
    if not names:
        return None
    return frozenset() if "none" in names else names


def _named() -> frozenset[str]:
    return frozenset(normal(name) for name in os.environ.get(SETTING, "").split(",") if name.strip())


def is_mixed() -> bool:
    """Whether `XCOMPOSE_PLUGINS` says `none` and names plugins, too: it lets in none of them."""
    return "none" in _named() and len(_named()) > 1


def is_wanted(found: Found, names: frozenset[str] | None) -> bool:
    return names is None or not names.isdisjoint({normal(found.distribution), normal(found.entry_point)})


def unmatched(found: Iterable[Found]) -> tuple[str, ...]:
    """The names in `XCOMPOSE_PLUGINS` that no installed plugin has."""
    known = {normal(name) for one in found for name in (one.distribution, one.entry_point)}
    return tuple(sorted((wanted() or frozenset()) - known))


def normal(name: str) -> str:
    """A name of a distribution as package indexes compare them: Acme_Mean and acme.mean are acme-mean."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def namespace_of(distribution: str) -> str:
    """The namespace that a distribution owns: its name up to the first dash, `acme` for acme-mixers.

    A leading `xcompose-` is skipped, so that xcompose-nystrom owns `nystrom`.
    """
    words = normal(distribution).split("-")
    return words[1] if words[0] == "xcompose" and len(words) > 1 else words[0]
