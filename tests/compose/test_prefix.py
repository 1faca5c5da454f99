"""Rows before the tokens in a whole model: what they read, what is given back, who may not have them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import xcompose as xc
from xcompose.compare.draw import cards_of
from xcompose.diagnostics import SpecError
from xcompose.verify.facts import Facts
from xcompose.verify.runner import check_spec

G, N, V, C = 3, 11, 17, 12
MIXED = "attention(pattern=window(2) | prefix), attention(pattern=random(1, block=3) | blocks(3) | prefix)"


def real(layers: str = MIXED, **keys):
    keys = {"dim": C, "heads": 2, "vocab": V, "layers": layers, "embedding": f"tokens(prefix={G}, norm=true)", **keys}
    return xc.build({"xcompose": 1, "model": {"type": "encoder", **keys}}, dtype=torch.float64)


def tokens(n: int = N) -> Tensor:
    return torch.randint(0, V, (3, n), generator=torch.Generator().manual_seed(11))


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_the_formula_written_out():
    """Learned rows in front, dense attention over all rows, tokens back."""
    m = real("attention(pattern=dense)", position="learned", length=N, ffn="none", residual="post-norm")
    t, e = tokens(), m.embedding
    layer = m.layers[0]
    mixer, norm = layer.mixer, layer.residual.norms[0]
    (places,) = m.position.parameters()

    own = e.norm(e.tokens.weight[t] + places[:N])
    x = torch.cat([e.first_norm(e.first.weight).expand(3, -1, -1), own], 1)
    q, k, v = (p(x).unflatten(-1, (2, -1)) for p in (mixer.q, mixer.k, mixer.v))
    weights = (torch.einsum("bnhd,bmhd->bhnm", q, k) / 6**0.5).softmax(-1)
    wanted = norm(x + mixer.out(torch.einsum("bhnm,bmhd->bnhd", weights, v).flatten(2)))
    found = m(t)

    close(found.logits, wanted[:, G:])
    close(found.prefix, wanted[:, :G])


@pytest.mark.parametrize("layers", [MIXED, "attention(pattern=global(last=2) | window(1) | prefix)"])
def test_padding_anywhere_changes_nothing(layers):
    m, t = real(layers, position="relative(4, chunk=4)"), tokens()
    mask = torch.rand(3, N, generator=torch.Generator().manual_seed(5)) < 0.6
    out = m(t, mask=mask)

    for row in range(3):
        alone = m(t[row : row + 1, mask[row]])
        close(out.logits[row, mask[row]], alone.logits[0])
        close(out.prefix[row], alone.prefix[0])
        assert not out.logits[row, ~mask[row]].any()


def test_a_row_without_tokens_gives_zeros_and_finite_gradients():
    m, mask = real(), torch.ones(3, N, dtype=torch.bool)
    mask[1] = False
    out = m(tokens(), mask=mask).logits
    out.square().sum().backward()

    assert not out[1].any()
    assert all(p.grad is None or p.grad.isfinite().all() for p in m.parameters())


def test_without_prefix_rows_none_are_given_back():
    assert real(embedding="tokens").forward(tokens()).prefix is None


def test_memories_see_the_rows_before_the_tokens_first():
    """A convolution over blocks of four: the first block has the three prefix rows and the first token."""
    m = real("attention(pattern=none, memory=conv(4))", position="none")
    (mixer,) = (layer.mixer for layer in m.layers)
    (visible,) = mixer.visible(G + N)

    assert visible.matrix.all()
    before, t = m(tokens()), tokens()
    t[:, 0] = (t[:, 0] + 1) % V
    assert (m(t).logits != before.logits).any(-1).all()


def test_texts_reach_each_other_through_prefix_rows_in_two_layers():
    one = Facts(real("attention(pattern=window(1) | prefix)"))
    two = Facts(real("attention(pattern=window(1) | prefix), attention(pattern=window(1) | prefix)"))

    assert one.reach(N) == (2, True)
    assert two.reach(N) == (N, True)


def test_outputs_know_nothing_of_prefix_rows():
    m = real(output="classify(5, pool=mean)")

    assert m(tokens()).logits.shape == (3, 5)


def test_pictures_show_them_first():
    card = cards_of(real("attention(pattern=window(0) | prefix)"), N)[0]

    assert card.depth.shape == (G + N, G + N)
    wanted = [[i < G or j < G or i == j for j in range(G + N)] for i in range(G + N)]
    assert np.asarray(card.groups[0].matrix).tolist() == wanted


def test_every_certificate_holds(tmp_path):
    text = f"""
xcompose: 1
model:
  type: encoder
  dim: {C}
  heads: 2
  vocab: {V}
  embedding: tokens(prefix={G}, norm=true)
  norm: streams
  position: relative(3, bias=true, chunk=4)
  output: mlm
  layers:
    - mixer:
        type: rows
        share: [q, k, v]
        of:
          - rows: first(0)
            use: attention(pattern=dense)
          - use: attention(pattern=window(2) | prefix)
    - attention(pattern=random(1, block=3) | blocks(3), memory=conv(3))
    - attention(pattern=window(2) - prefix, memory=reread(first(0)))
"""
    (tmp_path / "prefix.xc.yaml").write_text(text)
    report = check_spec(str(tmp_path / "prefix.xc.yaml"))

    assert report.findings == ()
    assert {stage.status for stage in report.stages} <= {"passed", "skipped"}


@pytest.mark.parametrize("kind", ["decoder", "encoder-decoder"])
def test_a_decoder_is_refused(kind):
    layers = {"layers": 1} if kind == "decoder" else {"encoder": {"layers": 1}, "decoder": {"layers": 1}}
    model = {"type": kind, "dim": C, "heads": 2, "embedding": "tokens(prefix=3)", **layers}
    with pytest.raises(SpecError) as caught:
        xc.build({"xcompose": 1, "model": model})

    (finding,) = caught.value.diagnostics
    assert finding.message == "a decoder cannot use embedding 'tokens' with rows before the tokens"
    assert finding.label == "they read the whole text and every token reads them, so each token would read the future"
    assert finding.fixes == ("prefix=0", "use it in an encoder")
    assert finding.path == "model.embedding.prefix"


def test_a_memory_with_a_bounded_length_has_room_for_them():
    m = real("attention(pattern=none, memory=linformer(4))", position="none", length=N)

    assert m.layers[0].mixer.inner.memories[0].length == G + N
    assert m(tokens()).logits.shape == (3, N, C)
