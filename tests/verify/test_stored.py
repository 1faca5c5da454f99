"""The certificate of stored weights finds layers that compute something else, and files that lose something."""

from __future__ import annotations

import pytest
import torch

import xcompose as xc
from xcompose import registry
from xcompose.compose.build import plan_model
from xcompose.compose.quantized import Quantized, Scheme
from xcompose.verify import stored
from xcompose.verify.runner import Checker
from xcompose.verify.stages import subject_of
from xcompose.verify.subject import Subject

pytest.importorskip("torchao", reason="pip install 'xcompose[quantize]'")

MODEL = {"type": "decoder", "dim": 16, "heads": 2, "vocab": 17, "layers": 1}


def subject(*addons: str) -> Subject:
    spec = xc.read({"xcompose": 1, "model": MODEL, "addons": list(addons)})
    return subject_of(spec, plan_model(spec), 7, Checker(registry.load(), 0, ()), "spec")


@pytest.mark.parametrize("to", ["int8", "int8-dynamic", "int4, group=8"])
def test_sound_layers(to):
    assert stored.certify(subject(f"quantize({to})")) == []


def test_models_without_stored_weights_have_nothing_to_show():
    assert stored.certify(subject()) == []


def test_a_layer_that_computes_something_else(monkeypatch):
    forward = Quantized.forward

    def wrong(self: Quantized, input: torch.Tensor) -> torch.Tensor:
        return forward(self, input) * (1 if self.exact else 1.001)

    monkeypatch.setattr(Quantized, "forward", wrong)
    (found,) = stored.certify(subject("quantize(int8)"))

    assert found.code == "XC076"
    assert found.message == "'stack.layers.0.mixer.q' gives something else than the numbers that it stores"
    assert found.label.startswith("outputs differ from those in float64 by 0.0")


def test_a_file_that_loses_something(monkeypatch):
    monkeypatch.setattr(stored, "load_weights", lambda model, path: None)
    (found,) = stored.certify(subject("quantize(int8)"))

    assert found.code == "XC077"
    assert found.message == "a saved model is not the one that is loaded"
    assert found.label == "'embedding.tokens.weight' changed"


def test_a_layer_that_drifts_is_measured():
    layer = Quantized(torch.nn.Linear(8, 3), Scheme(8, dynamic=True))

    assert stored.apart(layer, torch.randn(4, 8)) < 1e-6
