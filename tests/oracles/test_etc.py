"""Parts of ETC beside transformers 5.23.0: two streams (Pegasus-X), and a band with biases by distance (LongT5).

Where the oracles depart: Pegasus-X reads the block of a token and not its neighbours, has no labels, and hides padding
by the most negative number, so a block of nothing but padding answers with a mean, which the model drops; lengths must
be multiples of its block. LongT5 does not scale its products, takes the softmax in single precision, puts distances
into buckets (exact below 8, keys behind a query after those before it), and has no rows before the tokens.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("transformers", reason="pip install -e '.[oracles]'")
from transformers import LongT5Config
from transformers.models.longt5.modeling_longt5 import LongT5LocalAttention, _get_local_attention_mask
from transformers.models.pegasus_x.modeling_pegasus_x import PegasusXGlobalLocalAttention

from tests.plugins.helpers import attention, mixer, part, pattern, rows
from xcompose.attention.reads import Axis

pytestmark = pytest.mark.oracle
B, C, H, G, N, BLOCK = 2, 12, 3, 5, 28, 7
RADIUS = 4


def drawn(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype) * 0.5)
    return module.double()


def take(ours: torch.nn.Module, theirs: torch.nn.Module, names: dict[str, str]) -> None:
    with torch.no_grad():
        for mine, their in names.items():
            getattr(ours, mine).weight.copy_(getattr(theirs, their).weight)


def compare(found: Tensor, wanted: Tensor, x: Tensor, close: float) -> None:
    upstream = rows(*found.shape, seed=3)
    torch.testing.assert_close(found, wanted, rtol=0, atol=close)
    sides = [torch.autograd.grad(y, x, upstream)[0] for y in (found, wanted)]
    torch.testing.assert_close(*sides, rtol=0, atol=10 * close)


@pytest.mark.parametrize("lengths", [(N, N), (N, 17)])
def test_two_streams(lengths):
    theirs = drawn(PegasusXGlobalLocalAttention(C, H, BLOCK))
    local = pattern("union", of=(pattern("blocks", size=BLOCK), pattern("prefix")))
    ours = mixer(attention(heads=H, bias=False, pattern=local), C, "none", prefix=G)
    take(ours, theirs, {"q": "q_proj", "k": "k_proj", "v": "v_proj", "out": "out_proj"})
    x = rows(B, G + N, C).requires_grad_()
    there = torch.arange(N) < torch.tensor(lengths)[:, None]
    valid = torch.cat([torch.ones(B, G, dtype=torch.bool), there], 1)

    hidden = torch.zeros(B, N, dtype=torch.float64).masked_fill(~there, torch.finfo(torch.float64).min)
    tokens, front, _ = theirs(x[:, G:], x[:, :G], hidden)
    wanted = torch.cat([front, tokens], 1) * valid[..., None]
    found = ours(x * valid[..., None], Axis(range(-G, N), valid, total=N)).x * valid[..., None]

    compare(found, wanted, x, 1e-12)


def test_a_band_with_biases_by_distance():
    config = LongT5Config(d_model=C, d_kv=C // H, num_heads=H, local_radius=RADIUS, dropout_rate=0.0)
    theirs = drawn(LongT5LocalAttention(config, has_relative_attention_bias=True))
    position = part("position", "relative", clip=RADIUS, bias=True)
    options = attention(
        heads=H, bias=False, scale="none", pattern=pattern("window", size=RADIUS), position=position
    )  # fmt: skip
    ours = mixer(options, C, "none")
    take(ours, theirs, {"q": "q", "k": "k", "v": "v", "out": "o"})
    labels = ours.inner.position
    with torch.no_grad():
        labels.vectors.zero_()
        for ahead in range(RADIUS + 1):
            bucket = ahead + (16 if ahead else 0)
            labels.biases[ahead] = theirs.relative_attention_bias.weight[bucket]
            labels.biases[RADIUS + ahead if ahead else 0] = theirs.relative_attention_bias.weight[ahead]
    x = rows(B, N, C).requires_grad_()

    mask = _get_local_attention_mask(torch.ones(B, N, dtype=torch.long), RADIUS + 1, x.device)
    wanted = theirs(x, mask=mask)[0]
    found = ours(x, Axis(range(N), total=N)).x

    compare(found, wanted, x, 2e-6)
