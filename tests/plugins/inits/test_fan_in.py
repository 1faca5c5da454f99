"""Matrices that narrow with what they read; quiet ones that write to the stream and make logits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import xcompose as xc
from tests.plugins.built import built
from xcompose.api import ToLogits, ToStream


def started(model: nn.Module, **options: float) -> nn.Module:
    torch.manual_seed(1)
    built("init", "fan-in", 5, **options)(model)
    return model


def close_to(weight: torch.Tensor, std: float) -> bool:
    count = weight.numel()
    return abs(weight.std() - std) < 5 * std / (2 * count) ** 0.5 and abs(weight.mean()) < 5 * std / count**0.5


@pytest.mark.parametrize(
    ("options", "shares"),
    [({}, (1, 1, 1, 1)), ({"scale": 2.0, "stream": 1e-10, "logits": 1e-6, "tables": 5.0}, (2, 1e-10, 1e-6, 5))],
)
def test_spread_of_each_kind(options, shares):
    parts = {"linear": nn.Linear, "stream": ToStream, "logits": ToLogits}
    model = started(
        nn.ModuleDict({**{name: kind(200, 300) for name, kind in parts.items()}, "table": nn.Embedding(300, 200)}),
        **options,
    )

    for name, share in zip(parts, shares, strict=False):
        assert close_to(model[name].weight.double(), (share / 200) ** 0.5)
        assert not model[name].bias.any()
    assert close_to(model["table"].weight.double(), shares[3] / 200**0.5)


def test_tied_logits_start_as_the_table():
    table, out = nn.Embedding(300, 200), ToLogits(200, 300)
    out.weight = table.weight
    started(nn.ModuleDict({"table": table, "out": out}), logits=0.0, tables=3.0)

    assert close_to(table.weight, 3 / 200**0.5)
    assert not out.bias.any()


def test_other_parameters_stay():
    model = nn.LayerNorm(5)
    model.register_parameter("own", nn.Parameter(torch.full((3,), 7.0)))

    assert started(model).own.tolist() == [7, 7, 7]
    assert model.weight.tolist() == [1] * 5


def test_a_quiet_model_says_nothing_at_first():
    init = "fan-in(stream=1e-10, logits=1e-10, tables=5)"
    model = {"type": "decoder", "dim": 64, "layers": 2, "output": "lm(tied=false)", "init": init}
    logits = xc.build({"xcompose": 1, "model": model})(torch.randint(0, 256, (2, 9))).logits

    assert 0 < logits.abs().max() < 1e-3
