"""Layers of a stack that use one set of weights.

Layers share parts by identity: the same module stands in several of them. So whatever goes through the parameters of a
model meets each once (counts, optimizers, files), and a gradient is the sum over all layers. A module keeps nothing
between calls but its weights and what it learnt; what belongs to one application (states, caches, buckets) is passed
through it and kept under the number of the layer, and what it counts is added up over all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from xcompose.compose.model import Model
from xcompose.compose.stack import Block, Stack
from xcompose.diagnostics import PartError

LayerPart = Literal["mixer", "cross", "ffn", "norms"]
PLACES: dict[LayerPart, str] = {"mixer": "mixer", "cross": "cross", "ffn": "ffn", "norms": "residual"}
"""By part of a layer: where it stands in a block. A residual has no weights but its norms."""
EVERY: tuple[LayerPart, ...] = tuple(PLACES)
KEYS: dict[LayerPart, tuple[str, ...]] = {
    "mixer": ("mixer",), "cross": ("cross",), "ffn": ("ffn",), "norms": ("residual", "norm"),
}  # fmt: skip
"""By part of a layer: the keys of a spec that say what it is."""


def stacks_named(model: Model, names: Sequence[str] | None) -> Mapping[str, Stack]:
    """The stacks of a model that an option `stacks` names; all of them if None.

    Raises:
        PartError: there is no such stack, or none is named.
    """
    there = model.stacks()
    if names is None:
        return there
    if not names:
        raise PartError(
            "an empty list of stacks names none", label="it would change nothing", option="stacks",
            fixes=(*(f"stacks={name}" for name in there if name), "leave stacks out, for each stack of the model"),
        )  # fmt: skip
    for name in names:
        if name not in there or not name:
            known = tuple(f"stacks={known}" for known in there if known)
            label = "" if known else "this model has one stack, without a name"
            message = f"there is no stack '{name}'"
            raise PartError(message, label=label, fixes=known or ("leave stacks out",), option="stacks")
    return {name: there[name] for name in names}


def called(stack: str) -> str:
    """` of encoder`, for messages; nothing for a stack without a name."""
    return f" of {stack}" if stack else ""


def share_layers(stack: Stack, sets: Sequence[int], parts: Sequence[LayerPart] = EVERY, name: str = "") -> bool:
    """Let layers use one set of weights, in place.

    Args:
        stack: whose layers.
        sets: for each layer, the number of its set. The first layer of a set gives its parts to the others.
        parts: what they share, all if not given; a part that the layers of a set do not have is passed over.
        name: of the stack, for messages.

    Returns:
        Whether any two layers share weights now.

    Raises:
        PartError: layers of one set are not alike, or share already.
    """
    first: dict[int, Block] = {}
    joined = False
    for block, number in zip(stack.blocks, sets, strict=True):
        giver = first.setdefault(number, block)
        if giver is not block:
            _refuse(giver, block, parts, name)
            for part in parts:
                joined |= _join(giver, block, part)
    return joined


def _join(giver: Block, block: Block, part: LayerPart) -> bool:
    shared = getattr(giver, PLACES[part])
    setattr(block, PLACES[part], shared)
    return shared is not None and any(True for _ in shared.parameters())


def _refuse(giver: Block, block: Block, parts: Sequence[LayerPart], name: str) -> None:
    both = f"layers {giver.number} and {block.number}{called(name)}"
    keys = [key for part in parts for key in KEYS[part] if not _alike(giver, block, key)]
    if keys:
        alike = ", ".join(part for part in parts if not set(KEYS[part]) & set(keys) and part in giver.roles)
        fixes = ("make the layers alike", *([f"share only what is alike: {alike}"] if alike else []))
        raise PartError(f"{both} cannot share, they differ in {' and '.join(keys)}", fixes=fixes)
    for part in parts:
        theirs = getattr(giver, PLACES[part])
        if theirs is not None and theirs is getattr(block, PLACES[part]):
            raise PartError(
                f"{both} share their {part} already", label="an add-on that is listed before has joined them",
                fixes=("let one add-on share each part",),
            )  # fmt: skip


def _alike(giver: Block, block: Block, key: str) -> bool:
    if giver.options.get(key) != block.options.get(key):
        return False
    if key == "mixer":
        return giver.piece == block.piece
    return key != "residual" or giver.roles == block.roles
