"""What a addon owes."""

from __future__ import annotations

from xcompose.testing.contract import BuiltContract


class AddonContract(BuiltContract):
    """Contract tests of addons."""

    kind = "addon"
