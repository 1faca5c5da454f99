"""Logits from each row."""

from __future__ import annotations

import pytest
import torch

from tests.plugins.built import built, leaf
from xcompose.api import Axis
from xcompose.diagnostics import SpecError

V, C = 17, 5


def table(width: int = C) -> torch.nn.Parameter:
    return torch.nn.Parameter(leaf(V, width, seed=7).detach())


class TestLm:
    @pytest.mark.parametrize(("tied", "bias"), [(True, False), (True, True), (False, False), (False, True)])
    def test_equals_its_formula(self, tied, bias):
        made, x = built("output", "lm", C, {"table": table()}, tied=tied, bias=bias), leaf(2, 3, C)
        if bias:
            made.linear.bias.data += torch.arange(V)
        found = made(x, Axis(range(3)))
        for b in range(2):
            for n in range(3):
                for v in range(V):
                    expected = sum(made.linear.weight[v, c] * x[b, n, c] for c in range(C))
                    expected = expected + (made.linear.bias[v] if bias else 0)
                    assert abs(found[b, n, v] - expected) < 1e-12

    def test_tied_it_is_the_same_parameter(self):
        weight = table()

        assert built("output", "lm", C, {"table": weight}).linear.weight is weight
        assert built("output", "lm", C, {"table": weight}, tied=False).linear.weight is not weight

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (None, "the output is tied to an embedding that has no table"),
            (table(3), "rows of width 5 cannot be tied to a table of width 3"),
        ],
    )
    def test_what_cannot_be_tied_is_refused(self, given, message):
        with pytest.raises(SpecError) as caught:
            built("output", "lm", C, {"table": given})
        (found,) = caught.value.diagnostics

        assert (found.message, found.fixes, found.path) == (message, ("tied=false",), ".tied")
