from __future__ import annotations

import math

import pytest
import torch
from xcompose_plugins.optimizers.radam import RAdamOptions, build

from xcompose.api import Context, PartError

CONTEXT = Context(dim=5, causal="strict")


def test_its_steps_follow_the_formula_before_and_after_the_spread_is_known():
    torch.manual_seed(0)
    w = torch.randn(7, dtype=torch.float64, requires_grad=True)
    gradients = torch.randn(9, 7, dtype=torch.float64)
    expected = w.tolist()
    optimizer = build(RAdamOptions(betas=(0.8, 0.9), eps=1e-6, weight_decay=0.1), CONTEXT)([{"params": [w]}], 0.03)

    for gradient in gradients:
        w.grad = gradient.clone()
        optimizer.step()

    limit, held = 2 / (1 - 0.9) - 1, set()
    for i in range(7):
        m = s = 0.0
        for t, g in enumerate(gradients[:, i].tolist(), start=1):
            g = g + 0.1 * expected[i]
            m, s = 0.8 * m + 0.2 * g, 0.9 * s + 0.1 * g * g
            known = limit - 2 * t * 0.9**t / (1 - 0.9**t)
            held.add(known <= 5)
            step = m / (1 - 0.8**t)
            if known > 5:
                part = (known - 4) * (known - 2) * limit / ((limit - 4) * (limit - 2) * known)
                step *= math.sqrt(part) * math.sqrt(1 - 0.9**t) / (math.sqrt(s) + 1e-6)
            expected[i] -= 0.03 * step
    assert held == {True, False}
    assert w.tolist() == pytest.approx(expected, abs=1e-12)


def test_betas_are_two():
    with pytest.raises(PartError) as error:
        build(RAdamOptions(betas=(0.9, 0.99, 0.999)), CONTEXT)

    assert (str(error.value), error.value.option) == ("'betas' takes two numbers, found 3", "betas")


def test_no_beta_is_one():
    with pytest.raises(PartError) as error:
        build(RAdamOptions(betas=(0.9, 1.0)), CONTEXT)

    assert (error.value.message, error.value.option) == ("'betas' must lie below 1, found 1", "betas")
    assert error.value.label == "a moment that keeps all of itself learns nothing"
    assert error.value.fixes == ("betas=[0.9, 0.999]",)
