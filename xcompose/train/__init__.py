"""Training runs: `train`, `load_run`, and what a run's folder holds.

Loaded when first used: tasks need the data alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xcompose.train.folder import RunFolder as RunFolder
    from xcompose.train.run import RunResult as RunResult
    from xcompose.train.run import load_run as load_run
    from xcompose.train.run import load_spec as load_spec
    from xcompose.train.run import train as train

_HOME = {"RunFolder": "folder", "RunResult": "run", "load_run": "run", "load_spec": "run", "train": "run"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"xcompose.train has no {name!r}")
    return getattr(importlib.import_module(f"xcompose.train.{_HOME[name]}"), name)
