"""What mixers, feed-forward networks, norms and residuals owe."""

from __future__ import annotations

from xcompose.testing.contract import BuiltContract


class MixerContract(BuiltContract):
    """Contract tests of mixers."""

    kind = "mixer"


class FfnContract(BuiltContract):
    """Contract tests of feed-forward networks."""

    kind = "ffn"


class NormContract(BuiltContract):
    """Contract tests of norms."""

    kind = "norm"


class ResidualContract(BuiltContract):
    """Contract tests of residuals."""

    kind = "residual"
