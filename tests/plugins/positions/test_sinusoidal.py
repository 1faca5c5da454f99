"""Sinusoidal positions against the formula."""

from __future__ import annotations

from math import cos, sin

import pytest
import torch

from tests.plugins.helpers import context, part, rows
from xcompose.attention.reads import Axis
from xcompose.diagnostics import PartError

C = 6


@pytest.mark.parametrize("at", [range(3, 8), torch.tensor([[3, 4, 5, 6, 7], [0, 1, 2, 900, 901]])])
def test_formula(at):
    position, x = context(C).build(part("position", "sinusoidal")), rows(2, 5, C)

    found = position.embed(x, Axis(at)) - x

    for b in range(2):
        for i in range(5):
            place = at[i] if isinstance(at, range) else at[b, i].item()
            waves = [(sin, cos)[t % 2](place / 10000 ** (2 * (t // 2) / C)) for t in range(C)]
            torch.testing.assert_close(found[b, i], torch.tensor(waves, dtype=torch.float64), rtol=0, atol=1e-12)


def test_an_odd_width_is_refused():
    with pytest.raises(PartError) as caught:
        context(7).build(part("position", "sinusoidal"))

    assert caught.value.message == "position 'sinusoidal' needs an even 'dim', found 7"
