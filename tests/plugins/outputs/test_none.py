"""The last rows as they are."""

from __future__ import annotations

from tests.plugins.built import built, leaf
from xcompose.api import Axis


class TestNoOutput:
    def test_nothing_is_changed(self):
        x = leaf(2, 3, 5)

        assert built("output", "none", 5)(x, Axis(range(3))) is x
