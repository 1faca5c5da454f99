"""Two streams, as a spec composes them of rows, prefix rows, labels and memories: against the definition written as one
dense, masked matrix for each stream, and against ordinary attention where the two are equal."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

import xcompose as xc
from xcompose.attention.reads import Axis

G, N, V, C, H, RADIUS, CLIP, CHUNK = 3, 13, 17, 10, 2, 2, 4, 5
D = C // H
SHARED = f"""
type: rows
share: [q, k, v]
of:
  - rows: first(0)
    use: attention(pattern=dense)
  - use: attention(pattern=window({RADIUS}) | prefix)
"""
SEPARATE = f"""
type: rows
of:
  - rows: first(0)
    use: attention(pattern=dense - prefix(keys), memory=reread(first(0)))
  - use: attention(pattern=window({RADIUS}) - prefix(keys), memory=reread(first(0)))
"""


def built(mixer: str, position: str, tmp_path):
    text = f"""
xcompose: 1
model:
  type: encoder
  dim: {C}
  heads: {H}
  vocab: {V}
  embedding: tokens(prefix={G})
  position: {position}
  layers:
    - mixer:
{re.sub("^", "        ", mixer.strip(), flags=re.MULTILINE)}
"""
    (tmp_path / "two.xc.yaml").write_text(text)
    model = xc.build(str(tmp_path / "two.xc.yaml"), dtype=torch.float64)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype) * 0.4)
    return model.layers[0].mixer


def label(i: int, j: int) -> int:
    """As the released code numbers them; rows before the tokens are negative."""
    if (i < 0) != (j < 0):
        return 2 * CLIP + (2 if max(i, j) // CHUNK == min(i, j) + G else 1)
    return min(j - i, CLIP) if j >= i else CLIP + min(i - j, CLIP)


def naive(mixer: nn.Module, x: Tensor, separate: bool) -> Tensor:
    """Each stream has one softmax over its two pieces; rows are counted from the first one before the tokens."""
    y, places = torch.zeros_like(x), range(-G, N)
    for row, i in enumerate(places):
        member = mixer.of[0 if i < 0 else 1]
        labels, again = member.inner.position, member.inner.memories[0] if separate else None
        for b in range(len(x)):
            heads = []
            for h in range(H):
                q = member.q(x[b, row]).view(H, D)[h]
                logits, values = [], []
                for col, j in enumerate(places):
                    if i >= 0 and j >= 0 and abs(i - j) > RADIUS:
                        continue
                    source = again if separate and j < 0 else member
                    a, beta = labels.vectors[label(i, j), h], labels.biases[label(i, j), h]
                    logits.append((q @ source.k(x[b, col]).view(H, D)[h] + q @ a + beta) / D**0.5)
                    values.append(source.v(x[b, col]).view(H, D)[h])
                weights = torch.stack(logits).softmax(0)
                heads.append(sum(w * v for w, v in zip(weights, values, strict=True)))
            y[b, row] = member.out(torch.cat(heads))
    return y


def rows_of(b: int = 2) -> Tensor:
    return torch.randn(b, G + N, C, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def mixed(mixer: nn.Module, x: Tensor) -> Tensor:
    return mixer(x, Axis(range(-G, N), total=N)).x


@pytest.mark.parametrize("kind", ["shared", "separate"])
def test_formula_and_gradients(kind, tmp_path):
    separate = kind == "separate"
    mixer = built(SEPARATE if separate else SHARED, f"relative({CLIP}, bias=true, chunk={CHUNK}, rows=16)", tmp_path)
    x = rows_of().requires_grad_()

    found, wanted = mixed(mixer, x), naive(mixer, x, separate)

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)
    parameters = [p for p in mixer.parameters() if p.requires_grad]
    upstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for one, other in zip(*(torch.autograd.grad(y, [x, *parameters], upstream) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("kind", "matrices"), [("shared", 5), ("separate", 12)])
def test_projections(kind, matrices, tmp_path):
    mixer = built(SHARED if kind == "shared" else SEPARATE, "none", tmp_path)

    assert sum(p.numel() for p in mixer.parameters()) == matrices * (C * C + C)


def test_with_a_radius_over_the_whole_text_it_is_ordinary_attention(tmp_path):
    """As in the authors' own tests: all shared, no labels, radius of at least n - 1."""
    wide = SHARED.replace(f"window({RADIUS})", f"window({N - 1})").replace("[q, k, v]", "[q, k, v, out]")
    mixer, x = built(wide, "none", tmp_path), rows_of()
    theirs, ours = nn.MultiheadAttention(C, H, batch_first=True).double(), mixer.of[0]
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.q.weight, ours.k.weight, ours.v.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.q.bias, ours.k.bias, ours.v.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())

    torch.testing.assert_close(mixed(mixer, x), theirs(x, x, x)[0], rtol=0, atol=1e-12)


def test_who_reads_whom(tmp_path):
    for text in (SHARED, SEPARATE):
        mixer = built(text, "none", tmp_path)
        found = sum(one.matrix for one in mixer.visible(G + N)) > 0
        wanted = [[i < 0 or j < 0 or abs(i - j) <= RADIUS for j in range(-G, N)] for i in range(-G, N)]

        assert found.tolist() == wanted
