"""What a strategy of searching owes."""

from __future__ import annotations

from xcompose.testing.contract import Contract


class StrategyContract(Contract):
    """Contract tests of strategies."""

    kind = "strategy"
