"""What a pattern owes."""

from __future__ import annotations

from xcompose.testing.contract import BuiltContract


class PatternContract(BuiltContract):
    """Contract tests of patterns."""

    kind = "pattern"
