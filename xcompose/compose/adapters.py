"""Named adapters beside a frozen base: where they stand, which of them act, and which are trained.

An adapter is known by its name throughout a model; its modules stand in many places. A place is either behind a
sub-layer (`Behind`), or a linear layer (`Tuned` in `compose/tuned.py`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from xcompose.compose.sites import everywhere
from xcompose.diagnostics import PartError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_TAKEN = frozenset(dir(nn.ModuleDict()))


class Adapters(nn.Module, ABC):
    """A place where adapters stand, each under its name."""

    active: tuple[str, ...] = ()
    """Those that act, in order."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """All that stand here, in the order in which they came."""

    @abstractmethod
    def weights(self, name: str) -> Iterator[tuple[str, nn.Parameter]]:
        """The weights of one of them, with their names below this module."""

    def use(self, names: Iterable[str]) -> None:
        """Let those of these that stand here act, in this order, and no others.

        Raises:
            PartError: they cannot act together.
        """
        self.active = tuple(name for name in names if name in self.names)


class AdapterRows(NamedTuple):
    """What an adapter behind a sub-layer sees."""

    y: Tensor
    """(b n c) the answer of the sub-layer, with what the adapters before this one added to it"""
    x: Tensor
    """(b n c) what the sub-layer read"""
    norm: nn.Module | None
    """The norm that follows the sum of stream and answer, where the residual has one there; then x is the stream."""
    others: Mapping[str, Adapter]
    """All adapters of this place, by name."""


class Adapter(nn.Module, ABC):
    """A network behind a sub-layer."""

    reads: tuple[str, ...] = ()
    """Names of the adapters that it asks; they need not act by themselves."""

    @abstractmethod
    def forward(self, rows: AdapterRows) -> Tensor:
        """(b n c) what is added to the answer."""


class Behind(Adapters):
    """The adapters behind one sub-layer: each that acts adds to what the one before it left."""

    def __init__(self) -> None:
        super().__init__()
        self.named = nn.ModuleDict()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.named)

    def add(self, name: str, adapter: Adapter, *, acts: bool = True) -> None:
        """Put an adapter behind those that are there."""
        self.named[name] = adapter
        if acts:
            self.active = (*self.active, name)

    def weights(self, name: str) -> Iterator[tuple[str, nn.Parameter]]:
        if name in self.named:
            for below, parameter in self.named[name].named_parameters():
                yield f"named.{name}.{below}", parameter

    def forward(self, y: Tensor, x: Tensor, norm: nn.Module | None = None) -> Tensor:
        """The answer y (b n c) of a sub-layer that read x (b n c), adapted."""
        others: Mapping[str, Adapter] = dict(self.named.items())  # type: ignore[arg-type]
        for name in self.active:
            y = y + self.named[name](AdapterRows(y, x, norm, others))
        return y


def places(model: nn.Module) -> Iterator[tuple[str, Adapters]]:
    """Every place of a model where adapters stand, each once, with its first path."""
    for module, paths in everywhere(model, Adapters):
        yield paths[0], module  # type: ignore[misc]


def adapters_of(model: nn.Module) -> tuple[str, ...]:
    """The names of all adapters."""
    return tuple(dict.fromkeys(name for _, place in places(model) for name in place.names))


def active(model: nn.Module) -> tuple[str, ...]:
    """The names of those that act."""
    return tuple(dict.fromkeys(name for _, place in places(model) for name in place.active))


def use(model: nn.Module, *names: str) -> None:
    """Let these adapters act and no others: one, several behind each other in this order, or none.

    Which weights are trained does not change.

    Raises:
        PartError: there is no such adapter, or they cannot act together; then nothing changed.
    """
    there = adapters_of(model)
    if unknown := [name for name in names if name not in there]:
        raise PartError(
            f"there is no adapter '{unknown[0]}'", fixes=(f"there are: {', '.join(there)}",) if there else (),
            label="" if there else "the model has no adapters", code="XC042",
        )  # fmt: skip
    before = {id(place): place.active for _, place in places(model)}
    try:
        for _, place in places(model):
            place.use(names)
    except PartError:
        for _, place in places(model):
            place.active = before[id(place)]
            place.use(place.active)
        raise


def adapter_weights(model: nn.Module, *names: str) -> dict[str, nn.Parameter]:
    """The weights of these adapters, of all if none is named, by their first names in the model."""
    return {
        f"{path}.{below}" if path else below: parameter
        for path, place in places(model)
        for name in names or place.names
        for below, parameter in place.weights(name)
    }  # fmt: skip


def freeze_base(model: nn.Module) -> None:
    """Leave adapters alone as what is trained."""
    own = {id(parameter) for parameter in adapter_weights(model).values()}
    for parameter in model.parameters():
        if id(parameter) not in own:
            parameter.requires_grad_(False)


def new_adapter(model: nn.Module, name: str) -> None:
    """Refuse a name that is taken, or that cannot be one, or a base that an adapter before is trained with.

    Raises:
        PartError: with the reason.
    """
    if name in adapters_of(model):
        raise PartError(
            f"there is an adapter '{name}' already", option="name", label="each has a name of its own",
            fixes=("name=...",), code="XC034",
        )  # fmt: skip
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise PartError(
            f"an adapter cannot be called '{name}'", option="name",
            label="a name is letters, digits, - and _, and begins with a letter",
            fixes=("name=task",) if name not in _TAKEN else (f"name={name}-1",),
        )  # fmt: skip

    own = adapter_weights(model)
    trained = [key for key, p in model.named_parameters() if p.requires_grad and key not in own]
    if own and trained:
        raise PartError(
            f"'{name}' cannot stand beside '{adapters_of(model)[0]}'", code="XC034",
            label=f"{trained[0]} is trained with '{adapters_of(model)[0]}', and belongs to the base of both",
            fixes=("norms=false and head=false in the first", f"leave '{name}' out"),
        )  # fmt: skip


def settle_adapter(model: nn.Module, name: str, *, acts: bool, learns: bool) -> None:
    """What every add-on of adapters does when its modules stand: the base is frozen, its own weights are trained or
    not.

    Args:
        acts: whether it acts; one that does not is not trained either.
    """
    freeze_base(model)
    for parameter in adapter_weights(model, name).values():
        parameter.requires_grad_(acts and learns)
