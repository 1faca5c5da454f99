"""What composing costs: a composed model beside the same model written by hand in plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xcompose.compare.bench import BenchCase, BenchResult, run_bench

COMPOSED, BY_HAND = "composed", "written by hand"


class ByHand(nn.Module):
    """A decoder as one would write it: pre-norm, rotary, causal softmax attention, GELU, tied output.

    Args:
        dim: width c.
        heads: h, each of width c / h.
        layers: how many.
        vocab: tokens v.
    """

    def __init__(self, dim: int, heads: int, layers: int, vocab: int):
        super().__init__()
        self.embedding = nn.Embedding(vocab, dim)
        self.layers = nn.ModuleList(_Layer(dim, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (b n) to logits (b n v)."""
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x)
        return F.linear(self.norm(x), self.embedding.weight)


class _Layer(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.q, self.k, self.v, self.out = (nn.Linear(dim, dim) for _ in range(4))
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm_1(x)
        q, k, v = (w(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for w in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(_turned(q), _turned(k), v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


def _turned(t: Tensor) -> Tensor:
    """Rotary positions of (b h n d), halves paired."""
    n, half = t.shape[-2], t.shape[-1] // 2
    rates = 10_000.0 ** -(torch.arange(half, device=t.device, dtype=torch.float64) / half)
    angles = torch.arange(n, device=t.device)[:, None] * rates
    cos, sin = angles.cos().to(t.dtype), angles.sin().to(t.dtype)
    a, b = t[..., :half], t[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def both(dim: int = 512, heads: int = 8, layers: int = 4) -> tuple[nn.Module, ByHand]:
    """The composed model of a spec that writes nothing but its size, and the one by hand with the same weights."""
    import xcompose as xc

    composed = xc.build({"xcompose": 1, "model": {"type": "decoder", "dim": dim, "heads": heads, "layers": layers}})
    by_hand = ByHand(dim, heads, layers, composed.vocab)
    # both register their weights in the order in which the model uses them, but for the norms of a layer
    weights = dict(composed.named_parameters())
    with torch.no_grad():
        by_hand.embedding.weight.copy_(weights.pop("embedding.tokens.weight"))
        for name, parameter in by_hand.named_parameters():
            if name != "embedding.weight":
                parameter.copy_(weights.pop(_name(name)))
    assert not weights, f"left over: {sorted(weights)}"
    return composed, by_hand


def _name(name: str) -> str:
    """What the composed model calls a parameter of the one by hand."""
    name = name.replace("norm_1", "residual.norms.0").replace("norm_2", "residual.norms.1")
    for part in ("q", "k", "v", "out"):
        name = name.replace(f".{part}.", f".mixer.{part}.")
    return "stack." + name.replace(".up.", ".ffn.up.").replace(".down.", ".ffn.down.")


def run_overhead(lengths: Sequence[int], *, batch: int = 1, backward: bool = True, repeats: int = 15) -> BenchResult:
    """Time both in turns, 8 heads of 64, 4 layers.

    The ratio says how much faster composed is: 0.97 and more keeps within 3 %.
    """
    composed, by_hand = both()

    def tokens(length: int) -> tuple[Tensor]:
        return (torch.randint(256, (batch, length)),)

    cases = [BenchCase(BY_HAND, by_hand, tokens, yardstick=True), BenchCase(COMPOSED, composed, tokens)]
    return run_bench(cases, lengths, backward=backward, repeats=repeats)
