"""Who raised: the finding about a part that fails where it should answer, or cannot be built."""

from __future__ import annotations

import traceback
from pathlib import Path

from torch import nn

from xcompose.diagnostics import Diagnostic, Note
from xcompose.spec.model import Spec
from xcompose.verify.subject import KINDS, Place, place_of

CODE = "XC053"


def raised(spec: Spec, error: Exception, stage: str, again: str = "") -> Diagnostic:
    """The finding about an exception that is no reason given to a user, named after the part that was running."""
    assert spec.model is not None
    place = _running(spec, error)
    message = f"{place.title} fails where it should answer" if place else "a part of this model cannot be built"
    if place is None and stage != "compose":
        message = "the model fails where it should answer"
    notes = [f"measured: raised {_where(error)}", *([f"again: {again}"] if again else [])]
    return Diagnostic(
        code=CODE, message=message, span=place.span if place else spec.model.span, label=_said(error),
        path=place.path if place else spec.model.path, notes=tuple(map(Note, notes)), stage=stage, spec=spec.name,
    )  # fmt: skip


def _running(spec: Spec, error: Exception) -> Place | None:
    """The outermost part of a model that was running when an exception was raised."""
    running = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [module for module in running if isinstance(module, nn.Module)]
    for module in modules:
        kind = next((name for base, name in KINDS.items() if isinstance(module, base)), None)
        path = next((path for path, inner in modules[0].named_modules() if inner is module), None)
        if kind is not None and path is not None:
            return place_of(path, "cross" if "cross" in path.split(".") else kind, module, spec.model)
    return None


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0]


def _where(error: Exception) -> str:
    """`in window.py, line 31`."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"in {Path(frame.filename).name}, line {frame.lineno}"
