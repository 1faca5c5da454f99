"""x <- norm(x + branch(x))."""

from __future__ import annotations

import torch

from tests.plugins.built import leaf
from tests.plugins.residuals.streams import C, branches, residual


class TestPostNorm:
    def test_equals_its_formula(self):
        r, parts, x = residual("post-norm", 3), branches(3), leaf(2, 3, C)
        expected = x
        for norm, branch in zip(r.norms, parts, strict=True):
            expected = norm(expected + branch(expected)[0])
        found, beside = r(x, parts)

        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
        assert torch.equal(beside[0]["seen"], x)

    def test_around_the_ffn_only_mixers_replace_the_stream(self):
        roles = ("mixer", "cross", "ffn")
        r, parts, x = residual("post-norm", 3, roles=roles, around="ffn"), branches(3), leaf(2, 3, C)
        first, second, third = r.norms
        expected = second(parts[1](first(parts[0](x)[0]))[0])
        expected = third(expected + parts[2](expected)[0])
        found, _ = r(x, parts)

        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
        for one, other in zip(*(torch.autograd.grad(y.square().sum(), x) for y in (found, expected)), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-13)

    def test_the_stack_ends_without_another_norm(self):
        assert residual("post-norm").final_norm is False
