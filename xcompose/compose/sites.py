"""Where the linear layers of a model stand, for add-ons that put others in their place.

A layer that several blocks use stands in several places; whoever replaces it has to do so in all of them, or one block
goes on with the old one and nobody notices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs
from torch import nn

from xcompose.compose.linear import AsMatrix


@attrs.frozen(eq=False)
class Site:
    """A linear layer, and every place in the model where it stands."""

    module: nn.Linear
    paths: tuple[str, ...]
    """As in a state dict, without the name of the weight; the first is its name."""
    tied: bool
    """Whether its weight is another module's, too: an output that uses the embedding's table."""
    read: bool = False
    """Whether other code reads its weight, so that another layer in its place would change nothing or break it."""

    @property
    def name(self) -> str:
        return self.paths[0]

    @property
    def part(self) -> str:
        """What it is called where it stands: `q`, `out`, `up`."""
        return self.name.rpartition(".")[2]


def sites(model: nn.Module) -> tuple[Site, ...]:
    """Every linear layer of a model, each once."""
    users: dict[int, set[int]] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                users.setdefault(id(parameter), set()).add(id(module))
    return tuple(
        Site(module, paths, len(users[id(module.weight)]) > 1, isinstance(module, AsMatrix))  # type: ignore[arg-type]
        for module, paths in everywhere(model, nn.Linear)
    )  # fmt: skip


def everywhere(model: nn.Module, kind: type[nn.Module]) -> Iterator[tuple[nn.Module, tuple[str, ...]]]:
    """Every module of a kind with all of its paths."""
    found: dict[int, tuple[nn.Module, list[str]]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, kind):
            found.setdefault(id(module), (module, []))[1].append(path)
    return ((module, tuple(paths)) for module, paths in found.values())


def put(model: nn.Module, paths: Iterable[str], module: nn.Module) -> None:
    """Put a module at these places of a model."""
    for path in paths:
        above, _, name = path.rpartition(".")
        setattr(model.get_submodule(above), name, module)


def unseen(model: nn.Module) -> tuple[str, ...]:
    """The matrices that are not the weight of a linear layer: whoever changes linear layers leaves them as they are."""
    seen = {id(p) for module in model.modules() if isinstance(module, nn.Linear) for p in module.parameters()}
    return tuple(name for name, p in model.named_parameters() if p.ndim > 1 and id(p) not in seen)
