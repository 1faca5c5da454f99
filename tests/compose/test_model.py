"""The model around its layers: padding anywhere, state, source, losses."""

from __future__ import annotations

import copy
import functools
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import xcompose as xc
from tests.compose.fakes import layer, model, node, registry
from xcompose.compose.build import build_model
from xcompose.compose.parts import State
from xcompose.decode.state import bytes_of

B, N, V = 3, 7, 17
MASK = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1, 0, 1, 0, 1, 0, 1], [1, 1, 1, 1, 1, 0, 0]]).bool()
MIXED = "attention(pattern=window(3) | global(2)), attention(score=linear), attention(kv_heads=1)"


def made(kind: str = "decoder", **changes):
    return build_model(model(kind, **changes), registry=registry(), dtype=torch.float64)


def real(kind: str = "decoder", **keys):
    keys = {"dim": 24, "heads": 2, "vocab": V, "layers": MIXED, **keys}
    return xc.build({"xcompose": 1, "model": {"type": kind, **keys}}, dtype=torch.float64)


@functools.cache
def standard():
    return real()


def translator(**keys):
    sides = {"encoder": {"layers": 2}, "decoder": {"layers": 2}}
    keys = {"type": "encoder-decoder", "dim": 24, "heads": 2, "vocab": V, **sides, **keys}
    return xc.build({"xcompose": 1, "model": keys}, dtype=torch.float64)


def tokens(b: int = B, n: int = N) -> Tensor:
    return torch.randint(0, V, (b, n), generator=torch.Generator().manual_seed(11))


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


class TestPadding:
    @pytest.mark.parametrize("kind", ["decoder", "encoder"])
    def test_padding_anywhere_changes_nothing(self, kind):
        m, t = real(kind, output="lm"), tokens()
        padded = m(t, mask=MASK).logits

        for row in range(B):
            alone = m(t[row : row + 1, MASK[row]]).logits[0]
            close(padded[row, MASK[row]], alone)
            assert not padded[row, ~MASK[row]].any()

    def test_what_stands_in_padding_is_never_looked_at(self):
        m, t = real(), tokens()

        close(m(t, mask=MASK).logits, m(t.masked_fill(~MASK, -100), mask=MASK).logits)

    @pytest.mark.parametrize("kind", ["decoder", "encoder"])
    def test_a_row_without_tokens_gives_zeros_and_finite_gradients(self, kind):
        m, t = real(kind, output="lm"), tokens()
        mask = MASK.clone()
        mask[1] = False
        out = m(t, mask=mask).logits
        out.square().sum().backward()

        assert not out[1].any()
        assert all(p.grad is None or p.grad.isfinite().all() for p in m.parameters())

    def test_a_mask_of_ones_is_no_mask(self):
        m, t = real(), tokens()

        close(m(t, mask=torch.ones_like(t, dtype=torch.bool)).logits, m(t).logits)

    @pytest.mark.parametrize("pool", ["mean", "first", "last"])
    def test_one_answer_for_a_sequence(self, pool):
        m, t = real("encoder", output=f"classify(5, pool={pool})"), tokens()
        mask = MASK.clone()
        mask[2] = False
        out = m(t, mask=mask).logits

        assert out.shape == (B, 5)
        close(out[:1], m(t[:1, mask[0]]).logits)
        close(out[1:2], m(t[1:2, mask[1]]).logits)
        assert not out[2].any()


class TestState:
    @settings(max_examples=6, deadline=None)
    @given(cuts=st.sets(st.integers(1, N - 1), max_size=4))
    def test_any_cut_of_the_time_line_gives_the_same(self, cuts):
        m, t = standard(), tokens()
        whole, state, parts = m(t).logits, m.start(B), []
        for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), N], strict=True):
            out = m(t[:, a:b], state=state)
            state = out.state
            parts.append(out.logits)

        close(torch.cat(parts, 1), whole)
        assert state.time.tolist() == [N] * B
        assert state.together == N

    @settings(max_examples=6, deadline=None)
    @given(cut=st.integers(1, N - 1), seed=st.integers(0, 99))
    def test_rows_at_different_times_give_the_same(self, cut, seed):
        m, t = standard(), tokens()
        mask = torch.rand(B, N, generator=torch.Generator().manual_seed(seed)) < 0.6
        whole = m(t, mask=mask).logits
        first = m(t[:, :cut], mask=mask[:, :cut], state=m.start(B))
        second = m(t[:, cut:], mask=mask[:, cut:], state=first.state)

        close(torch.cat([first.logits, second.logits], 1), whole)
        assert second.state.time.tolist() == mask.sum(1).tolist()
        assert second.state.together is None

    def test_without_a_state_none_is_given_back(self):
        assert real()(tokens()).state is None

    def test_bytes_are_what_the_tensors_take(self):
        for n in (1, 5, 13):
            m = real()
            state = m(tokens(1, n), state=m.start(1)).state

            assert m.state_bytes(n) == bytes_of(state.parts)

    @pytest.mark.parametrize(
        "mixer", ["attention", "attention(score=linear)", "attention(pattern=blocks(4), memory=sinkhorn(4))"]
    )
    def test_sums_in_single_precision_take_their_own_bytes_in_a_model_of_half(self, mixer):
        model = {
            "type": "decoder",
            "dim": 16,
            "heads": 2,
            "length": 16,
            "layers": 1,
            "position": "none",
            "mixer": mixer,
        }
        m = xc.build({"xcompose": 1, "model": model}, dtype=torch.bfloat16).eval()
        with torch.no_grad():
            state = m(torch.zeros(1, 13, dtype=torch.long), state=m.start(1)).state

        assert m.state_bytes(13) == bytes_of(state.parts)

    def test_an_encoder_has_none(self):
        m = made("encoder")

        assert m.state_bytes(100) == 0
        with pytest.raises(ValueError, match=re.escape("this model sees whole sequences and has no state")):
            m.start(1)
        with pytest.raises(ValueError, match=re.escape("this model sees whole sequences and takes no state")):
            m(tokens(), state=State(torch.zeros(B), {}))


class TestSource:
    def sides(self):
        source = torch.randint(0, V, (B, 11), generator=torch.Generator().manual_seed(5))
        mask = torch.rand(B, 11, generator=torch.Generator().manual_seed(6)) < 0.7
        return source, mask

    def test_padding_on_either_side_changes_nothing(self):
        m, t = translator(), tokens()
        source, source_mask = self.sides()
        padded = m(t, mask=MASK, source=source, source_mask=source_mask).logits

        for row in range(B):
            one = slice(row, row + 1)
            alone = m(t[one, MASK[row]], source=source[one, source_mask[row]]).logits[0]
            close(padded[row, MASK[row]], alone)

    def test_step_by_step_equals_at_once(self):
        m, t = translator(), tokens()
        source, source_mask = self.sides()
        whole = m(t, mask=MASK, source=source, source_mask=source_mask).logits
        state, parts = m.start(B, source=source, source_mask=source_mask), []
        for i in range(N):
            out = m(t[:, i : i + 1], mask=MASK[:, i : i + 1], state=state)
            state = out.state
            parts.append(out.logits)

        close(torch.cat(parts, 1), whole)

    def test_every_source_token_matters_and_the_decoder_stays_causal(self):
        m, t = translator(), tokens(1)
        source = self.sides()[0][:1]
        whole = m(t, source=source).logits
        for place in range(source.shape[1]):
            other = source.clone()
            other[0, place] = (other[0, place] + 1) % V
            assert (m(t, source=other).logits != whole).any(-1).all()
        later = t.clone()
        later[0, 4] = (later[0, 4] + 1) % V
        close(m(later, source=source).logits[:, :4], whole[:, :4])

    def test_each_side_has_a_length_of_its_own(self):
        sides = {"encoder": {"layers": 1, "length": 31}, "decoder": {"layers": 1, "length": 13}}
        m = translator(position="learned", **sides)
        tables = sorted(p.shape[0] for name, p in m.named_parameters() if "position" in name)

        assert tables == [13, 31]

    def test_who_needs_what(self):
        m, t, source = translator(), tokens(), self.sides()[0]
        missing = re.escape("give the source to `forward`, or to `start` when there is a state")
        with pytest.raises(ValueError, match=missing):
            m(t)
        with pytest.raises(ValueError, match=missing):
            m(t, source=source, state=m.start(B, source=source))
        with pytest.raises(ValueError, match=re.escape("give `start` a source exactly when the model reads one")):
            m.start(B)
        with pytest.raises(ValueError, match=re.escape("this model reads no source")):
            real()(t, source=source)


class TestArguments:
    def test_shapes_are_checked(self):
        m = made()
        with pytest.raises(ValueError, match=re.escape("tokens have the shape (b n), these have (7,)")):
            m(tokens()[0])
        with pytest.raises(ValueError, match=re.escape("there is no token to read")):
            m(tokens()[:, :0])
        with pytest.raises(ValueError, match=re.escape("mask has the shape (3, 6), what it masks has (3, 7)")):
            m(tokens(), mask=MASK[:, 1:])
        with pytest.raises(ValueError, match=re.escape("mask is bool, true where a token is; this one is torch.int64")):
            m(tokens(), mask=MASK.long())
        with pytest.raises(ValueError, match=re.escape("source_mask has the shape (3, 7), what it masks has None")):
            m(tokens(), source_mask=MASK)


class TestLayers:
    def test_losses_carry_the_layer_and_the_role(self):
        lossy = layer(mixer=node("mixer", "mean", loss=True))
        out = made(layers=(layer(), lossy, lossy))(tokens())

        assert set(out.losses) == {"1.mixer.size", "2.mixer.size"}

    def test_dropout_stands_behind_the_embedding_and_every_sub_layer(self):
        m = made(dropout=0.25, layers=(layer(dropout=0.5), layer()))

        assert m.dropout.p == 0.25
        assert [block.dropout.p for block in m.layers] == [0.5, 0.0]
        assert not torch.equal(m(tokens()).logits, m(tokens()).logits)
        m.eval()
        assert torch.equal(m(tokens()).logits, m(tokens()).logits)

    def test_recomputing_gives_the_same_gradients(self):
        m, t = made(layers=(layer(dropout=0.5), layer(dropout=0.5))), tokens()
        found = []
        for recompute in (False, True):
            m.stack.recompute = recompute
            m.zero_grad()
            torch.manual_seed(2)
            m(t).logits.square().sum().backward()
            found.append([p.grad.clone() for p in m.parameters()])

        for a, b in zip(*found, strict=True):
            close(a, b)

    def test_a_layer_without_a_feed_forward_network_has_one_norm(self):
        m = made(layers=(layer(ffn=node("ffn", "none")),))

        assert m.layers[0].roles == ("mixer",)
        assert len(m.layers[0].residual.norms) == 1

    def test_a_copy_stands_alone_and_keeps_its_ties(self):
        m = real()
        other = copy.deepcopy(m)

        assert other.output.linear.weight is other.embedding.tokens.weight
        assert other.output.linear.weight is not m.output.linear.weight
        close(other(tokens()).logits, m(tokens()).logits)


@pytest.mark.slow
class TestCompiler:
    def test_one_graph(self):
        m, t = real().float(), tokens()
        compiled = torch.compile(m, fullgraph=True, backend="aot_eager")

        torch.testing.assert_close(compiled(t).logits, m(t).logits)
        torch.testing.assert_close(compiled(t, mask=MASK).logits, m(t, mask=MASK).logits)

    def test_export(self):
        m, t = real().float(), tokens()
        exported = torch.export.export(m, (t,), strict=False).module()

        torch.testing.assert_close(exported(t).logits, m(t).logits)
