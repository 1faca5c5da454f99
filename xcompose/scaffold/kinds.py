"""What each kind of component owes its author: base class, methods, contract, and the first package."""

from __future__ import annotations

import functools
import importlib.resources
import tomllib
from typing import Any

import attrs

TEMPLATES = importlib.resources.files(__name__.rpartition(".")[0]) / "file-templates"
"""The files of all packages, with names to fill in."""


@attrs.frozen(kw_only=True)
class Slot:
    """A kind of component, as its author sees it. Names of `xcompose.api` and `xcompose.testing`."""

    kind: str
    base: str
    """What the mechanism derives from, or what its build function returns."""
    contract: str
    """The class of tests that it inherits."""
    must: tuple[str, ...]
    """Methods that have to be written."""
    may: tuple[str, ...]
    """Methods that can be written."""
    pieces: str
    """What the file of the mechanism holds beside card and registration."""
    expressions: tuple[str, ...]
    """Calls that the contract is tested with."""
    oracle: str
    """The body of the test that compares it with its formula, but for the formula."""
    imports: tuple[str, ...] = ()
    """What this body uses of `xcompose.api`."""
    extras: str = "test"
    """Extras of xcompose that its tests need."""
    model: str = ""
    """More keys of the model in which the contract tries it."""
    types: tuple[str, ...] = ()
    """The only types of model that take it; not said: decoder and encoder."""


@functools.cache
def slots() -> dict[str, Slot]:
    """All kinds."""
    read: dict[str, dict[str, Any]] = tomllib.loads((TEMPLATES / "kinds.toml").read_text(encoding="utf-8"))
    return {kind: Slot(kind=kind, **{k: _frozen(v) for k, v in facts.items()}) for kind, facts in read.items()}


def slot(kind: str) -> Slot:
    """One of them.

    Raises:
        KeyError: there is no such kind.
    """
    return slots()[kind]


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
