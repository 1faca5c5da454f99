"""What optimizers and schedules owe."""

from __future__ import annotations

from xcompose.testing.contract import Contract


class OptimizerContract(Contract):
    """Contract tests of optimizers."""

    kind = "optimizer"


class ScheduleContract(Contract):
    """Contract tests of schedules."""

    kind = "schedule"
