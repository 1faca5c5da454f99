"""A component: a name of one kind, its options, and how to build it."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import attrs

from xcompose.schema import KINDS, ComponentSchema, option_schemas


@attrs.frozen(kw_only=True, slots=False)
class Component:
    """What a plugin's `components` hook returns, one for each mechanism."""

    kind: str = attrs.field(validator=attrs.validators.in_(KINDS))
    name: str
    options: type
    """The option class, made with `xcompose.api.options`."""
    build: Callable[[Any, Any], Any] | None = None
    """`build(options, context)` makes the working part: usually the module class itself, whose `__init__` takes
    (options, context). None: the options object is the working part (fixed patterns)."""
    version: int = 1
    also: tuple[str, ...] = ()
    """What other people call it; for messages only, never a second name."""
    renamed_from: tuple[str, ...] = ()
    """What it was called before, oldest first: read with a warning, and rewritten by `xcompose migrate`."""
    namespace: str = ""
    """Set by the loader: empty for built-in components, else the distribution's namespace."""
    distribution: str = "xcompose"
    facts: Any = attrs.field(factory=dict)
    """What cannot be derived, by name: `crosses` (works between two clocks), `stochastic`, `stage` of an addon
    (`model` or `train`), `needs` (facts of the model that must be written: `length`, `grid`)."""

    @functools.cached_property
    def schema(self) -> ComponentSchema:
        return ComponentSchema(
            kind=self.kind, name=self.name, namespace=self.namespace, version=self.version, summary=self.summary,
            options=option_schemas(self.options), also=self.also, distribution=self.distribution,
            renamed_from=self.renamed_from,
        )  # fmt: skip

    @property
    def full_name(self) -> str:
        """The canonical name: `window`, `acme/nystrom`, `acme/nystrom@2`."""
        name = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return name if self.version == 1 else f"{name}@{self.version}"

    @property
    def card(self) -> str:
        """The docstring of the plugin's module: what, Maths, Shapes, Cost, Limits, Paper."""
        module = sys.modules.get(self.options.__module__)
        return inspect.cleandoc(module.__doc__ or "") if module else ""

    @property
    def summary(self) -> str:
        return self.card.partition("\n")[0]
