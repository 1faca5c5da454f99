"""What is kept of plugins between two runs: plain data, so that their names and options cost no import.

What is kept carries the stamp of the code it was taken from, and counts for nothing once that code has changed.
"""

from __future__ import annotations

import importlib.metadata
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from xcompose import cache
from xcompose.registry.discovery import Found
from xcompose.registry.loader import Loaded, Plugin
from xcompose.registry.stamps import core_stamp, environment_folders, stamp_of
from xcompose.schema import REQUIRED, ComponentSchema, OptionSchema, ValueType

AGAIN = 600
"""Seconds after which a plugin that failed is tried again: what it lacked may be there, and no stamp shows it."""
_CLASSES = {cls.__name__: cls for cls in (Plugin, Found, ComponentSchema, OptionSchema, ValueType)}
_PLAIN = (str, int, float, bool, type(None))


class NotPlain(TypeError):
    """Something in a schema cannot be kept as plain data."""


def to_data(value: Any) -> Any:
    """Plain JSON data for what is known of a plugin; whatever has its default is left out.

    Raises:
        NotPlain: there is something else in it, such as an object as the default of an option.
    """
    if type(value) in _PLAIN:
        return value
    if value is REQUIRED:
        return {"required": True}
    if type(value) in (tuple, list):
        return {type(value).__name__: [to_data(one) for one in value]}
    if type(value) is dict:
        return {"dict": [[to_data(key), to_data(one)] for key, one in value.items()]}
    if type(value).__name__ in _CLASSES and type(value) is _CLASSES[type(value).__name__]:
        fields = attrs.fields(type(value))
        there = {f.name: getattr(value, f.name) for f in fields}
        changed = {f.name: to_data(there[f.name]) for f in fields if not _same(there[f.name], f.default)}
        return {type(value).__name__: changed}
    raise NotPlain(f"a {type(value).__name__} cannot be kept as plain data")


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and value == default


def from_data(data: Any) -> Any:
    """What `to_data` was given.

    Raises:
        TypeError, ValueError, KeyError: the data is not of its making.
    """
    if type(data) in _PLAIN:
        return data
    ((name, inside),) = data.items()
    if name in ("tuple", "list"):
        made = [from_data(one) for one in inside]
        return tuple(made) if name == "tuple" else made
    if name == "dict":
        return {from_data(key): from_data(one) for key, one in inside}
    if name == "required":
        return REQUIRED
    return _CLASSES[name](**{field: from_data(one) for field, one in inside.items()})


def built_ins(load: Callable[[], Iterable[Plugin]]) -> tuple[Plugin, ...]:
    """The built-in plugins: as they were kept, or loaded now and then kept."""
    name = f"plugins/built-in-{cache.digest(sys.prefix, sys.version, __file__)}"
    stamp = cache.digest(core_stamp(), importlib.metadata.version("xcompose"))
    there = _read(name, stamp)
    if there is not None:
        return there
    loaded = tuple(load())
    _write(name, stamp, loaded)
    return loaded


def peek(found: Found) -> Plugin | None:
    """What is kept of a third-party plugin and still true of its code; None if nothing is."""
    there = _read(_name(found), _stamp(found))
    return there[0] if there else None


def keep(loaded: Loaded) -> bool:
    """Keep what a third-party plugin has just said. False: its schema is not plain data, so nothing can be kept.

    Nothing is kept either of a plugin whose files are no longer those that were imported.
    """
    plugin = loaded.plugin
    if loaded.stamp != stamp_of(plugin.found):
        return is_plain(plugin)
    return _write(_name(plugin.found), _stamp(plugin.found), (plugin,))


def is_plain(plugin: Plugin) -> bool:
    """Whether what is known of a plugin can be kept."""
    try:
        to_data(plugin)
    except NotPlain:
        return False
    return True


def is_stale(found: Found) -> bool:
    """Whether something is kept of a plugin that is no longer true of its code."""
    data = cache.read(_name(found))
    return isinstance(data, dict) and data.get("stamp") != _stamp(found)


def _stamp(found: Found) -> str:
    return cache.digest(core_stamp(), stamp_of(found))


def _name(found: Found) -> str:
    """Of the plugin, and of this environment: one folder of the user serves several."""
    who = (found.distribution, found.group, found.entry_point, found.module)
    return f"plugins/{cache.digest(sys.prefix, sys.version, *who, *environment_folders())}"


def _read(name: str, stamp: str) -> tuple[Plugin, ...] | None:
    data = cache.read(name)
    try:
        if data["stamp"] != stamp:
            return None
        plugins = from_data(data["plugins"]) or None
        if any(p.error for p in plugins or ()) and not 0 <= time.time() - data["at"] < AGAIN:
            return None
        return plugins
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError):  # nothing there, or not of our making
        return None


def _write(name: str, stamp: str, plugins: tuple[Plugin, ...]) -> bool:
    try:
        data = to_data(plugins)
    except NotPlain:
        return False
    cache.write(name, {"stamp": stamp, "at": time.time(), "plugins": data})
    return True
