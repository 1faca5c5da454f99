"""What a score owes."""

from __future__ import annotations

from xcompose.testing.contract import BuiltContract


class ScoreContract(BuiltContract):
    """Contract tests of scores."""

    kind = "score"
