"""Rows pass unchanged."""

from __future__ import annotations

import torch

import xcompose as xc
from tests.plugins.built import built, leaf


class TestNoNorm:
    def test_nothing_is_changed(self):
        x = leaf(2, 3, 5)

        assert built("norm", "none", 5)(x) is x

    def test_it_has_no_parameters_in_a_model(self):
        model = {"type": "decoder", "dim": 12, "heads": 2, "layers": 2}
        plain = xc.build({"xcompose": 1, "model": {**model, "norm": "none"}})
        usual = xc.build({"xcompose": 1, "model": model})
        extra = set(dict(usual.named_parameters())) - set(dict(plain.named_parameters()))

        assert len(extra) == 2 * (2 * 2 + 1)
        assert not torch.equal(plain(torch.arange(5)[None]).logits, usual(torch.arange(5)[None]).logits)
