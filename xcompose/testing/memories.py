"""What memories and recurrences owe."""

from __future__ import annotations

from xcompose.testing.contract import BuiltContract


class MemoryContract(BuiltContract):
    """Contract tests of memories."""

    kind = "memory"

    def test_slots_stay_in_their_span(self, expression: str) -> None:
        self.certified(expression, "spans")


class RecurrenceContract(BuiltContract):
    """Contract tests of recurrences."""

    kind = "recurrence"

    def test_slots_stay_in_their_span(self, expression: str) -> None:
        self.certified(expression, "spans")
