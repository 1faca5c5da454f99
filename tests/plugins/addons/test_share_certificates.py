"""Shared layers pass every certificate, whatever they are made of."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from xcompose.diagnostics import render
from xcompose.verify.runner import check_files

MODEL = {"type": "decoder", "dim": 16, "heads": 2, "vocab": 17, "layers": 2, "position": "none"}
MECHANISMS = {
    "window": {"mixer": "attention(pattern=window(3))"},
    "linear": {"mixer": "attention(score=linear)"},
    "favor": {"mixer": "attention(score=favor(8))"},
    "segments": {"recurrence": "segments(4, memory=4)", "position": "transformer-xl"},
    "compressive": {"recurrence": "compressive(4, memory=4, compressed=4, rate=2)", "position": "transformer-xl"},
    "routing": {"mixer": "attention(pattern=routing(3, window=4))"},
    "lsh": {"mixer": "attention(pattern=lsh(buckets=4, chunk=2), shared_qk=true)"},
    "cross": {"type": "encoder-decoder", "layers": None, "encoder": {"layers": 2}, "decoder": {"layers": 2}},
}
"""A pattern, kernels, recurrences, learned patterns, attention to a source: keys of a model."""
DECODES = {"causal": "strict", "decode": "exact", "deterministic": True}


def findings(folder: Path, addon: str, **keys) -> str:
    model = {name: value for name, value in {**MODEL, **keys}.items() if value is not None}
    spec = {"xcompose": 1, "model": model, "addons": [addon], "expect": DECODES}
    place = folder / "shared.xc.yaml"
    place.write_text(yaml.safe_dump(spec, sort_keys=False))
    return render.text(check_files([place]).findings)


@pytest.mark.parametrize("name", MECHANISMS)
def test_shared_layers(name, tmp_path):
    assert findings(tmp_path, "share(all)", **MECHANISMS[name]) == ""


@pytest.mark.parametrize("name", ["window", "favor", "segments", "lsh", "cross"])
def test_universal_layers(name, tmp_path):
    """Where attention has a position of its own, a step adds none."""
    own = "position" in MECHANISMS[name]

    assert findings(tmp_path, "universal(positions=false)" if own else "universal", **MECHANISMS[name]) == ""


@pytest.mark.parametrize("addon", ["share(ffn)", "share(groups=2, order=cycle)"])
def test_a_part_of_each_layer_or_layers_in_turns(addon, tmp_path):
    assert findings(tmp_path, addon, layers=4, mixer="attention(pattern=window(3))") == ""


@pytest.mark.parametrize("residual", ["post-norm", "reversible"])
def test_every_residual(residual, tmp_path):
    assert findings(tmp_path, "share(all)", residual=residual) == ""
