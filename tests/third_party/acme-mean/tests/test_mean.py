"""The memory of means keeps the contract of memories and equals its formula; its spec decodes as it is trained."""

from __future__ import annotations

from pathlib import Path

import acme_mean
import torch
from acme_mean.mean import Mean, MeanOptions

import xcompose as xc
from xcompose.api import Axis, Context
from xcompose.testing import MemoryContract

SPEC = Path(acme_mean.__file__).parent / "specs" / "mean.xc.yaml"


class TestMean(MemoryContract):
    plugin = "acme_mean.mean"
    expressions = ("acme/mean(4)", "acme/mean(factor=3)")
    examples = 4


def test_slots_are_the_means_of_their_blocks():
    b, n, g, d, f = 2, 13, 3, 5, 4
    k, v = torch.randn(2, b, n, g, d, dtype=torch.float64)
    memory = Mean(MeanOptions(factor=f, pattern=None), Context(dim=15, causal="strict", builder=lambda p, c: p))

    slots, _ = memory.slots(k, v, Axis(range(n)))

    assert slots.k.shape == (b, n // f, g, d)
    for c in range(n // f):
        torch.testing.assert_close(slots.k[:, c], k[:, c * f : c * f + f].mean(1), rtol=0, atol=1e-14)
        torch.testing.assert_close(slots.v[:, c], v[:, c * f : c * f + f].mean(1), rtol=0, atol=1e-14)


def test_the_shipped_spec_generates_as_it_is_trained():
    model = xc.build(f"{SPEC}@tiny").double().eval()
    tokens = torch.randint(256, (2, 19))
    whole = model(tokens).logits

    out = model(tokens[:, :7], state=model.start(2))
    steps = [out.logits]
    for i in range(7, 19):
        out = model(tokens[:, i : i + 1], state=out.state)
        steps.append(out.logits)

    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=0, atol=1e-9)
