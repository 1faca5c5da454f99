"""Compose efficient-Transformer mechanisms into one checked model, from one YAML file.

import xcompose as xc

model = xc.build("specs/x.xc.yaml", "dim=256")
out = model(tokens)
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from xcompose import adapters as adapters
    from xcompose.compose.model import Model
    from xcompose.diagnostics import Diagnostic
    from xcompose.diagnostics import SpecError as SpecError
    from xcompose.spec.model import Spec

    __version__: str

__all__ = ["SpecError", "__version__", "adapters", "build", "check", "load", "read"]

SpecLike = Any
"""The name of a file, `FILE@VARIANT`, a mapping, an OmegaConf config, or a spec that was read before."""


def read(spec: SpecLike, *sets: str) -> Spec:
    """Read a spec: merged, referred, checked, with every default.

    Args:
        spec: `FILE`, `FILE@VARIANT`, a mapping or an OmegaConf config.
        sets: overrides, `PATH=VALUE`, as after `--set`.

    Raises:
        SpecError: with every finding.
    """
    from xcompose.registry import load as load_registry
    from xcompose.spec import load, load_text
    from xcompose.spec.model import Spec

    if isinstance(spec, Spec):
        if sets:
            raise ValueError("a spec that was read already takes no overrides")
        return spec
    catalogue = load_registry().catalogue
    if isinstance(spec, str | os.PathLike):
        return load(spec, sets, catalogue=catalogue)
    return load_text(spec, "spec", sets, catalogue=catalogue)


def build(
    spec: SpecLike,
    *sets: str,
    seed: int = 0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Model:
    """Build the model of a spec, with fresh weights: a plain `nn.Module`.

    Args:
        spec: `FILE`, `FILE@VARIANT`, a mapping, an OmegaConf config, or a spec that was read before.
        sets: overrides, `PATH=VALUE`, as after `--set`.
        seed: of the first weights; the same on every device.
        device: where the model goes.
        dtype: of its parameters.

    Raises:
        SpecError: with every finding; or the model does not fit in memory.
    """
    from xcompose.compose.build import build_model

    return build_model(read(spec, *sets), seed=seed, device=device, dtype=dtype)


def load(place: str | os.PathLike[str], *, device: torch.device | str | None = None) -> Model:
    """The trained model of a run's folder, or of a file of weights, in evaluation mode.

    Raises:
        SpecError: there is none, it is damaged, or its spec cannot be read any more.
    """
    from xcompose.compose.weights import load_model

    return load_model(place).to(device=device)


def check(spec: SpecLike, *sets: str) -> list[Diagnostic]:
    """Everything that is wrong with a spec up to the build on the meta device; nothing is measured.

    For the certificates see `xcompose.verify`.
    """
    from xcompose.compose.build import plan_model
    from xcompose.diagnostics import SpecError

    try:
        plan_model(read(spec, *sets))
    except SpecError as error:
        return list(error.diagnostics)
    return []


def __getattr__(name: str) -> Any:
    if name == "SpecError":
        from xcompose.diagnostics import SpecError

        return SpecError
    if name == "adapters":
        import importlib

        return importlib.import_module("xcompose.adapters")
    if name == "__version__":
        from importlib.metadata import version

        return version("xcompose")
    raise AttributeError(f"xcompose has no {name!r}")
