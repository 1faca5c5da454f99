"""One set of weights for many models: each of them takes the leading rows and columns of the largest there is.

A table says, for each name of a weight, how large it has to be for all of these models. A model of the table is a
skeleton, whose own weights are gone; they are lent to it, as views of the table's tensors, so that a gradient lands in
the part that was lent and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import attrs
import torch
from torch import Tensor, nn

from xcompose.compose.model import Model
from xcompose.compose.observe import Observer
from xcompose.compose.parts import AfterStep, Mixer
from xcompose.diagnostics import PartError

Shape = tuple[int, ...]


class Place(NamedTuple):
    """Where a module keeps a tensor."""

    module: nn.Module
    key: str
    weight: bool
    """Whether it is a parameter; else a buffer that training moves."""

    @property
    def tensor(self) -> Tensor:
        return self._shelf[self.key]

    def put(self, tensor: Tensor) -> None:
        """Put another tensor there, of any shape."""
        # Not by setattr: a module takes nothing but a parameter where it had one, and what is lent is a view.
        self._shelf[self.key] = tensor

    @property
    def _shelf(self) -> dict[str, Any]:
        return self.module._parameters if self.weight else self.module._buffers


def places(model: nn.Module) -> dict[str, tuple[Place, ...]]:
    """Where a model keeps what it learns, by name: its parameters, and the buffers of modules that change their own.

    A tensor that is used in several places has one name, its first.
    """
    found: dict[int, tuple[str, list[Place]]] = {}
    for path, module in model.named_modules():
        moving: dict[str, Tensor | None] = module._buffers if _moves(module) else {}
        for weight, shelf in ((True, module._parameters), (False, moving)):
            for key, tensor in shelf.items():
                if tensor is not None:
                    name = f"{path}.{key}" if path else key
                    found.setdefault(id(tensor), (name, []))[1].append(Place(module, key, weight))
    return {name: tuple(everywhere) for name, everywhere in found.values()}


def _moves(module: nn.Module) -> bool:
    return isinstance(module, AfterStep | Observer)


def leading(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The leading part of a tensor, a view; the tensor itself where that is all of it."""
    if tensor.shape == torch.Size(shape):
        return tensor
    return tensor[tuple(slice(size) for size in shape)]


def within(small: Shape, large: Shape) -> bool:
    """Whether a shape is nowhere larger than another of as many axes."""
    return all(a <= b for a, b in zip(small, large, strict=True))


@attrs.frozen
class Fact:
    """What is known of one name."""

    shapes: tuple[Shape, ...]
    """Those that lie in no other one, each of some model."""
    dtype: torch.dtype
    weight: bool
    trained: bool
    said: str
    """The choices that brought it."""

    @property
    def shape(self) -> Shape:
        """The largest size along each axis."""
        return tuple(max(sizes) for sizes in zip(*self.shapes, strict=True))

    def holds(self, shape: Shape) -> bool:
        """Whether all of a tensor of this shape lies in that of some model, and so has a start."""
        return any(within(shape, one) for one in self.shapes)

    def with_shape(self, shape: Shape) -> Fact:
        if self.holds(shape):
            return self
        return attrs.evolve(self, shapes=(*(one for one in self.shapes if not within(one, shape)), shape))


@attrs.define(eq=False)
class Table:
    """Every name there is, and how large it has to be."""

    facts: dict[str, Fact] = attrs.field(factory=dict)
    heads: dict[str, tuple[int, str]] = attrs.field(factory=dict)
    """Channels of one head in a projection, by its name; and the choices that brought them."""
    parts: dict[str, str] = attrs.field(factory=dict)
    """The names that weights stand under, and the choices that brought each."""
    kind: tuple[str, str] | None = None
    """What a model of the table reads, and the choices of the first."""

    def add(self, model: Model, said: str) -> None:
        """Make room for a model.

        Args:
            model: on any device, the meta device too.
            said: the choices that make it, for messages.

        Raises:
            PartError: it cannot have weights in common with those before it.
        """
        self.refuse(model, said)
        self.kind = self.kind or (_kind(model), said)
        for name, everywhere in places(model).items():
            tensor, weight = everywhere[0].tensor, everywhere[0].weight
            shape = tuple(tensor.shape)
            known = self.facts.get(name)
            fresh = Fact((shape,), tensor.dtype, weight, tensor.requires_grad, said)
            self.facts[name] = fresh if known is None else known.with_shape(shape)
            for above in _above(name):
                self.parts.setdefault(above, said)
        for name, width in _heads(model):
            self.heads.setdefault(name, (width, said))

    def refuse(self, model: Model, said: str) -> None:
        """Refuse a model that cannot have weights in common with those of the table.

        Raises:
            PartError: with the reason.
        """
        _refuse_addons(model)
        if self.kind is not None and self.kind[0] != _kind(model):
            raise PartError(
                f"{self.kind[0]} with {self.kind[1]}, {_kind(model)} with {said}",
                label="all models of a super-network learn the same task from the same data",
                fixes=("search over the two apart",),
            )  # fmt: skip
        for name, everywhere in places(model).items():
            self._refuse_part(name, said)
            if name in self.facts:
                _refuse_unlike(name, self.facts[name], everywhere[0], said)
        for name, width in _heads(model):
            known, by = self.heads.get(name, (width, said))
            if known != width:
                raise PartError(
                    f"'{name}' has heads of {known} with {by}, of {width} with {said}",
                    label="the leading rows of its weights are whole heads only where all heads are equally wide",
                    fixes=("write head_dim: N in the model; then more heads make it wider",),
                )  # fmt: skip

    def _refuse_part(self, name: str, said: str) -> None:
        """Refuse a weight whose name stands for a part with weights of its own elsewhere."""
        inside = [(name, said, self.parts[name])] if name in self.parts else []
        inside += [(one, self.facts[one].said, said) for one in _above(name) if one in self.facts]
        for clash, weight, part in inside:
            raise PartError(
                f"'{clash}' is a weight with {weight}, and a part with weights of its own with {part}",
                label="a super-network has one place for each name", fixes=("search over the two apart",),
            )  # fmt: skip

    def holds(self, model: Model) -> bool:
        """Whether all of a model's weights are a part of the table's."""
        return all(
            name in self.facts and self.facts[name].holds(tuple(everywhere[0].tensor.shape))
            for name, everywhere in places(model).items()
        )


def _above(name: str) -> Iterator[str]:
    """The names that a name stands under: `a`, `a.b` for `a.b.c`."""
    steps = name.split(".")
    return (".".join(steps[:count]) for count in range(1, len(steps)))


def _kind(model: Model) -> str:
    what = "a decoder" if model.decodes else "an encoder"
    source = " that reads a source," if model.reads_source else ""
    return f"{what}{source} of {model.vocab} tokens"


def _heads(model: Model) -> Iterator[tuple[str, int]]:
    for path, module in model.named_modules():
        if isinstance(module, Mixer):
            yield from ((f"{path}.{name}", width) for name, width in module.by_head.items())


def _refuse_addons(model: Model) -> None:
    for listed in model.addons:
        if listed.addon.rung in ("storage", "adapters"):
            raise PartError(
                f"addon '{listed.name}' cannot stand in a super-network",
                label="it changes weights that are trained already, and those of a super-network are not yet",
                fixes=("search without it, and list it in the addons of a winner",),
            )  # fmt: skip


def _refuse_unlike(name: str, known: Fact, place: Place, said: str) -> None:
    tensor = place.tensor
    pairs = (
        (f"has {_axes(len(known.shapes[0]))}", _axes(tensor.ndim)),
        (f"is {_dtype(known.dtype)}", _dtype(tensor.dtype)),
        ("is trained" if known.trained else "is frozen", "trained" if tensor.requires_grad else "frozen"),
        ("is learnt" if known.weight else "is counted", "learnt" if place.weight else "counted"),
    )
    for before, now in pairs:
        if before.partition(" ")[2] != now:
            raise PartError(
                f"'{name}' {before} with {known.said}, {now} with {said}",
                label="of two such tensors none can be a part of the other",
                fixes=("search over the two apart",),
            )  # fmt: skip


def _axes(count: int) -> str:
    return "1 axis" if count == 1 else f"{count} axes"


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def covering(shapes: Sequence[Mapping[str, Shape]]) -> list[int]:
    """A few of many models that together have every shape that lies in no other: by number, those with the most
    elements first."""
    sizes = [sum(torch.Size(shape).numel() for shape in one.values()) for one in shapes]
    chosen: list[int] = []
    facts: dict[str, list[Shape]] = {}
    for number in sorted(range(len(shapes)), key=lambda i: -sizes[i]):
        new = [
            (name, shape)
            for name, shape in shapes[number].items()
            if not any(within(shape, one) for one in facts.get(name, ()))
        ]
        for name, shape in new:
            facts.setdefault(name, []).append(shape)
        if new:
            chosen.append(number)
    return chosen


def started(table: Table, models: Iterable[Model]) -> dict[str, Tensor]:
    """Tensors of the table's shapes that start as those of these models do.

    Args:
        table: with all of these models.
        models: built for real. Where several have the same part, that of the last one counts.
    """
    found = {
        name: torch.zeros(fact.shape, dtype=fact.dtype, device="cpu", requires_grad=False)
        for name, fact in table.facts.items()
    }  # fmt: skip
    for model in models:
        for name, everywhere in places(model).items():
            tensor = everywhere[0].tensor.detach()
            leading(found[name], tensor.shape).copy_(tensor)
    return found


class Skeleton:
    """A model whose weights are gone until some are lent to it.

    Args:
        model: built for real; what is no weight of it stays as it is.
    """

    def __init__(self, model: Model):
        self.model, self.places = model, places(model)
        self.shapes = {name: tuple(everywhere[0].tensor.shape) for name, everywhere in self.places.items()}
        self._gone = {name: _gone(everywhere[0].tensor) for name, everywhere in self.places.items()}
        self.give_back()

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Work with the leading parts of these tensors, wherever a name stands."""
        for name, everywhere in self.places.items():
            lent = leading(tensors[name], self.shapes[name])
            for place in everywhere:
                place.put(lent)
        self._follow(lent.device)

    def give_back(self) -> None:
        """Be without weights again."""
        for name, everywhere in self.places.items():
            for place in everywhere:
                place.put(self._gone[name])

    @contextmanager
    def lent(self, tensors: Mapping[str, Tensor]) -> Iterator[Model]:
        """The model with the leading parts of these tensors, for a while."""
        self.take(tensors)
        try:
            yield self.model
        finally:
            self.give_back()

    def _follow(self, device: torch.device) -> None:
        """Move what is not lent to where the weights are."""
        for module in self.model.modules():
            for key, buffer in module._buffers.items():
                if buffer is not None and buffer.device != device:
                    module._buffers[key] = buffer.to(device)


def _gone(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
