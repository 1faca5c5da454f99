"""Which layers of a stack use one set of weights, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from xcompose.compose.adapters import adapter_weights
from xcompose.compose.sharing import PLACES
from xcompose.compose.stack import Stack

Sets = Mapping[str, int]
"""By part of a layer that has weights: the number of the first layer of its stack that uses the same."""


def sets_of(stack: Stack) -> list[Sets]:
    """For each layer, whose weights it uses."""
    first: dict[tuple[int, ...], int] = {}
    found = []
    for block in stack.blocks:
        parts = {part: getattr(block, place) for part, place in PLACES.items()}
        weights = {part: _weights(module) for part, module in parts.items() if module is not None}
        found.append({part: first.setdefault(ids, block.number) for part, ids in weights.items() if ids})
    return found


def _weights(module: nn.Module) -> tuple[int, ...]:
    """The identities of its weights, without those of adapters."""
    own = {id(parameter) for parameter in adapter_weights(module).values()}
    return tuple(id(parameter) for parameter in module.parameters() if id(parameter) not in own)


def told(sets: Sequence[Sets], at: int, period: int, times: int) -> str:
    """How layers that are shown once share weights: `one set of weights`, `2 sets of weights in turns for mixer`.

    Args:
        sets: of each layer of the stack.
        at: the first of them.
        period: how many layers are repeated.
        times: how often they are.

    Returns:
        Nothing where each has its own.
    """
    parts = [part for part in PLACES if any(part in one for one in sets[at : at + period])]
    by_words: dict[str, list[str]] = {}
    for part in parts:
        rounds = [tuple(one.get(part) for one in sets[at + period * i : at + period * (i + 1)]) for i in range(times)]
        by_words.setdefault(_words(rounds, at), []).append(part)
    texts = [
        words if len(some) == len(parts) else f"{words} for {' and '.join(some)}"
        for words, some in by_words.items()
        if words
    ]
    return ", ".join(texts)


def _words(rounds: Sequence[tuple[int | None, ...]], at: int) -> str:
    order = list(dict.fromkeys(rounds))
    numbers, count, times = [order.index(one) for one in rounds], len(order), len(rounds)
    first = rounds[0][0]
    if count == 1 and first is not None and first < at:
        return f"weights of layer {first}"
    if count == times:
        return ""
    if count == 1:
        return "one set of weights"
    if numbers == [i % count for i in range(times)]:
        return f"{count} sets of weights in turns"
    if numbers == [i * count // times for i in range(times)] and times % count == 0:
        return f"{count} sets of weights, each {times // count} times in a row"
    return f"{count} sets of weights: {' '.join(map(str, numbers))}"
