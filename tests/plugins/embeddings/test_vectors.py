"""Rows of numbers, and a model that reads them as any other reads tokens."""

from __future__ import annotations

import re

import pytest
import torch

import xcompose as xc
from tests.plugins.built import built, leaf
from xcompose.decode.generate import generate
from xcompose.diagnostics import SpecError
from xcompose.verify.runner import check_spec

B, N, W, C = 2, 7, 3, 12
MASK = torch.tensor([[0, 0, 1, 1, 1, 0, 1], [1, 1, 0, 0, 1, 0, 0]]).bool()


def model(kind: str = "decoder", **keys):
    keys = {"type": kind, "dim": C, "heads": 2, "layers": 2, "embedding": f"vectors({W})", **keys}
    keys.setdefault("output", {"decoder": "lm(tied=false)", "encoder": "none"}[kind])
    return xc.build({"xcompose": 1, "model": keys}, dtype=torch.float64)


def points(seed: int = 0) -> torch.Tensor:
    return torch.randn(B, N, W, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestVectors:
    def test_equals_its_formula(self):
        made, p = built("embedding", "vectors", C, width=W), points()
        weight, bias = made.project.weight.tolist(), made.project.bias.tolist()
        found = made(p).tolist()

        for i in range(N):
            for c in range(C):
                wanted = bias[c] + sum(weight[c][w] * p[1, i, w].item() for w in range(W))
                assert found[1][i][c] == pytest.approx(wanted, abs=1e-13)

    def test_gradients(self):
        made = built("embedding", "vectors", C, width=W)

        assert torch.autograd.gradcheck(lambda p, *_: made(p), (leaf(B, N, W), *made.parameters()))

    def test_numbers_of_any_type_are_read(self):
        made = built("embedding", "vectors", C, width=W)
        whole = torch.randint(0, 255, (B, N, W), dtype=torch.uint8)

        assert torch.equal(made(whole), made(whole.double()))

    def test_what_it_says_of_itself(self):
        made = built("embedding", "vectors", C, width=W, bias=False)

        assert made.width == W
        assert made.table() is None
        assert made.extra_repr() == "3 → 12"
        assert [name for name, _ in made.named_parameters()] == ["project.weight"]


class TestModel:
    def test_padding_anywhere_changes_nothing(self):
        for kind in ("decoder", "encoder"):
            m, p = model(kind), points()
            padded = m(torch.where(MASK[..., None], p, torch.nan), mask=MASK).logits
            for row in range(B):
                lone = m(p[row, MASK[row]][None]).logits[0]
                torch.testing.assert_close(padded[row, MASK[row]], lone, rtol=0, atol=1e-12)
            assert not padded[~MASK].any()

    def test_step_by_step_is_at_once(self):
        m, p = model(), points()
        whole, state, steps = m(p).logits, m.start(B), []
        for i in range(N):
            out = m(p[:, i : i + 1], state=state)
            state = out.state
            steps.append(out.logits)

        torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=0, atol=1e-12)

    def test_a_source_of_rows(self):
        sides = {"encoder": {"layers": 1}, "decoder": {"layers": 1}}
        keys = {"type": "encoder-decoder", "dim": C, "heads": 2, "embedding": f"vectors({W})", **sides}
        m = xc.build({"xcompose": 1, "model": {**keys, "output": "lm(tied=false)"}}, dtype=torch.float64)
        p, other = points(), points(1)
        whole = m(p, source=other, source_mask=MASK).logits
        state = m.start(B, source=other, source_mask=MASK)

        torch.testing.assert_close(m(p, state=state).logits, whole, rtol=0, atol=1e-12)
        lone = m(p[:1], source=other[:1, MASK[0]]).logits
        torch.testing.assert_close(whole[:1], lone, rtol=0, atol=1e-12)
        wrong = "this model reads rows of numbers (b n 3), source have the shape (2, 7)"
        with pytest.raises(ValueError, match=f"^{re.escape(wrong)}$"):
            m(p, source=other[..., 0])

    @pytest.mark.parametrize("given", [torch.zeros(2, 7, dtype=torch.long), torch.zeros(2, 7, 4)])
    def test_what_is_none_is_refused(self, given):
        message = f"this model reads rows of numbers (b n 3), tokens have the shape {tuple(given.shape)}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            model("encoder")(given)

    def test_a_model_of_tokens_refuses_rows(self):
        m = model("encoder", embedding="tokens")
        with pytest.raises(ValueError, match=re.escape("tokens have the shape (b n), these have (2, 7, 3)")):
            m(points())
        message = "this model reads tokens, which are whole numbers; these tokens are torch.float64"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            m(points()[..., 0])

    def test_nothing_is_generated(self):
        with pytest.raises(ValueError, match="^this model reads rows of 3 numbers, and drawn tokens are none$"):
            generate(model(), points(), 2)

    def test_no_output_ties_to_it(self):
        with pytest.raises(SpecError) as caught:
            model(output="lm")

        (finding,) = caught.value.diagnostics
        assert finding.message == "the output is tied to an embedding that has no table"
        assert finding.fixes == ("tied=false",)

    @pytest.mark.parametrize("kind", ["decoder", "encoder"])
    def test_every_certificate_holds(self, kind, tmp_path):
        output = {"decoder": "lm(tied=false)", "encoder": "none"}[kind]
        keys = f"type: {kind}, dim: {C}, heads: 2, layers: 1, vocab: 11, embedding: vectors({W}), output: {output}"
        (tmp_path / "rows.xc.yaml").write_text(f"xcompose: 1\nmodel: {{{keys}}}\n")
        report = check_spec(str(tmp_path / "rows.xc.yaml"), stages=["compile"])

        assert report.findings == ()
        assert [stage.status for stage in report.stages] == ["passed"] * 7
