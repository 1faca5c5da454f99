"""Adapters weighed row by row."""

from __future__ import annotations

import math

import pytest
import torch

from tests.plugins.addons.adapting import built, frozen_hash, refused, tokens, train
from xcompose.compose.adapters import active, adapter_weights, use
from xcompose.train.learner import groups
from xcompose.verify.subject import redraw

TWO = ("adapter(3, name=de)", "adapter(5, name=en)")
C = 24


def formula(place, y, x):
    """y + sum_i a_i V z_i, one row at a time."""
    fusion = place.named["fusion"]
    q, k, v = fusion.query, fusion.key, fusion.value
    out = torch.zeros_like(y)
    for b in range(y.shape[0]):
        for n in range(y.shape[1]):
            row = y[b, n]
            each = []
            for name in ("de", "en"):
                a = place.named[name]
                each.append(a.up.weight @ a.act(a.down.weight @ row + a.down.bias) + a.up.bias)
            asked = q.weight @ row + q.bias
            scores = [(asked * (k.weight @ z + k.bias)).sum() for z in each]
            weights = [math.exp(s.detach()) for s in scores]
            shares = [w / sum(weights) for w in weights]
            out[b, n] = row + sum(s * (v.weight @ z) for s, z in zip(shares, each, strict=True))
    return out


class TestFusion:
    def test_equals_its_formula(self):
        m = built(*TWO, "fusion(de, en)")
        redraw(m, 1)
        place = m.layers[1].behind["mixer"]
        y, x = torch.randn(2, 3, C, dtype=torch.float64), torch.randn(2, 3, C, dtype=torch.float64)

        torch.testing.assert_close(place(y, x), formula(place, y, x), rtol=0, atol=1e-12)

    def test_it_starts_as_the_mean_of_almost_equal_weights_and_values_as_they_are(self):
        m = built(*TWO, "fusion(de, en)")
        fusion = m.layers[0].behind["ffn"].named["fusion"]

        assert torch.equal(fusion.value.weight, torch.eye(C, dtype=torch.float64))
        assert 0.015 < float(fusion.query.weight.detach().std()) < 0.025
        assert not fusion.query.bias.any()
        assert torch.equal(m(tokens()).logits, built()(tokens()).logits)

    def test_only_the_fusion_is_trained(self):
        m = built(*TWO, "fusion(de, en)")
        redraw(m, 1)
        before = {n: p.clone() for n, p in adapter_weights(m, "de", "en").items()}
        base = frozen_hash(m)
        held = {id(p) for group in groups(m) for p in group["params"]}
        train(m, steps=3)

        assert held == {id(p) for p in adapter_weights(m, "fusion").values()}
        assert sum(p.numel() for p in m.parameters() if p.requires_grad) == 3 * 2 * (3 * C * C + 2 * C)
        assert all(torch.equal(p, before[n]) for n, p in adapter_weights(m, "de", "en").items())
        assert frozen_hash(m) == base

    def test_it_is_switched_like_any_other(self):
        m = built(*TWO, "fusion(de, en)")
        redraw(m, 1)
        assert active(m) == ("fusion",)
        fused = m(tokens()).logits
        use(m, "de")
        alone = built(TWO[0])
        others = (".named.en.", ".named.fusion.")
        alone.load_state_dict({n: t for n, t in m.state_dict().items() if not any(o in n for o in others)})

        torch.testing.assert_close(m(tokens()).logits, alone(tokens()).logits, rtol=0, atol=1e-12)
        use(m, "fusion")
        assert torch.equal(m(tokens()).logits, fused)

    def test_another_adapter_learns_behind_it(self):
        m = built(*TWO, "fusion(de, en)", "adapter(2, name=task)")

        assert active(m) == ("fusion", "task")
        free = {id(p) for p in m.parameters() if p.requires_grad}
        assert free == {id(p) for p in adapter_weights(m, "fusion", "task").values()}

    def test_what_stands_before_stands_still(self):
        fused = [f"{addon[:-1]}, behind=ffn)" for addon in TWO]
        m = built("lora(2)", "adapter(2, name=more, behind=mixer)", *fused, "fusion(de, en)")
        free = {id(p) for p in m.parameters() if p.requires_grad}

        assert set(active(m)) == {"lora", "more", "fusion"}
        assert free == {id(p) for p in adapter_weights(m, "fusion").values()}
        assert m.layers[0].behind["mixer"].names == ("more",)


class TestRefusals:
    def test_adapters_that_are_not_there(self):
        found = refused(TWO[0], "fusion(de, fr)")

        assert found.message == "there is no adapter 'fr' to fuse"
        assert found.label == "there are: de"
        assert found.fixes == ("list adapter(8, name=fr) before",)
        assert refused("fusion(de, fr)").label == "no adapter is listed before"

    def test_one_alone(self):
        found = refused(TWO[0], "fusion(de)")

        assert found.message == "two adapters at least are fused, each once"
        assert found.fixes == ("fusion(de, en)",)
        assert refused(*TWO, "fusion(de, de)").message == found.message

    @pytest.mark.parametrize("other", ["lora(2, name=en)", "ia3(name=en)"])
    def test_changes_of_weights(self, other):
        found = refused(TWO[0], other, "fusion(de, en)")

        assert found.message == "'en' cannot be fused"
        assert found.label == "it changes weights; a fusion weighs what adapters behind a sub-layer add"
        assert found.fixes == ("adapter(8, name=en) in its place",)

    def test_other_places(self):
        found = refused(TWO[0], "adapter(5, name=en, behind=[ffn])", "fusion(de, en)")

        assert found.message == "de and en do not stand behind the same sub-layers"
        assert found.fixes == ("one style, and one `behind`, for all of them",)
