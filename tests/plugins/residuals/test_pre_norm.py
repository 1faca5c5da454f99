"""x <- x + branch(norm(x))."""

from __future__ import annotations

import torch

from tests.plugins.built import leaf
from tests.plugins.residuals.streams import C, branches, residual


class TestPreNorm:
    def test_equals_its_formula(self):
        for count in (1, 2, 3):
            r, parts, x = residual("pre-norm", count), branches(count), leaf(2, 3, C)
            expected = x
            for norm, branch in zip(r.norms, parts, strict=True):
                expected = expected + branch(norm(expected))[0]
            found, beside = r(x, parts)

            torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
            assert len(beside) == count

    def test_the_stream_is_rows_and_the_stack_ends_with_a_norm(self):
        r, x = residual("pre-norm"), leaf(2, 3, C)

        assert r.enter(x) is x
        assert r.leave(x) is x
        assert (r.width_out(C), r.final_norm) == (C, True)
