"""Against the authors' release, facebookresearch/adaptive-span at 27b815f, whose licence keeps its code out of here.

The numbers below are what its `MultiHeadSeqAttention` gave in float64, with hidden_size 4, 2 heads, attn_span 8, a ramp
of 3, no dropout, and the `wave` of this file in all weights: query, key, value, out with phases 0.3, 0.6, 0.9, 1.2,
positions 0.9, rows 0.5, weights of the answers 1.1. It got 8 rows as a cache and 3 as a block.

Mapping: `proj_query`, `proj_key`, `proj_val`, `proj_out` are q, k, v, out, without biases; `key_pe` (1 d L) has
distance x in column L - x, our table in row x - 1; `adaptive_span._mask.current_val` (h 1 1) is v (h).
Its quirks: weights are masked behind the softmax and divided by their sum plus 1e-8, which is seen in the eighth digit;
before the text begins it reads zeros as if they were rows, which no row compared here reaches.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.plugins.helpers import attention, mixer, part
from xcompose.api import Axis

pytestmark = pytest.mark.oracle
SIZE, ROWS, DIM = 8, 3, 4
CLOSE = 1e-7
"""Its 1e-8 beside a sum of weights that is 0.3 at least."""

ANSWERS = [
    -1.0873277451345504, -0.5769426454896736, 0.08414276900552808, 0.7232496698986535, -0.3606587561066892,
    -0.19109572902793148, 0.028382461639781864, 0.24044701086708037, 0.3831466390718002, 0.2746982433597009,
    0.09449728768905952, -0.1103868338362389,
]  # fmt: skip
SPAN_GRADIENTS = [
    1.4878397262461014, -0.0010197149925242244,
]  # fmt: skip
POSITION_GRADIENTS = [
    -0.0009223927326397254, 0.0019210794697669877, 0.01710424287468725, 0.016985902633704364, 0.02980161381509654,
    -0.004933224130947189, 0.5281156814315813, -0.5880729033612493, -0.0009270235201569449, 0.0019617063697223163,
    -0.017133941137700514, -0.034255359098607066, -0.06541321846734094, -0.16605155234212243, 0.7197734728198439,
    -0.43795408462363833,
]  # fmt: skip
KEY_GRADIENTS = [
    0.0020822916954697512, -0.035306054192374814, 0.007015689700504037, 0.033498188209183336, -0.3382594950537064,
    0.16118898659821582, 0.2967228681251961, -0.2376512023772322, 0.24256006434806718, -0.25543636721124374,
    -0.17673692523202983, 0.3009795267209768, 0.25526816677669095, -0.28317543015523317, -0.18229697658615363,
    0.33015135367492454,
]  # fmt: skip


def wave(shape: tuple[int, ...], phase: float) -> Tensor:
    count = torch.Size(shape).numel()
    return torch.sin(torch.arange(count, dtype=torch.float64) * 1.7 + phase).view(shape)


def test_answers_gradients_and_loss_are_those_of_the_release():
    span = part("pattern", "adaptive-span", size=SIZE, ramp=3, loss=0.5)
    table = part("position", "relative", clip=SIZE, own=False, per_head=False, per_layer=False)
    made = mixer(attention(pattern=span, position=table, heads=2, bias=False), DIM)
    v, (vectors,) = made.inner.patterns[0].v, made.inner.position.tables
    with torch.no_grad():
        for linear, phase in ((made.q, 0.3), (made.k, 0.6), (made.v, 0.9), (made.out, 1.2)):
            linear.weight.copy_(wave((DIM, DIM), phase))
        v.copy_(torch.tensor([0.31, 0.72], dtype=torch.float64))
        vectors.copy_(wave((DIM // 2, SIZE), 0.9).flip(1).T[:, None])

    found = made.mix(wave((1, SIZE + ROWS, DIM), 0.5), Axis(range(SIZE + ROWS)))
    y = found.x[:, SIZE:]
    gradients = torch.autograd.grad((y * wave((1, ROWS, DIM), 1.1)).sum(), [v, vectors, made.k.weight])

    assert y.flatten().tolist() == pytest.approx(ANSWERS, abs=CLOSE)
    assert gradients[0].tolist() == pytest.approx(SPAN_GRADIENTS, abs=CLOSE)
    assert gradients[1][:, 0].T.flip(1).flatten().tolist() == pytest.approx(POSITION_GRADIENTS, abs=CLOSE)
    assert gradients[2].flatten().tolist() == pytest.approx(KEY_GRADIENTS, abs=CLOSE)
    assert found.losses["span"].item() == pytest.approx(2.06)
