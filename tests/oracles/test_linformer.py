"""Linformer beside linformer 0.2.3.

Where the oracle departs from the paper: it shares E and F among heads and knows no other way; `share_kv` ties the
projections of keys and values as well, so ours get one matrix twice; `one_kv_head` is multi-query. E and F stand
transposed, and serve a shorter sequence with their first rows.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("linformer", reason="pip install -e '.[oracles]'")
from linformer import LinformerSelfAttention

from tests.plugins.helpers import attention, mixer, part, rows
from xcompose.attention.reads import Axis
from xcompose.compose.parts import Source

pytestmark = pytest.mark.oracle
C, H, R, LENGTH = 12, 3, 5, 11


def oracle(**given) -> LinformerSelfAttention:
    made = LinformerSelfAttention(C, LENGTH, k=R, heads=H, **given).double()
    with torch.no_grad():
        for i, p in enumerate(made.parameters()):
            p.copy_(rows(*p.shape, seed=i) * 0.4)
    return made


def ours(theirs: LinformerSelfAttention, role: str = "self"):
    tied = theirs.share_kv
    memory = part("memory", "linformer", rank=R, share="key-value" if tied else "headwise")
    kv_heads = theirs.to_k.out_features // theirs.dim_head
    options = attention(heads=H, kv_heads=kv_heads, pattern="none", memory=memory)
    made = mixer(options, C, "none", length=LENGTH, role=role)
    keys, values = ("k", "k") if tied else ("k", "v")
    weights: dict[str, Tensor] = {
        "q.weight": theirs.to_q.weight, "k.weight": theirs.to_k.weight, "out.weight": theirs.to_out.weight,
        "v.weight": getattr(theirs, f"to_{values}").weight, "out.bias": theirs.to_out.bias,
        "inner.memory.0.e.weight": getattr(theirs, f"proj_{keys}").T,
        "inner.memory.0.f.weight": getattr(theirs, f"proj_{values}").T,
    }  # fmt: skip
    with torch.no_grad():
        for name, p in made.named_parameters(remove_duplicate=False):
            p.copy_(weights[name] if name in weights else torch.zeros_like(p))
    return made


@pytest.mark.parametrize("given", [{}, {"share_kv": True}, {"one_kv_head": True}], ids=str)
@pytest.mark.parametrize("n", [7, LENGTH])
def test_outputs_and_gradients(given, n):
    theirs = oracle(**given)
    made, x = ours(theirs), rows(2, n, C).requires_grad_()

    wanted, found = theirs(x), made(x, Axis(range(n), total=n)).x

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    upstream = rows(2, n, C, seed=3)
    pairs = [(made.q.weight, theirs.to_q.weight), (made.out.weight, theirs.to_out.weight)]
    if not given.get("share_kv"):
        pairs += [(made.k.weight, theirs.to_k.weight), (made.v.weight, theirs.to_v.weight)]
    one = torch.autograd.grad(found, [x, made.inner.memories[0].e.weight, *(p for p, _ in pairs)], upstream)
    other = torch.autograd.grad(wanted, [x, theirs.proj_k, *(p for _, p in pairs)], upstream)
    for a, b in zip(one, (other[0], other[1].T, *other[2:]), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("m", [4, LENGTH])
def test_another_sequence(m):
    theirs = oracle()
    made, x, y = ours(theirs, role="cross"), rows(2, 7, C), rows(2, m, C, seed=5)

    found = made(x, Axis(range(7)), None, Source(y, Axis(range(m), total=m, clock="source"))).x

    torch.testing.assert_close(found, theirs(x, context=y), rtol=0, atol=1e-12)
