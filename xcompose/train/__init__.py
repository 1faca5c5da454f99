"""Training runs: `train`, `load_run`, and what a run's folder holds."""

from __future__ import annotations

from xcompose.train.folder import RunFolder as RunFolder
from xcompose.train.run import RunResult as RunResult
from xcompose.train.run import load_run as load_run
from xcompose.train.run import load_spec as load_spec
from xcompose.train.run import train as train
