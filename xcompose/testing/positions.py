"""What a position owes."""

from __future__ import annotations

from xcompose.testing.contract import BuiltContract


class PositionContract(BuiltContract):
    """Contract tests of positions."""

    kind = "position"
