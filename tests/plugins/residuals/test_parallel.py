"""x <- x + sum of branches(norm(x))."""

from __future__ import annotations

import torch

from tests.plugins.built import leaf
from tests.plugins.residuals.streams import C, branches, residual


class TestParallel:
    def test_equals_its_formula(self):
        r, parts, x = residual("parallel", 3), branches(3), leaf(2, 3, C)
        expected = x + sum(branch(r.norm(x))[0] for branch in parts)
        found, _ = r(x, parts)

        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)

    def test_it_has_one_norm(self):
        assert len(list(residual("parallel", 3).parameters())) == 2
