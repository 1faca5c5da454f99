"""Matrices from a normal distribution, biases 0."""

from __future__ import annotations

import torch
from torch import nn

from tests.plugins.built import built


class TestNormal:
    def made(self, **options) -> nn.Module:
        model = nn.ModuleDict(
            {"linear": nn.Linear(200, 300), "table": nn.Embedding(300, 200), "bare": nn.Linear(5, 7, bias=False)}
        )
        model.register_parameter("own", nn.Parameter(torch.full((3,), 7.0)))
        torch.manual_seed(1)
        built("init", "normal", 5, **options)(model)
        return model

    def test_spread_and_mean(self):
        for std in (0.02, 0.5):
            model = self.made(std=std)
            for weight in (model["linear"].weight, model["table"].weight):
                count = weight.numel()
                assert abs(weight.std() - std) < 5 * std / (2 * count) ** 0.5
                assert abs(weight.mean()) < 5 * std / count**0.5

    def test_biases_are_zero_and_other_parameters_stay(self):
        model = self.made()

        assert not model["linear"].bias.any()
        assert model.own.tolist() == [7, 7, 7]
