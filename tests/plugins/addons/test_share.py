"""One set of weights for many layers."""

from __future__ import annotations

import copy

import pytest
import torch

import xcompose as xc

MODEL = {"type": "decoder", "dim": 24, "heads": 2, "vocab": 17, "layers": 4}


def built(*addons: str, **keys):
    return xc.build({"xcompose": 1, "model": {**MODEL, **keys}, "addons": list(addons)}, dtype=torch.float64)


def tokens(n: int = 7) -> torch.Tensor:
    return torch.randint(0, 17, (2, n), generator=torch.Generator().manual_seed(4))


def count(m) -> int:
    return sum(p.numel() for p in m.parameters())


def refused(*addons: str, **keys) -> str:
    with pytest.raises(xc.SpecError) as caught:
        built(*addons, **keys)
    (found,) = caught.value.diagnostics
    return found.message


class TestShare:
    def test_parameters_count_once(self):
        one = count(built(layers=1))

        assert count(built("share(all)")) == one
        assert count(built("share(all)", layers=2)) == one

    def test_equals_copies_of_the_first_layer(self):
        shared, plain = built("share(all)"), built()
        for block in plain.layers:
            block.load_state_dict(shared.layers[0].state_dict())
        for name in ("embedding", "output"):
            getattr(plain, name).load_state_dict(getattr(shared, name).state_dict())
        plain.stack.norm.load_state_dict(shared.stack.norm.state_dict())

        torch.testing.assert_close(shared(tokens()).logits, plain(tokens()).logits, rtol=0, atol=1e-14)
        shared(tokens()).logits.square().sum().backward()
        plain(tokens()).logits.square().sum().backward()
        total = sum(block.ffn.up.weight.grad for block in plain.layers)
        torch.testing.assert_close(shared.layers[0].ffn.up.weight.grad, total, rtol=1e-12, atol=1e-12)

    def test_states_stay_apart(self):
        m = built("share(all)", layers="4*attention(pattern=window(3))")
        state, parts = m.start(2), []
        for i in range(7):
            out = m(tokens()[:, i : i + 1], state=state)
            state = out.state
            parts.append(out.logits)

        assert sorted(state.parts) == ["0.mixer", "1.mixer", "2.mixer", "3.mixer"]
        torch.testing.assert_close(torch.cat(parts, 1), m(tokens()).logits, rtol=0, atol=1e-12)

    @pytest.mark.parametrize(("what", "role", "other"), [("mixer", "mixer", "ffn"), ("ffn", "ffn", "mixer")])
    def test_only_a_part(self, what, role, other):
        m = built(f"share({what})")

        assert len({id(getattr(block, role)) for block in m.layers}) == 1
        assert len({id(getattr(block, other)) for block in m.layers}) == 4

    def test_groups_follow_each_other(self):
        m = built("share(groups=2)")
        first, second, third, fourth = (block.mixer for block in m.layers)

        assert first is second
        assert third is fourth
        assert first is not third

    def test_it_survives_a_copy(self):
        m = copy.deepcopy(built("share(all)"))

        assert m.layers[0].mixer is m.layers[3].mixer


class TestRefusals:
    def test_layers_that_are_not_alike(self):
        layers = "attention, attention(pattern=window(3)), attention, attention"

        assert refused("share(all)", layers=layers) == "layers 0 and 1 cannot share, they differ in mixer"
        assert built("share(ffn)", layers=layers).layers[0].ffn is not None

    def test_groups_that_do_not_divide(self):
        assert refused("share(groups=3)") == "4 layers do not divide into 3 groups"
