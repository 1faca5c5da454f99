"""Weights on disk: one safetensors file, written whole or not at all, each tensor once however often it is used."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from xcompose.compose.build import build_model
from xcompose.compose.model import Model
from xcompose.compose.room import readable
from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.registry import load as load_registry
from xcompose.spec import load_text
from xcompose.spec.frozen import signed
from xcompose.writing import replaced

Chosen = Callable[[str], bool]

PART = ":"
"""Between the name of a tensor that is made of others and that of one of them."""


def save_weights(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    only: Chosen | None = None,
    about: Mapping[str, str] | None = None,
) -> Path:
    """Write the parameters and buffers of a model.

    The file appears complete or not at all; what was there before stays until then.

    Args:
        model: any module; tensors that it uses several times are written once, under their first name.
        path: the file to write.
        only: chooses by name what is written; everything if None.
        about: texts to keep beside the tensors. The spec of a composed model is kept in any case.

    Raises:
        SpecError: XC089, the file cannot be written.
    """
    target = Path(path)
    chosen = {name: t for name, t in _once(model).items() if only is None or only(name)}
    tensors = {name: t.detach().cpu().contiguous() for name, t in _plain(chosen).items()}
    with written_whole(target) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata={"format": "pt", **_origin(model), **(about or {})})
    return target


def load_weights(model: nn.Module, path: str | os.PathLike[str], *, only: Chosen | None = None) -> None:
    """Read into a model what `save_weights` wrote, in place, so that tied tensors stay tied, and exactly.

    Args:
        model: built from the same spec.
        path: the file.
        only: chooses by name what must be there; everything if None.

    Raises:
        SpecError: XC042, the file is missing, damaged, or belongs to another model.
    """
    wanted = _plain({name: t for name, t in _once(model).items() if only is None or only(name)})
    found = _read(Path(path))
    problems = _differences(wanted, found)
    if problems:
        raise SpecError(
            Diagnostic(
                code="XC042", message=f"the weights in {path} are not those of this model", label="; ".join(problems),
                fixes=("build the model from the spec that these weights were saved with",), stage="build",
            )
        )  # fmt: skip
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(found[name])


def hash_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: names, types, shapes and numbers, whatever their order and the file they come from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_model(place: str | os.PathLike[str]) -> Model:
    """The model that a run's folder or a file of weights holds, built from the spec that is kept there.

    Python warns where that spec does not mean what it meant when the weights were saved; they may fit all the same.

    Raises:
        SpecError: XC042, there is no such thing, it is damaged, or it does not say which model it belongs to.
    """
    path = Path(place)
    if path.is_dir():
        from xcompose.train.run import load_run

        return load_run(path)[0]
    texts = texts_of(path)
    if not {"spec", "name"} <= set(texts):
        fixes = ("build the model from its spec, then `load_weights(model, path)`",)
        message = f"the weights in {path} do not say which spec they belong to"
        raise SpecError(Diagnostic(code="XC042", message=message, fixes=fixes, stage="build"))
    spec = load_text(texts["spec"], texts["name"], catalogue=load_registry().catalogue, drifted="warning")
    # Scales have types of their own.
    floats = {t.dtype for name, t in _read(path).items() if t.is_floating_point() and PART not in name}
    model = build_model(spec, dtype=functools.reduce(torch.promote_types, floats) if floats else None)
    load_weights(model, path)
    return model.eval()


def texts_of(path: str | os.PathLike[str]) -> dict[str, str]:
    """The texts kept beside the tensors.

    Raises:
        SpecError: XC042, the file is missing or damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, safetensors.SafetensorError) as error:
        raise _unreadable(Path(path), error) from error


def trainable(model: nn.Module) -> Chosen:
    """Chooses what is trained: with a frozen base, the adapters alone."""
    names = {name for name, parameter in model.named_parameters(remove_duplicate=False) if parameter.requires_grad}
    return names.__contains__


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A temporary file beside `target` that takes its place when the block ends well, and vanishes when it does not.

    Raises:
        SpecError: XC089, the file cannot be written.
    """
    try:
        with replaced(target) as temporary:
            yield temporary
    except (OSError, safetensors.SafetensorError) as error:
        raise _unwritable(target, error) from error


def _origin(model: nn.Module) -> dict[str, str]:
    """The frozen spec of a composed model, so that a file of weights says what it belongs to."""
    if not isinstance(model, Model) or model.spec is None:
        return {}
    alone = {key: value for key, value in model.spec.train.items() if key != "addons"}  # they may name other files
    text = signed(attrs.evolve(model.spec, train=alone), load_registry().catalogue)
    return {"spec": text, "name": model.spec.name}


def _once(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and lasting buffers by their first name."""
    first: dict[int, str] = {}
    state = model.state_dict(keep_vars=True)
    for name, tensor in state.items():
        first.setdefault(id(tensor), name)
    return {name: state[name] for name in first.values()}


def plain_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and lasting buffers as a file holds them: each once, those that are made of others as these."""
    return _plain(_once(model))


def bytes_of_weights(model: nn.Module) -> int:
    """Bytes of parameters and lasting buffers, each once, as they are stored."""
    return sum(t.numel() * t.element_size() for t in plain_tensors(model).values())


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that are made of others (numbers in few bits, and their scales) as those, `up.weight:scale`; a file holds
    these, and so no code is needed to read it."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if is_traceable_wrapper_subclass(tensor):
            inner, _ = tensor.__tensor_flatten__()
            found |= _plain({f"{name}{PART}{part}": getattr(tensor, part) for part in inner})
        else:
            found[name] = tensor
    return found


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise _unreadable(path, error) from error


def _differences(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    shapes = [
        f"{name} is {tuple(found[name].shape)} there and {tuple(tensor.shape)} here"
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    ]
    texts = [f"{what} {_some(names)}" for what, names in (("missing:", missing), ("unknown:", unknown)) if names]
    finer = [
        f"{name} is {found[name].dtype} there and {tensor.dtype} here, which cannot hold it"
        for name, tensor in wanted.items()
        if name in found and torch.promote_types(found[name].dtype, tensor.dtype) != tensor.dtype
    ]
    return texts + shapes[:3] + finer[:1]


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _unwritable(target: Path, error: Exception) -> SpecError:
    room = _room(target)
    kept = "the file that was there is kept" if target.exists() else "nothing was left behind"
    return SpecError(
        Diagnostic(
            code="XC089", message=f"cannot write {target}: {_reason(error)}", label=kept, stage="build",
            fixes=(f"make room ({readable(room)} is free there), or write somewhere else",),
        )
    )  # fmt: skip


def _unreadable(path: Path, error: Exception) -> SpecError:
    reason = "there is no such file" if isinstance(error, FileNotFoundError) else f"it is damaged ({_reason(error)})"
    return SpecError(Diagnostic(code="XC042", message=f"cannot read weights from {path}: {reason}", stage="build"))


def _reason(error: Exception) -> str:
    text = str(error)
    if isinstance(error, OSError):
        return (error.strerror or text).lower()
    return "no space left on device" if "No space left" in text else text


def _room(target: Path) -> int:
    folder = next(p for p in (target.parent, *target.parent.parents) if p.exists())
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize
