from __future__ import annotations

import math

import pytest
import torch
from xcompose_plugins.optimizers.adagrad import AdagradOptions, build

from xcompose.api import Context

CONTEXT = Context(dim=5, causal="strict")


@pytest.mark.parametrize(("start", "decay"), [(0.0, 0.0), (0.3, 0.1)])
def test_three_steps_follow_the_formula(start, decay):
    torch.manual_seed(0)
    w = torch.randn(7, dtype=torch.float64, requires_grad=True)
    gradients = torch.randn(3, 7, dtype=torch.float64)
    expected = w.tolist()
    options = AdagradOptions(start=start, eps=1e-6, weight_decay=decay)
    optimizer = build(options, CONTEXT)([{"params": [w]}], 0.07)

    for gradient in gradients:
        w.grad = gradient.clone()
        optimizer.step()

    for i in range(7):
        s = start
        for g in gradients[:, i].tolist():
            g = g + decay * expected[i]
            s += g * g
            expected[i] -= 0.07 * g / (math.sqrt(s) + 1e-6)
    assert w.tolist() == pytest.approx(expected, abs=1e-12)
