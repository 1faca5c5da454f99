"""What the tests of adapters have in common: a small decoder, a few steps of training, a fingerprint."""

from __future__ import annotations

import pytest
import torch

import xcompose as xc
from xcompose.compose.adapter_files import base_hash
from xcompose.train.learner import groups

MODEL = {"type": "decoder", "dim": 24, "heads": 2, "vocab": 17, "layers": 3}


def spec_of(*addons, **keys):
    return {"xcompose": 1, "model": {**MODEL, **keys}, "addons": list(addons)}


def built(*addons, seed: int = 0, **keys):
    return xc.build(spec_of(*addons, **keys), seed=seed, dtype=torch.float64)


def refused(*addons, **keys):
    with pytest.raises(xc.SpecError) as caught:
        built(*addons, **keys)
    (found,) = caught.value.diagnostics
    return found


def tokens() -> torch.Tensor:
    return torch.randint(0, 17, (2, 7), generator=torch.Generator().manual_seed(4))


def frozen_hash(model) -> str:
    return base_hash(model)


def train(model, steps: int = 5) -> None:
    """A few steps, with the optimizer that training makes."""
    optimizer = torch.optim.Adam(groups(model), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(tokens()).logits.square().mean().backward()
        optimizer.step()
