"""Parts built by name, without a spec: for tests of single plugins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from xcompose.attention.reads import Axis
from xcompose.compose.parts import Context, Mixer, Source
from xcompose.registry import load
from xcompose.schema import REQUIRED


def part(kind: str, name: str, **given: Any) -> Any:
    """The options object of a component, defaults that name components included."""
    component = load().component(kind, name)
    for option in component.schema.options:
        default = option.default
        if option.type.name == "component" and isinstance(default, str) and default is not REQUIRED:
            given.setdefault(option.name, part(option.type.kind, default))
    return component.options(**given)


def pattern(name: str, **given: Any) -> Any:
    return part("pattern", name, **given)


def attention(**given: Any) -> Any:
    """Options of an attention mixer; slots may be given by name. Queries without a key are let through."""
    given.setdefault("silence", "zero")
    for kind in ("score", "memory", "recurrence", "position", "pattern"):
        if isinstance(given.get(kind), str):
            given[kind] = part(kind, given[kind])
    return part("mixer", "attention", **given)


def context(dim: int, causal: str = "strict", **facts: Any) -> Context:
    def build(options: Any, around: Context) -> Any:
        component = load().component_of(options)
        return options if component.build is None else component.build(options, around)

    return Context(dim=dim, causal=causal, builder=build, namer=lambda o: load().component_of(o).name, **facts)  # type: ignore[arg-type]


def mixer(options: Any, dim: int, causal: str = "strict", seed: int = 0, **facts: Any) -> Mixer:
    """A mixer in double precision, all of its parameters drawn anew and none zero."""
    made = context(dim, causal, **facts).build(options).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype) * 0.3)
    return made


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def in_unison(made: Mixer, x: Tensor, cuts: Iterable[int], source: Source | None = None) -> tuple[Tensor, Any]:
    """The rows of x (b n c) piece by piece, cut before these positions; also the state at the end."""
    n = x.shape[1]
    edges = [0, *sorted(c for c in set(cuts) if 0 < c < n), n]
    state, found = made.start(x.shape[0], x), []
    for begin, end in zip(edges, edges[1:], strict=False):
        mixed = made(x[:, begin:end], Axis(range(begin, end)), state, source)
        state = mixed.state
        found.append(mixed.x)
    return torch.cat(found, 1), state


def ragged(made: Mixer, x: Tensor, steps: Sequence[Sequence[int]], source: Source | None = None) -> tuple[Tensor, Any]:
    """The rows of x (b n c), of which sequence i takes steps[t][i] in call t, padded on the right.

    Returns:
        (b n c) with zeros behind what a sequence has taken, and the state at the end.
    """
    batch = x.shape[0]
    taken = torch.zeros(batch, dtype=torch.long)
    state, found = made.start(batch, x), torch.zeros_like(x)
    for counts in steps:
        width = max(counts)
        at = taken[:, None] + torch.arange(width)
        valid = torch.arange(width) < torch.tensor(counts)[:, None]
        piece = torch.zeros(batch, width, x.shape[2], dtype=x.dtype)
        for i, count in enumerate(counts):
            piece[i, :count] = x[i, taken[i] : taken[i] + count]
        mixed = made(piece, Axis(at, valid), state, source)
        state = mixed.state
        for i, count in enumerate(counts):
            found[i, taken[i] : taken[i] + count] = mixed.x[i, :count]
        taken = taken + torch.tensor(counts)
    return found, state


def sizes(state: Any) -> dict[str, tuple[int, ...]]:
    """The sizes per sequence of every tensor in a state, by its path joined with dots."""
    leaves, _ = pytree.tree_flatten_with_path(state)
    steps = {path: [k.key if isinstance(k, pytree.MappingKey) else k.idx for k in path] for path, _ in leaves}
    return {".".join(map(str, steps[path])): tuple(t.shape[1:]) for path, t in leaves}
