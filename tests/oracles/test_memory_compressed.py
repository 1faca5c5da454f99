"""Convolved memory beside memory-compressed-attention 0.0.7.

Where the oracle departs from the paper, or from us:
- one grouped convolution serves keys and values, each head by itself: `per_head` and `shared`;
- products are divided by the root of the whole width: `scale=dim`;
- it fills up on the left, so its blocks depend on the length: we read rows of zeros in front, which have keys and
  values of zero there and here, because its projections have no bias;
- its `input_mask` drops what is present, so no mask is compared.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("memory_compressed_attention", reason="pip install -e '.[oracles]'")
from memory_compressed_attention import MemoryCompressedAttention

from tests.plugins.helpers import attention, mixer, part, rows
from xcompose.attention.reads import Axis

pytestmark = pytest.mark.oracle
C, H, F = 12, 3, 3


def oracle(causal: bool) -> MemoryCompressedAttention:
    made = MemoryCompressedAttention(C, heads=H, causal=causal, compression_factor=F).double()
    with torch.no_grad():
        for i, p in enumerate(made.parameters()):
            p.copy_(rows(*p.shape, seed=i) * 0.4)
    return made


def ours(causal: bool):
    memory = part("memory", "conv", factor=F, per_head=True, shared=True, null="learned")
    return mixer(attention(heads=H, pattern="none", memory=memory, scale="dim"), C, "strict" if causal else "none")


def mapped(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the oracle calls a tensor, a weight or its gradient, as we call it."""
    q, k, v = theirs["to_qkv.weight"].chunk(3)
    kernel = theirs["compress_fn.conv.weight"].permute(0, 2, 1).flatten(1)
    return {
        "q.weight": q, "k.weight": k, "v.weight": v, "out.weight": theirs["to_out.weight"],
        "out.bias": theirs["to_out.bias"], "inner.memory.0.k.weight": kernel,
        "inner.memory.0.k.bias": theirs["compress_fn.conv.bias"],
        "inner.memory.1.k": theirs["null_k"].reshape(1, H, -1),
        "inner.memory.1.v": theirs["null_v"].reshape(1, H, -1),
    }  # fmt: skip


def copied(made, weights: dict[str, Tensor]) -> None:
    """Set the weights; what the oracle lacks, biases of projections, is zero."""
    with torch.no_grad():
        for name, p in made.named_parameters():
            p.copy_(weights[name] if name in weights else torch.zeros_like(p))
    assert {name for name, p in made.named_parameters() if name not in weights} == {"q.bias", "k.bias", "v.bias"}


@pytest.mark.parametrize("n", [9, 10, 11, 12])
@pytest.mark.parametrize("causal", [False, True])
def test_outputs_and_gradients(causal, n):
    theirs, made = oracle(causal), ours(causal)
    copied(made, mapped(dict(theirs.named_parameters())))
    x = rows(2, n, C).requires_grad_()
    front = torch.zeros(2, -n % F, C, dtype=torch.float64)
    total = front.shape[1] + n

    wanted = theirs(x)
    found = made(torch.cat([front, x], 1), Axis(range(total), total=None if causal else total)).x[:, front.shape[1] :]

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    upstream = rows(2, n, C, seed=3)
    their_x, *their_weights = torch.autograd.grad(wanted, [x, *theirs.parameters()], upstream)
    names = [name for name, _ in theirs.named_parameters()]
    wanted_gradients = mapped(dict(zip(names, their_weights, strict=True)))
    our = {name: p for name, p in made.named_parameters() if name in wanted_gradients}
    our_x, *our_weights = torch.autograd.grad(found, [x, *our.values()], upstream)
    torch.testing.assert_close(our_x, their_x, rtol=0, atol=1e-12)
    for name, gradient in zip(our, our_weights, strict=True):
        torch.testing.assert_close(gradient, wanted_gradients[name], rtol=0, atol=1e-12)


def test_a_dense_convolution_with_blocks_on_its_diagonal_is_theirs_too():
    theirs = oracle(True)
    memory = part("memory", "conv", factor=F, null="learned")
    made = mixer(attention(heads=H, pattern="none", memory=memory, scale="dim"), C)
    weights, d = mapped(dict(theirs.named_parameters())), C // H
    dense = torch.zeros(C, F, C, dtype=torch.float64)
    for h in range(H):
        heads = slice(h * d, h * d + d)
        dense[heads, :, heads] = weights["inner.memory.0.k.weight"][heads].reshape(d, F, d)
    for side in "kv":
        weights[f"inner.memory.0.{side}.weight"] = dense.flatten(1)
        weights[f"inner.memory.0.{side}.bias"] = theirs.compress_fn.conv.bias
    copied(made, weights)
    x = rows(2, 12, C)

    torch.testing.assert_close(made(x, Axis(range(12))).x, theirs(x), rtol=0, atol=1e-12)


def test_the_oracle_does_not_keep_what_it_said_and_we_do():
    """Why it cannot decode step by step: with a token more, its blocks begin elsewhere."""
    theirs, made, x = oracle(True), ours(True), rows(2, 11, C)
    copied(made, mapped(dict(theirs.named_parameters())))

    assert (theirs(x[:, :9]) - theirs(x)[:, :9]).abs().max() > 0.01
    torch.testing.assert_close(made(x[:, :9], Axis(range(9))).x, made(x, Axis(range(11))).x[:, :9], rtol=0, atol=1e-12)
