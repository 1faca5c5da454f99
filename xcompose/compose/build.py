"""From a spec to a model: planned on the meta device first, then built for real."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import torch
from torch.nn import init
from torch.overrides import TorchFunctionMode

from xcompose.attention.grid import Grid, grid_of
from xcompose.compose.addons import OF_THE_BASE
from xcompose.compose.composer import Composer
from xcompose.compose.model import Model
from xcompose.compose.observe import label_observers
from xcompose.compose.parts import Context, Init
from xcompose.compose.room import refuse_what_does_not_fit
from xcompose.diagnostics import Diagnostic, PartError, SpecError
from xcompose.registry import Registry, load
from xcompose.spec.model import Node, Spec


def build_model(
    spec: Spec | Node,
    *,
    seed: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    registry: Registry | None = None,
    training: bool = False,
    base: Path | None = None,
    adapters: Sequence[Path] = (),
) -> Model:
    """Build the model of a spec.

    Args:
        spec: resolved; a `Node` is a model without addons.
        seed: of the first weights. The same seed gives the same weights on every device.
        device: where the model goes; None is the default device.
        dtype: of its parameters, before add-ons change them; None is float32.
        registry: where components are looked up; None is everything installed.
        training: whether the model gets the form in which it is trained; `finish_model` makes of it what the spec says.
        base: weights of the same model without the add-ons that store weights or stand beside them.
        adapters: files of adapters of this model, read when it stands.

    Raises:
        SpecError: parts that refuse each other, all at once; a model that does not fit in memory; or weights that are
            not those of its base.
    """
    planned = plan_model(spec, registry=registry)
    refuse_what_does_not_fit(planned, dtype or torch.get_default_dtype())
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(seed)
        model = _assemble(spec, registry or load(), Form(training, base, dtype))
    for path in adapters:
        load_adapter(model, path)
    return model.to(device=device or torch.get_default_device())


def finish_model(model: Model) -> None:
    """From the form in which a model was trained to that which its spec says, in place.

    Raises:
        SpecError: an add-on refuses what became of the model.
    """
    waiting, model.unfinished = model.unfinished, ()
    for finish in waiting:
        finish(model)


def extend_model(model: Model, nodes: Sequence[Node], *, registry: Registry | None = None) -> None:
    """Put more add-ons on a model, behind those that it has, in place; its spec has them, too.

    Args:
        model: built from a spec.
        nodes: resolved add-ons of a spec.
        registry: where components are looked up; None is everything installed.

    Raises:
        SpecError: they do not fit the model, or each other.
    """
    assert model.spec is not None, "only a model with a spec can be extended"
    composer = Composer(registry or load(), spec=model.spec.name)
    with torch.random.fork_rng(devices=[]):
        for listed in composer.addons(nodes, _context(model.options, composer), model.addons):
            composer.changed(listed, listed.addon.apply, model)
            model.addons = (*model.addons, listed)
    model.spec = attrs.evolve(model.spec, addons=(*model.spec.addons, *nodes))


def plan_model(spec: Spec | Node, *, registry: Registry | None = None) -> Model:
    """The model of a spec on the meta device: shapes without memory, whatever the size.

    Raises:
        SpecError: parts that refuse each other, all at once; a recipe, which has no model; or sizes that no address
            can count.
    """
    if isinstance(spec, Spec) and spec.model is None:
        raise SpecError(
            Diagnostic(
                "XC030", f"'{spec.name}' is a recipe: it has no model", fixes=("name a spec that has `model`",),
                spec=spec.name, stage="compose",
            )
        )  # fmt: skip
    try:
        with torch.device("meta"), _Unfilled():
            return _assemble(spec, registry or load(), Form())
    except (RuntimeError, TypeError) as error:
        if "overflow" not in str(error).lower():
            raise
        raise SpecError(_beyond_counting(spec)) from error


def _beyond_counting(spec: Spec | Node) -> Diagnostic:
    node = spec.model if isinstance(spec, Spec) else spec
    return Diagnostic(
        "XC040", "the model needs more than 8.0 EiB of memory", span=node.span if node else None, path="model",
        label="one of its tensors has more elements than 64 bits can count",
        fixes=("fewer or narrower layers, or a smaller vocabulary",), stage="build",
        spec=spec.name if isinstance(spec, Spec) else "",
    )  # fmt: skip


class _Unfilled(TorchFunctionMode):
    """Leaves tensors as they are where a start would be drawn: on the meta device there is nothing to fill, and torch
    imports its compiler to do so, which takes seconds."""

    draws = frozenset({torch.Tensor.normal_, torch.Tensor.uniform_, init.normal_, init.uniform_, init.kaiming_uniform_})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func in self.draws:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


@attrs.frozen
class Form:
    """In which form a model is wanted."""

    training: bool = False
    base: Path | None = None
    dtype: torch.dtype | None = None


def _assemble(spec: Spec | Node, registry: Registry, form: Form) -> Model:
    whole = spec if isinstance(spec, Spec) else None
    node = spec.model if isinstance(spec, Spec) else spec
    assert node is not None, "a spec without a model was given to the composer"
    composer = Composer(registry, spec=whole.name if whole else "")
    options = composer.options(node)
    context = _context(options, composer)
    model: Model = composer.build(options, context)
    _start(model, options.init, composer, context)
    model.to(dtype=form.dtype)
    model.addons = tuple(composer.addons(whole.addons if whole else (), context))
    _change(model, composer, form)
    label_observers(model)
    model.spec, model.node = whole, node
    return model


def _change(model: Model, composer: Composer, form: Form) -> None:
    """Let the add-ons change a model, and put the weights of its base between those that make it and the others."""
    based, unfinished = form.base is None, []
    for place, listed in enumerate(model.addons):
        addon = listed.addon
        if not based and addon.rung not in OF_THE_BASE:
            load_base(model, form.base)
            based = True
        # A base that is frozen learns nothing any more, so it is stored at once as it will be.
        frozen = any(later.addon.freezes for later in model.addons[place + 1 :])
        if form.training and not frozen:
            composer.changed(listed, addon.begin, model)
            if addon.finishes:
                unfinished.append(partial(composer.changed, listed, addon.finish))
        else:
            composer.changed(listed, addon.apply, model)
    if not based:
        load_base(model, form.base)
    model.unfinished = tuple(unfinished)


def load_adapter(model: Model, path: Path) -> None:
    """Read the weights of an adapter."""
    from xcompose.compose import adapter_files

    adapter_files.load_adapter(model, path)


def load_base(model: Model, path: Path | None) -> None:
    """Read the weights of a base."""
    from xcompose.compose.weights import load_weights

    assert path is not None
    load_weights(model, path)


def _start(model: Model, init: Any, composer: Composer, context: Context) -> None:
    starts: Init = composer.build(init, context)
    try:
        starts(model)
    except PartError as error:
        raise SpecError(composer.finding(init, error)) from error


def _context(options: Any, composer: Composer) -> Context:
    return attrs.evolve(
        Context(dim=options.dim, causal="none"), vocab=options.vocab, length=options.length,
        grid=_grid(options, composer),
        builder=composer.build, finder=composer.finding, namer=composer.name,
    )  # fmt: skip


def _grid(options: Any, composer: Composer) -> Grid | None:
    try:
        return grid_of(options.grid, options.grid_block)
    except PartError as error:
        raise SpecError(composer.finding(options, error)) from error
