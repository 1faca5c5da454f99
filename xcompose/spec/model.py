"""What a spec is once it is read, merged, referred and filled with defaults: plain, located data.

The composer turns `Node`s into option objects and modules; nothing here knows torch or any plugin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from xcompose.diagnostics import Span


@attrs.frozen
class Node:
    """A component with all its options, each of them set (defaults filled in, inherited ones resolved).

    Two nodes are equal when they mean the same, wherever they are written.
    """

    kind: str
    name: str
    """Canonical: `window`, `acme/nystrom`."""
    options: Mapping[str, Any]
    """By option name. Numbers, flags, words and texts as Python values; widths as int; components as `Node`; lists as
    tuples; `Layers` as a tuple of `Layer`; budgets as `values.Budget`; shares as tuples of (share, Node); unset
    optional ones as None."""
    span: Span | None = attrs.field(default=None, eq=False)
    """The component's name as written; the place of the option, for defaults the place that made it necessary."""
    path: str = attrs.field(default="", eq=False)
    option_spans: Mapping[str, Span] = attrs.field(factory=dict, eq=False)
    """Where each written option stands."""
    written: frozenset[str] = attrs.field(default=frozenset(), eq=False)
    """The options that somebody wrote; the others are defaults or inherited."""
    inherited: frozenset[str] = attrs.field(default=frozenset(), eq=False)
    """The options that nobody wrote and that have the layer's value."""


class Record(dict[str, Any]):
    """The options of a record, a mapping with the keys of an option class; equal to any mapping that says the same.

    Args:
        values: by option name, each of them set.
        span: where the record stands.
        spans: where each written option stands.
    """

    def __init__(self, values: Mapping[str, Any], span: Span | None = None, spans: Mapping[str, Span] | None = None):
        super().__init__(values)
        self.span, self.spans = span, spans or {}


@attrs.frozen
class Layer:
    """One built layer: every layer key (mixer, cross, ffn, norm, residual, heads ...) with its value."""

    options: Mapping[str, Any]
    """`mixer`, `cross`, `ffn`, `norm`, `residual`, `position`, `recurrence` as `Node`; `heads`, `kv_heads`, `head_dim`
    as int; `bias` as bool; `dropout` as float."""
    block: str | None = attrs.field(default=None, eq=False)
    """The name of the block it uses, if any."""
    span: Span | None = attrs.field(default=None, eq=False)
    path: str = attrs.field(default="", eq=False)
    """As written: model.layers.0."""


@attrs.frozen
class Section:
    """The `encoder:` or `decoder:` of a model with two stacks: `layers`, `length`, `grid` and the layer keys."""

    options: Mapping[str, Any]
    """As in `Node`; `layers` is a tuple of `Layer`."""
    span: Span | None = attrs.field(default=None, eq=False)
    path: str = attrs.field(default="", eq=False)
    option_spans: Mapping[str, Span] = attrs.field(factory=dict, eq=False)


@attrs.frozen
class Expectation:
    """One line of `expect`, or one element of a list there."""

    key: str
    """params, trainable, layers, time, memory, state, causal, decode, deterministic, reach, lengths, or a metric."""
    text: str
    """As written: `12.7M ± 1%`, `O(n)`, `..4MiB at 1Mi`, `strict`."""
    value: Any
    """A `values.Range`, `values.Growth`, bool or str."""
    span: Span | None = attrs.field(default=None, eq=False)
    path: str = attrs.field(default="", eq=False)


@attrs.frozen
class Origin:
    """Who gave a place its value, newest first in a list of them."""

    text: str
    """The value as written there."""
    span: Span | None
    by: str
    """`own file`, `extends FILE`, `variant tiny`, `--set let.w=16`, `default`, `let.w` ..."""


@attrs.frozen
class Spec:
    """A spec after resolution. Identity (`fingerprint`) is `model` and `addons` alone."""

    name: str
    """The file's name without suffix, with `@variant`."""
    file: str
    about: str = ""
    paper: tuple[str, ...] = ()
    model: Node | None = None
    addons: tuple[Node, ...] = ()
    task: Node | None = None
    train: Mapping[str, Any] = attrs.field(factory=dict)
    """Every key of LANGUAGE section 10 with its value or default; empty without a `train` section only if
    nothing asks for it: use `train_settings()`."""
    search: Mapping[str, Any] = attrs.field(factory=dict)
    expect: tuple[Expectation, ...] = ()
    variants: tuple[str, ...] = ()
    """The names that `FILE@NAME` takes."""
    let: Mapping[str, Any] = attrs.field(factory=dict)
    frozen: Record | None = attrs.field(default=None, eq=False, repr=False)
    """What the text meant when it was frozen: `settings.FrozenOptions`. None for a spec that is not frozen, or that a
    variant or an override changes."""
    origins: Mapping[str, tuple[Origin, ...]] = attrs.field(factory=dict, eq=False, repr=False)
    """By path, for `xcompose why`."""
