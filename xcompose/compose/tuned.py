"""Linear layers that are adapted: which of a model's, the layers of peft around them, and how both become one again."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from xcompose.compose.adapters import (
    Adapters,
    active,
    adapter_weights,
    adapters_of,
    new_adapter,
    places,
    settle_adapter,
)
from xcompose.compose.model import Model
from xcompose.compose.quantized import Quantized
from xcompose.compose.sites import Site, everywhere, put, sites, unseen
from xcompose.diagnostics import PartError
from xcompose.spec.model import Layer, Node, Section

Wrap = Callable[[nn.Module, str], Any]
"""From a linear layer, or a layer of peft around one, to a layer of peft with one adapter of this name around it."""
INNER = re.compile(r"\.inner((?:\.base_layer)*)\.(weight|bias)(?=$|:)")
"""In the name of a tensor: what a tuned layer puts between a place and its weight."""


class Tuned(Adapters):
    """A linear layer in layers of peft, each of them with one adapter.

    It has no weight: whoever read it would get that of the base, and adapt nothing.
    """

    def __init__(self, base: nn.Linear):
        super().__init__()
        self.inner: Any = base
        """The outermost of the layers."""
        self.in_features, self.out_features = base.in_features, base.out_features

    def layers(self) -> list[Any]:
        """The layers of peft, from the innermost."""
        found, at = [], self.inner
        while not isinstance(at, nn.Linear):
            found.append(at)
            at = at.base_layer
        return found[::-1]

    @property
    def base(self) -> nn.Linear:
        return self.layers()[0].base_layer if self.layers() else self.inner

    @property
    def weight(self) -> Tensor:
        raise PartError(
            "a layer that is adapted is called by others than its owner",
            label="its weight is read without calling the layer, and an adapter around it would change nothing",
            fixes=("leave the layer out of the targets",),
        )  # fmt: skip

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(_name(layer) for layer in self.layers())

    def add(self, name: str, wrap: Wrap, *, acts: bool = True) -> None:
        """Put an adapter around those that are there.

        Raises:
            PartError: it cannot act together with them.
        """
        self.inner = wrap(self.inner, name)
        for _, parameter in self.weights(name):
            if parameter.dtype.itemsize < 4:  # made like the base's, which may be stored in numbers too short to learn
                parameter.data = parameter.data.float()
        self.use((*self.active, name) if acts else self.active)

    def use(self, names: Any) -> None:
        super().use(names)
        if len(self.active) > 1 and any(_alone(layer) for layer in self.layers() if _name(layer) in self.active):
            raise PartError(
                f"{' and '.join(repr(name) for name in self.active)} cannot act together",
                label="dora gives the adapted weight a length of its own, which leaves no room for another adapter",
                fixes=("active=false in one of them", "dora=false"),
            )  # fmt: skip
        for layer in self.layers():
            learned = {id(p): p.requires_grad for p in layer.parameters()}
            layer.set_adapter([_name(layer)] if _name(layer) in self.active else [])
            for parameter in layer.parameters():
                parameter.requires_grad_(learned[id(parameter)])

    def weights(self, name: str) -> Iterator[tuple[str, nn.Parameter]]:
        for path, layer in self._paths():
            if _name(layer) == name:
                for below, parameter in layer.named_parameters():
                    if not below.startswith("base_layer."):
                        yield f"{path}.{below}", parameter

    def _paths(self) -> Iterator[tuple[str, Any]]:
        depth = len(self.layers())
        for place, layer in enumerate(self.layers()):
            yield "inner" + ".base_layer" * (depth - 1 - place), layer

    def merge(self) -> nn.Linear:
        """The base with every adapter that acts in its weight."""
        for layer in self.layers():
            if _name(layer) in self.active:
                layer.merge(safe_merge=True, adapter_names=[_name(layer)])
        return self.base

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def _name(layer: Any) -> str:
    """The one adapter of a layer of peft."""
    (name,) = layer._get_available_adapters()
    return name


def _alone(layer: Any) -> bool:
    """Whether its adapter can only act alone."""
    return "lora_magnitude_vector" in layer.adapter_layer_names and len(layer.lora_magnitude_vector) > 0


@attrs.frozen
class Tuning:
    """What an add-on wants of linear layers."""

    name: str
    targets: tuple[str, ...]
    per: str = "weights"
    """`weights` or `application`: where layers share weights, one adapter for all places or one for each."""
    acts: bool = True
    learns: bool = True
    merge: bool = False
    usual: bool = False
    """Whether the targets are those of the default, of which some may be missing."""


@attrs.frozen
class Chosen:
    """What targets mean in a model."""

    sites: tuple[Site, ...]
    left: tuple[str, ...]
    """Matrices that they mean, too, and that cannot be adapted."""
    missing: tuple[str, ...] = ()
    """Targets that mean nothing here."""


def matches(target: str, path: str) -> bool:
    """Whether the words of a target stand behind each other in a path: `q`, `mixer.q`, `layers.0.ffn`."""
    return f".{target}." in f".{path}."


def choose_targets(model: nn.Module, tuning: Tuning) -> Chosen:
    """The linear layers that targets mean.

    Raises:
        PartError: one means nothing, or nothing that can be adapted.
    """
    if not tuning.targets:
        raise PartError(
            f"'{tuning.name}' has no targets", option="targets", label="the list is empty",
            fixes=("targets=[q, v]", "leave 'targets' out"),
        )  # fmt: skip
    every, found, left, missing = _all_sites(model), {}, [], []
    own = adapter_weights(model)
    for target in tuning.targets:
        mine = [site for site in every if any(matches(target, path) for path in site.paths)]
        able = [site for site in mine if reason(site) is None]
        hidden = [name for name in unseen(model) if name not in own and matches(target, name)]
        if not able and (mine or not tuning.usual):
            raise _nothing(target, mine, hidden, every)
        found |= {site.name: site for site in able}
        left += [site.name for site in mine if site not in able] + hidden
        missing += [] if able else [target]
    if not found:
        raise _nothing(" or ".join(repr(t) for t in tuning.targets).strip("'"), [], [], every)
    chosen = [site for site in every if site.name in found]
    return Chosen(tuple(chosen), tuple(dict.fromkeys(left)), tuple(missing))


def _all_sites(model: nn.Module) -> list[Site]:
    """Every linear layer of the base, also those that are tuned already, by the places where they stand."""
    tuned: dict[int, tuple[str, ...]] = {}
    for module, paths in everywhere(model, Tuned):
        base = id(module.base)  # type: ignore[attr-defined]
        tuned[base] = (*tuned.get(base, ()), *paths)
    inside = {f"{path}." for _, place in places(model) for path in _paths_of(model, place)}
    found = []
    for site in sites(model):
        if id(site.module) in tuned:
            found.append(attrs.evolve(site, paths=tuned[id(site.module)]))
        elif not any(site.name.startswith(path) for path in inside):
            found.append(site)
    return found


def _paths_of(model: nn.Module, place: nn.Module) -> tuple[str, ...]:
    return next(paths for module, paths in everywhere(model, type(place)) if module is place)


def reason(site: Site) -> str | None:
    """Why a layer cannot be adapted; None where it can."""
    if site.read:
        return "its weight is read without calling the layer, so that an adapter around it would change nothing"
    if site.tied:
        return "its weight is another's, too, and an adapter would belong to one of them only"
    return None


def _nothing(target: str, mine: Sequence[Site], hidden: Sequence[str], every: Sequence[Site]) -> PartError:
    parts = sorted({site.part for site in every if reason(site) is None})
    fixes = (f"targets=[{', '.join(parts[:8])}]",) if parts else ("an adapter behind sub-layers: adapter(8)",)
    if mine:
        message, label = f"'{target}' cannot be adapted", reason(mine[0]) or ""
    elif hidden:
        message, label = f"'{target}' cannot be adapted", f"{hidden[0]} is no linear layer"
    else:
        message, label = f"no linear layer is called '{target}'", "a target is a word in the path of a layer"
    return PartError(message, label=label, fixes=fixes, option="targets")


def tune(model: Model, tuning: Tuning, wrap: Wrap) -> Chosen:
    """Put adapters around the linear layers that targets mean, in all of their places.

    Returns:
        What the targets meant before.

    Raises:
        PartError: the targets, or what stands there already, does not allow it.
    """
    new_adapter(model, tuning.name)
    found = choose_targets(model, tuning)
    if tuning.per == "application":
        _set_apart(model, found.sites)
    else:
        _refuse_places_apart(model, found.sites)
    for site in found.sites:
        for paths in [[path] for path in site.paths] if tuning.per == "application" else [site.paths]:
            _put_around(model, paths, wrap, tuning)
    settle_adapter(model, tuning.name, acts=tuning.acts, learns=tuning.learns)
    return found


def _refuse_places_apart(model: Model, found: Sequence[Site]) -> None:
    for site in found:
        if len({id(model.get_submodule(path)) for path in site.paths}) > 1:
            raise PartError(
                f"{site.name} cannot have one adapter for all of its places", option="per",
                label="an adapter for each application stands in them", fixes=("per=application", "list it before"),
            )  # fmt: skip


def _put_around(model: Model, paths: Sequence[str], wrap: Wrap, tuning: Tuning) -> None:
    there = model.get_submodule(paths[0])
    if not isinstance(there, Tuned):
        there = Tuned(there)  # type: ignore[arg-type]
        put(model, paths, there)
    there.add(tuning.name, wrap, acts=tuning.acts)


def refuse_merging(model: nn.Module, tuning: Tuning) -> Chosen:
    """Refuse what cannot be made plain again later.

    Returns:
        What the targets mean.

    Raises:
        PartError: with the reason.
    """
    if tuning.per == "application":
        raise PartError(
            "an adapter for each application cannot be merged", option="merge",
            label="layers that share weights would need weights of their own", fixes=("per=weights", "merge=false"),
        )  # fmt: skip
    if not tuning.acts:
        raise PartError(
            "an adapter that does not act cannot be merged", option="merge", fixes=("active=true", "merge=false")
        )
    if others := adapters_of(model):
        raise PartError(
            f"'{tuning.name}' cannot be merged beside '{others[0]}'", option="merge",
            label=f"'{others[0]}' belongs to the weights as they were before",
            fixes=("merge=false", f"train '{tuning.name}' alone first, and '{others[0]}' on what it became"),
        )  # fmt: skip
    found = choose_targets(model, tuning)
    for site in found.sites:
        if is_stored(site.module):
            raise _stored(site.name, "merge=false")
    return found


def is_stored(layer: nn.Linear) -> bool:
    """Whether its weight is stored in fewer bits than it is computed with."""
    return isinstance(layer, Quantized) or is_traceable_wrapper_subclass(layer.weight)


def _stored(name: str, fix: str) -> PartError:
    return PartError(
        f"an adapter cannot be merged into {name}", option="merge",
        label="the weight is stored in fewer bits, which would round the adapter away", fixes=(fix,),
    )  # fmt: skip


def _set_apart(model: Model, found: Sequence[Site]) -> None:
    """Give each layer that uses a shared part a module of its own with the same weights, where targets stand in it."""
    shared = {path for site in found if len(site.paths) > 1 for path in site.paths}
    seen: set[int] = set()
    for path, module in everywhere_blocks(model):
        for role in module.roles:
            part = getattr(module, role)
            start = f"{path}.{role}."
            below = [target.removeprefix(start) for target in sorted(shared) if target.startswith(start)]
            if not below:
                continue
            if id(part) in seen:
                setattr(module, role, _apart(part, below))
            seen.add(id(part))
    for site in found:
        if len({id(_owner(model, path)) for path in site.paths}) < len(site.paths):
            raise PartError(
                f"{site.name} cannot have an adapter for each application", option="per",
                label="what uses it several times is one module", fixes=("per=weights",),
            )  # fmt: skip


def everywhere_blocks(model: Model) -> Iterator[tuple[str, Any]]:
    """Every layer with all of its paths."""
    from xcompose.compose.stack import Block

    for block, paths in everywhere(model, Block):
        yield from ((path, block) for path in paths)


def _owner(model: nn.Module, path: str) -> nn.Module:
    return model.get_submodule(path.rpartition(".")[0])


def _apart(part: nn.Module, places: Sequence[str]) -> nn.Module:
    """A module like another, down to the modules in which these places are; everything else they have in common, so
    that what has a state, and moves between types and devices, stays one."""
    made = copy.copy(part)
    made.__dict__ = {name: copy.copy(value) if isinstance(value, dict) else value for name, value in vars(part).items()}
    for child in dict.fromkeys(place.partition(".")[0] for place in places):
        below = [place.partition(".")[2] for place in places if place.partition(".")[0] == child]
        inner = made._modules[child]
        if isinstance(inner, Tuned) or any(below):
            made._modules[child] = _apart(inner, [place for place in below if place])  # type: ignore[arg-type]
    return made


def merge(model: Model) -> None:
    """Make the adapters that act part of the base's weights, in place, and drop the others: the model is plain again,
    and so is its spec.

    Raises:
        PartError: one of them is no change of weights, or the weights cannot take it; then nothing changed.
    """
    _fold(model, active(model))
    for block in model.layers:
        block.behind.clear()
    model.requires_grad_(True)
    model.addons = tuple(listed for listed in model.addons if listed.addon.rung != "adapters")
    if model.spec is not None:
        model.spec = attrs.evolve(model.spec, addons=tuple(listed.node for listed in model.addons))


def finish_tuning(model: Model, tuning: Tuning) -> None:
    """When training ends: make what is to be merged part of the weights."""
    if tuning.merge:
        _fold(model, (tuning.name,))
        if not adapters_of(model):
            model.requires_grad_(True)


def _fold(model: nn.Module, names: Sequence[str]) -> None:
    """Put the base's own layers, with these adapters in their weights, where tuned ones stand that have any of them."""
    found = list(places(model))
    _refuse_merge(found, names)
    for _, place in found:
        if isinstance(place, Tuned) and not set(place.active) - set(names):
            put(model, _paths_of(model, place), place.merge())


def left_by_tuning(model: Model, tuning: Tuning, found: Chosen) -> tuple[str, ...]:
    """What people should know: which matrices are left as they are, which targets mean nothing, what moves too.

    Args:
        model: as it is now.
        tuning: what was wanted.
        found: what the targets meant before anything stood around them.
    """
    said = []
    if found.missing:
        said.append(f"{tuning.name}: no linear layer is called {' or '.join(found.missing)}")
    if found.left:
        said.append(f"{tuning.name}: left as they are, nothing can stand around them: {_some(found.left)}")
    if any(site.part == "q" for site in found.sites) and model.node and says(model.node, "shared_qk"):
        said.append(f"{tuning.name}: where queries are the keys, what adapts q adapts the keys, too")
    return tuple(said)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def says(value: Any, option: str) -> bool:
    """Whether a part of a spec, or one inside it, has this option, and it is true."""
    if isinstance(value, Node | Layer | Section):
        return (isinstance(value, Node) and value.options.get(option) is True) or says(value.options, option)
    if isinstance(value, Mapping | tuple):
        return any(says(one, option) for one in (value.values() if isinstance(value, Mapping) else value))
    return False


def _refuse_merge(found: Sequence[tuple[str, Adapters]], wanted: Sequence[str]) -> None:
    weights: set[int] = set()
    for path, place in found:
        acting = [name for name in place.active if name in wanted]
        if not acting:
            continue
        if not isinstance(place, Tuned):
            raise PartError(
                f"'{acting[0]}' cannot be merged", label="it is a network of its own behind a sub-layer",
                fixes=("switch it off first", "keep it as an adapter"),
            )  # fmt: skip
        if len(acting) < len(place.active):
            raise PartError(f"'{acting[0]}' cannot be merged alone in {path}", fixes=("merge all that act there",))
        if is_stored(place.base):
            raise _stored(path, "keep it as an adapter")
        if id(place.base.weight) in weights:
            raise PartError(
                f"'{acting[0]}' cannot be merged: several layers with adapters of their own share {path}",
                fixes=("per=weights",),
            )  # fmt: skip
        weights.add(id(place.base.weight))
