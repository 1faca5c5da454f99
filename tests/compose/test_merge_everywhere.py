"""A merged model answers as the adapted one did, whatever it is made of.

One small model is drawn for each component that is installed; every linear layer of it that can be adapted is.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import torch

import xcompose as xc
from xcompose.compose.build import build_model, plan_model
from xcompose.compose.sites import sites
from xcompose.compose.tuned import merge, reason
from xcompose.registry import load
from xcompose.spec import load as load_spec
from xcompose.spec import load_text
from xcompose.verify.stages import _legal
from xcompose.verify.subject import redraw

from .stacks import drawn, installed

KINDS = ("mixer", "score", "memory", "recurrence", "position", "ffn", "residual", "embedding", "output", "model")
EACH = 6
METHODS = {
    "lora": {"type": "lora", "rank": 2}, "dora": {"type": "lora", "rank": 2, "dora": True}, "ia3": {"type": "ia3"},
}  # fmt: skip


SHIPPED = {
    ("mixer", "rows"): "survey/bigbird-etc-base", ("score", "synthesizer"): "survey/synthesizer-lm",
    ("recurrence", "compressive"): "survey/compressive-enwik8", ("output", "adaptive"): "survey/transformer-xl-wt103",
    ("memory", "linformer"): "survey/linformer-base", ("position", "axial"): "survey/reformer-enwik8",
    ("embedding", "adaptive"): "survey/transformer-xl-wt103", ("embedding", "vectors"): "survey/set-transformer",
}  # fmt: skip
"""What is seldom drawn such that it composes, and a spec that has it."""
SPECS = Path(__file__).parents[2] / "specs"


def composed(wanted):
    """The first drawn model with this component that composes, as text without add-ons, and on the meta device."""
    if shipped := SHIPPED.get((wanted.kind, wanted.name)):
        spec = load_spec(f"{SPECS / shipped}.xc.yaml@tiny", catalogue=load().catalogue)
        return attrs.evolve(spec, addons=()), plan_model(spec)
    for case in drawn(wanted, EACH):
        text = case.text.split("\naddons:")[0] + "\n"
        try:
            spec = load_text(text, "drawn", catalogue=load().catalogue)
            return spec, plan_model(spec)
        except xc.SpecError:
            continue
    raise AssertionError(f"none of {EACH} drawn models with it composes: name one that ships")


@pytest.mark.parametrize("wanted", [c for c in installed() if c.kind in KINDS], ids=lambda c: f"{c.kind}-{c.name}")
def test_merged_equals_adapted(wanted):
    spec, planned = composed(wanted)
    targets = sorted({path for site in sites(planned) if reason(site) is None for path in site.paths})
    n = _legal(planned, 11)
    for method in METHODS.values():
        adapted = with_addon(spec, {**method, "targets": targets})
        redraw(adapted, 1)
        adapted.eval()
        x = adapted.example(2, n, torch.Generator().manual_seed(3))
        more = {"source": adapted.example(2, 7, torch.Generator().manual_seed(4))} if adapted.reads_source else {}
        with torch.no_grad():
            before = adapted(x, **more).logits
            merge(adapted)
            after = adapted(x, **more).logits

        torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)
        assert list(adapted.state_dict()) == list(planned.state_dict())


def with_addon(spec, addon):
    model = {"type": "decoder", "dim": 8, "heads": 1, "layers": 1}
    listed = xc.read({"xcompose": 1, "model": model, "addons": [addon]})
    return build_model(attrs.evolve(spec, addons=listed.addons), dtype=torch.float64)
