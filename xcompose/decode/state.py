"""States as trees of tensors, batch first: to reorder, repeat and weigh them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from xcompose.compose.parts import State

INTEGERS, INTEGER_BYTES = ("at", "tokens", "tags", "counts"), 8
"""Positions, tokens and what contents have chosen are int64."""


def reorder(state: State, index: Tensor) -> State:
    """The state of the sequences at `index` (b'), which may repeat or leave out some: for beams and for dropping
    sequences that have ended."""
    return pytree.tree_map(lambda t: t.index_select(0, index) if isinstance(t, Tensor) else t, state)


def clone(state: State) -> State:
    """A copy that may be used up on its own, to branch."""
    return pytree.tree_map(lambda t: t.clone() if isinstance(t, Tensor) else t, state)


def bytes_of(state: Any) -> int:
    """Bytes of all tensors in a state."""
    leaves = pytree.tree_leaves(state)
    return sum(t.numel() * t.element_size() for t in leaves if isinstance(t, torch.Tensor))


def size_of_state(shapes: Mapping[str, tuple[int, ...]], width: int, widths: Mapping[str, int] | None = None) -> int:
    """Bytes for these sizes by name: integers where its last part is one of `INTEGERS`, else numbers of `width` bytes,
    but for those whose width is said by name."""
    known = widths or {}
    return sum(
        math.prod(shape) * known.get(name, INTEGER_BYTES if name.rpartition(".")[2] in INTEGERS else width)
        for name, shape in shapes.items()
    )


def widths_of(state: Any) -> dict[str, int]:
    """Bytes of a number in each tensor of a state, by the names that `state_shape` uses: `tokens.0.k`."""
    leaves, _ = pytree.tree_flatten_with_path(state)
    return {
        ".".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path): leaf.element_size()
        for path, leaf in leaves
        if isinstance(leaf, Tensor)
    }
