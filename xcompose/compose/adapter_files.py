"""Adapters in files of their own, and the base that they stand on, known by its hash."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path

import attrs
from torch import nn

from xcompose.compose.adapters import adapter_weights, adapters_of
from xcompose.compose.build import extend_model
from xcompose.compose.model import Model
from xcompose.compose.tuned import INNER
from xcompose.compose.weights import hash_of, load_weights, plain_tensors, save_weights, texts_of
from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.registry import load as load_registry
from xcompose.spec import load_text
from xcompose.spec.frozen import signed

CODE = "XC042"


def base_hash(model: nn.Module) -> str:
    """A hash (SHA-256) of everything that adapters leave alone: names, types, shapes and numbers of the base's weights
    and buffers, called as in the model without adapters. Where its norms or its output are trained beside an adapter,
    these are no part of it."""
    own = set(adapter_weights(model))
    if isinstance(model, Model) and model.frozen:
        own |= _trained_too(model)
    return hash_of({INNER.sub(r".\2", name): t for name, t in plain_tensors(model).items() if name not in own})


def _trained_too(model: nn.Module) -> set[str]:
    """Names of what is trained and belongs to no adapter: norms, or an output."""
    own = set(adapter_weights(model))
    return {name for name, p in model.named_parameters() if p.requires_grad and name not in own}


def save_adapter(model: Model, name: str, path: str | os.PathLike[str]) -> Path:
    """Write the weights of one adapter, with what is trained beside it, its part of the spec and the hash of its base.

    Raises:
        SpecError: there is no such adapter, or the file cannot be written.
    """
    _refuse_unknown(model, name)
    kept = set(adapter_weights(model, name)) | _trained_too(model)
    about = {"adapter": name, "base": base_hash(model)}
    if model.spec is not None:
        about["spec"] = signed(_alone(model, name), load_registry().catalogue)
    return save_weights(model, path, only=kept.__contains__, about=about)


def _alone(model: Model, name: str):
    """The spec of the model with this adapter alone."""
    assert model.spec is not None
    nodes = [o.node for o in model.addons if o.addon.rung != "adapters" or o.node.options.get("name") == name]
    return attrs.evolve(model.spec, addons=tuple(nodes))


def load_adapter(model: Model, path: str | os.PathLike[str]) -> str:
    """Read an adapter's file into the adapter of that name, in place.

    Returns:
        Its name.

    Raises:
        SpecError: XC042, it is no file of an adapter, the model has no such adapter, or its base is another one; then
            nothing was loaded.
    """
    texts = about_adapter(path)
    name = texts["adapter"]
    _refuse_unknown(model, name, f" of {path}")
    _refuse_other_base(model, path, texts)
    kept = set(adapter_weights(model, name)) | _trained_too(model)
    load_weights(model, path, only=kept.__contains__)
    return name


def attach_adapter(model: Model, path: str | os.PathLike[str], *, acts: bool | None = None) -> str:
    """Put the adapter of a file on a model that does not have it, behind what it has, in place; read it into one that
    has.

    Args:
        model: with the base that the adapter was trained on.
        path: the file.
        acts: whether a new one acts; as its file says if None.

    Returns:
        Its name.

    Raises:
        SpecError: as `load_adapter`; or the adapter does not fit this model. Then nothing changed.
    """
    texts = about_adapter(path)
    if texts["adapter"] in adapters_of(model):
        return load_adapter(model, path)
    spec = load_text(texts["spec"], texts["name"], catalogue=load_registry().catalogue, drifted="warning")
    (node,) = [node for node in spec.addons if node.options.get("name") == texts["adapter"]]
    if acts is not None and "active" in node.options:
        node = attrs.evolve(node, options={**node.options, "active": acts})
    _refuse_other_base(model, path, texts)
    trial = _twin(model)
    extend_model(trial, [node])
    load_adapter(trial, path)
    extend_model(model, [node])
    return load_adapter(model, path)


def _twin(model: Model) -> Model:
    """A model with modules of its own over the same numbers: what is put in it, or frozen, leaves the first alone."""
    memo: dict[int, object] = {id(b): b for b in model.buffers()}
    memo |= {id(p): nn.Parameter(p.detach(), requires_grad=p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, memo)


def about_adapter(path: str | os.PathLike[str]) -> Mapping[str, str]:
    """What an adapter's file says of itself: `adapter`, its name; `base`, the hash of its base; `spec`.

    Raises:
        SpecError: XC042, it is missing, damaged, or no file of an adapter.
    """
    texts = texts_of(path)
    if "adapter" not in texts:
        raise SpecError(
            Diagnostic(
                CODE, f"{path} is no file of an adapter", stage="build",
                fixes=("xcompose adapter save RUN writes one",),
            )
        )  # fmt: skip
    return texts


def _refuse_other_base(model: Model, path: str | os.PathLike[str], texts: Mapping[str, str]) -> None:
    here = base_hash(model)
    if here != texts["base"]:
        raise SpecError(
            Diagnostic(
                CODE, f"the adapter '{texts['adapter']}' in {path} was trained on another base", stage="build",
                label=f"its base has the hash {texts['base'][:12]}, this one {here[:12]}",
                fixes=("build the model with the weights that it was trained on, then load it",),
            )
        )  # fmt: skip


def _refuse_unknown(model: nn.Module, name: str, of: str = "") -> None:
    there = adapters_of(model)
    if name not in there:
        label = f"it has: {', '.join(there)}" if there else "it has none"
        fix = f"list it in addons, under this name: name={name}"
        raise SpecError(
            Diagnostic(CODE, f"the model has no adapter '{name}'{of}", label=label, fixes=(fix,), stage="build")
        )
