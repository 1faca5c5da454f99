"""What plugin authors test with: a class of contract tests for each kind, fixtures, and assertions about findings.

Importing this package is cheap; a contract is imported where it is first named.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xcompose.testing.addons import AddonContract as AddonContract
    from xcompose.testing.asserts import assert_diagnostics as assert_diagnostics
    from xcompose.testing.asserts import assert_valid as assert_valid
    from xcompose.testing.asserts import diagnostics_of as diagnostics_of
    from xcompose.testing.ends import EmbeddingContract as EmbeddingContract
    from xcompose.testing.ends import InitContract as InitContract
    from xcompose.testing.ends import ModelContract as ModelContract
    from xcompose.testing.ends import OutputContract as OutputContract
    from xcompose.testing.fixtures import registry_with as registry_with
    from xcompose.testing.layers import FfnContract as FfnContract
    from xcompose.testing.layers import MixerContract as MixerContract
    from xcompose.testing.layers import NormContract as NormContract
    from xcompose.testing.layers import ResidualContract as ResidualContract
    from xcompose.testing.memories import MemoryContract as MemoryContract
    from xcompose.testing.memories import RecurrenceContract as RecurrenceContract
    from xcompose.testing.patterns import PatternContract as PatternContract
    from xcompose.testing.positions import PositionContract as PositionContract
    from xcompose.testing.scores import ScoreContract as ScoreContract
    from xcompose.testing.strategies import StrategyContract as StrategyContract
    from xcompose.testing.tasks import TaskContract as TaskContract
    from xcompose.testing.training import OptimizerContract as OptimizerContract
    from xcompose.testing.training import ScheduleContract as ScheduleContract

_HOME = {
    "PatternContract": "patterns", "ScoreContract": "scores", "MemoryContract": "memories",
    "RecurrenceContract": "memories", "PositionContract": "positions", "MixerContract": "layers",
    "FfnContract": "layers", "NormContract": "layers", "ResidualContract": "layers", "EmbeddingContract": "ends",
    "OutputContract": "ends", "ModelContract": "ends", "InitContract": "ends", "AddonContract": "addons",
    "TaskContract": "tasks", "OptimizerContract": "training", "ScheduleContract": "training",
    "StrategyContract": "strategies", "assert_diagnostics": "asserts", "assert_valid": "asserts",
    "diagnostics_of": "asserts", "registry_with": "fixtures",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"xcompose.testing has no {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
