from __future__ import annotations

import math

import pytest
import torch
from xcompose_plugins.optimizers.adamw import AdamWOptions, build

from xcompose.api import Context, PartError

CONTEXT = Context(dim=5, causal="strict")


def test_three_steps_follow_the_formula():
    torch.manual_seed(0)
    w = torch.randn(7, dtype=torch.float64, requires_grad=True)
    gradients = torch.randn(3, 7, dtype=torch.float64)
    expected = w.tolist()
    optimizer = build(AdamWOptions(betas=(0.8, 0.9), eps=1e-6, weight_decay=0.1), CONTEXT)([{"params": [w]}], 0.03)

    for gradient in gradients:
        w.grad = gradient.clone()
        optimizer.step()

    for i in range(7):
        m = s = 0.0
        for t, g in enumerate(gradients[:, i].tolist(), start=1):
            m, s = 0.8 * m + 0.2 * g, 0.9 * s + 0.1 * g * g
            expected[i] *= 1 - 0.03 * 0.1
            expected[i] -= 0.03 * (m / (1 - 0.8**t)) / (math.sqrt(s / (1 - 0.9**t)) + 1e-6)
    assert w.tolist() == pytest.approx(expected, abs=1e-12)


def test_a_group_may_be_left_undecayed():
    w = torch.ones(3, requires_grad=True)
    w.grad = torch.zeros(3)

    build(AdamWOptions(weight_decay=0.5), CONTEXT)([{"params": [w], "weight_decay": 0.0}], 0.1).step()

    assert w.tolist() == [1.0, 1.0, 1.0]


def test_betas_are_two():
    with pytest.raises(PartError) as error:
        build(AdamWOptions(betas=(0.9,)), CONTEXT)

    assert (str(error.value), error.value.option) == ("'betas' takes two numbers, found 1", "betas")


def test_no_beta_is_one():
    with pytest.raises(PartError) as error:
        build(AdamWOptions(betas=(0.9, 1.0)), CONTEXT)

    assert (error.value.message, error.value.option) == ("'betas' must lie below 1, found 1", "betas")
    assert error.value.label == "a moment that keeps all of itself learns nothing"
    assert error.value.fixes == ("betas=[0.9, 0.999]",)
