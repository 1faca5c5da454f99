"""What a task owes."""

from __future__ import annotations

from xcompose.testing.contract import Contract


class TaskContract(Contract):
    """Contract tests of tasks."""

    kind = "task"
