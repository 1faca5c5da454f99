"""Layers of two models in pairs, and a model that starts with the weights of another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from xcompose.compose.model import Model
from xcompose.diagnostics import PartError

Pairs = tuple[tuple[int, int], ...]
"""(student's, teacher's) layers, from 0."""


def paired_layers(layers: Any, own: int, theirs: int) -> Pairs:
    """Which layer of a student learns from which of its teacher.

    Args:
        layers: `even`, `last`, or pairs as texts or numbers.
        own, theirs: how many layers there are.

    Raises:
        PartError: there is no such thing.
    """
    if layers == "last":
        return ((own - 1, theirs - 1),)
    if layers == "even":
        step, rest = divmod(theirs, own)
        if rest or not step:
            raise PartError(
                f"{theirs} layers of the teacher do not divide evenly among {own} of the student", option="layers",
                fixes=("layers=last", "a list of pairs: layers=[[0, 1], [1, 3]]"),
            )  # fmt: skip
        return tuple((m, step * (m + 1) - 1) for m in range(own))
    wrong = PartError(
        "layers are 'even', 'last', or a list of pairs of a student's and a teacher's layer", option="layers",
        fixes=("layers=[[0, 1], [1, 3]]",),
    )  # fmt: skip
    if not isinstance(layers, tuple) or not layers:
        raise wrong
    pairs = []
    for pair in layers:
        if not isinstance(pair, tuple) or len(pair) != 2 or not all(str(one).isdecimal() for one in pair):
            raise wrong
        pairs.append((int(pair[0]), int(pair[1])))
    twice = next((pair for pair in pairs if pairs.count(pair) > 1), None)
    if twice is not None:
        raise PartError(
            f"layer {twice[0]} of the student and layer {twice[1]} of the teacher are a pair twice", option="layers",
            label="it would count twice in every mean", fixes=("write each pair once",),
        )  # fmt: skip
    for side, (who, count) in enumerate((("student", own), ("teacher", theirs))):
        if (most := max(pair[side] for pair in pairs)) >= count:
            raise PartError(f"the {who} has no layer {most}, its last one is {count - 1}", option="layers")
    return tuple(pairs)


def start_as(student: Model, teacher: Model, layers: Any) -> int:
    """Give the student the weights of its teacher, and count the tensors. What the teacher has not got starts alone.

    Raises:
        PartError: a tensor has another shape, or is that of two layers of the teacher.
    """
    own, theirs = student.state_dict(keep_vars=True), teacher.state_dict(keep_vars=True)
    sources: dict[int, str] = {}
    for name, source in _named_alike(student, teacher, layers, own):
        if source not in theirs:
            continue
        if own[name].shape != theirs[source].shape:
            raise PartError(
                f"the student cannot start as its teacher: {name} is {tuple(own[name].shape)}, "
                f"the teacher's {source} {tuple(theirs[source].shape)}",
                option="start", fixes=("start=own",),
            )  # fmt: skip
        if theirs[sources.setdefault(id(own[name]), source)] is not theirs[source]:
            raise PartError(
                f"the student cannot start as its teacher: {name} is shared, and would have to be both "
                f"{sources[id(own[name])]} and {source} of the teacher",
                option="start", fixes=("start=own", "layers=[[0, 0]], one layer for the shared weights"),
            )  # fmt: skip
    tensors = {id(t): t for t in own.values()}
    with torch.no_grad():
        for which, source in sources.items():
            tensors[which].copy_(theirs[source])
    return len(sources)


def _named_alike(student: Model, teacher: Model, layers: Any, own: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Names of the student's tensors with those of the teacher's that they start as; none in layers without a pair."""
    moved: dict[str, str] = {}
    inside: list[str] = []
    others = teacher.stacks()
    for path, module in student.named_modules():
        for name, stack in student.stacks().items():
            if module is stack and name in others:
                inside.append(f"{path}.layers.")
                for mine, other in paired_layers(layers, len(stack.blocks), len(others[name].blocks)):
                    moved[f"{path}.layers.{mine}."] = f"{path}.layers.{other}."
    for name in own:
        prefix = next((one for one in moved if name.startswith(one)), None)
        if prefix is not None:
            yield name, moved[prefix] + name[len(prefix) :]
        elif not name.startswith(tuple(inside)):
            yield name, name
