"""Looking inside a stack while it runs: the rows behind each layer, queries, keys and values, who reads whom how much.

What is looked for leaves a mixer as its losses do, by the way of the layer's residual: so it carries gradients through
layers that keep nothing and through layers that are computed again, and a layer that is used twice is seen twice.
Nothing is computed or kept where nobody looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import attrs
from torch import Tensor

from xcompose.attention.reads import Axis
from xcompose.compose.parts import Mixer

if TYPE_CHECKING:
    from xcompose.compose.stack import Stack

SHOWN = ("q", "k", "v", "map")
"""What mixers show, see `Mixer.hides`; of each layer there are its `rows`, too."""
NOTHING: frozenset[str] = frozenset()


class Seen(NamedTuple):
    """What was seen of one call of a stack. Rows before the tokens are left out."""

    embedded: Tensor
    """(b n c) the rows that the stack was given"""
    layers: Mapping[int, Mapping[str, Tensor]]
    """By layer, from 0: `rows` (b n c) behind it, in front of the norm at the end of the stack; `q` (b n h*d), `k`
    (b n g*d), `v` (b n g*e), not turned by a position, heads side by side; `map` (b h n m), logits, -inf where a query
    may not read."""
    valid: Tensor | None
    """(b n) bool, which rows hold a token; None: all."""


@attrs.define(eq=False)
class Look:
    """What somebody looks for, and what was seen, call by call."""

    wanted: Mapping[int, frozenset[str]]
    """By layer."""
    calls: list[Seen] = attrs.field(factory=list)

    def of(self, layer: int) -> frozenset[str]:
        return self.wanted.get(layer, NOTHING)

    def took(self, x: Tensor, axis: Axis, layers: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Keep what was seen in a call that read the embedded rows x (b n c)."""
        front = axis.prefix
        seen = {
            layer: {name: t if name == "map" else t[:, front:] for name, t in found.items()}
            for layer, found in layers.items()
        }
        self.calls.append(Seen(x[:, front:], seen, None if axis.valid is None else axis.valid[:, front:]))


@contextmanager
def looking(stack: Stack, wanted: Mapping[int, Iterable[str]]) -> Iterator[Look]:
    """Look inside a stack in everything that it runs in between."""
    look = Look({layer: frozenset(what) for layer, what in wanted.items()})
    before, stack.look = stack.look, look
    try:
        yield look
    finally:
        stack.look = before


@contextmanager
def showing(mixer: Mixer, what: Iterable[str]) -> Iterator[None]:
    """Let a mixer show something of its inside in one call."""
    wanted = frozenset(what) & frozenset(SHOWN)
    if not wanted:
        yield
        return
    mixer.look_for(wanted)
    try:
        yield
    finally:
        mixer.look_for(NOTHING)
