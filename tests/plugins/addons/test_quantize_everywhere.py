"""Every mechanism of the shipped specs works with stored layers, and whatever is left in float is named."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

import xcompose as xc
from xcompose.compose.build import build_model
from xcompose.compose.model import Model
from xcompose.compose.quantized import Quantized
from xcompose.compose.sites import sites, unseen
from xcompose.diagnostics import TooLong
from xcompose.spec import files
from xcompose.verify.measure import distance

pytest.importorskip("torchao", reason="pip install 'xcompose[quantize]'")

FOLDER = Path(__file__).parents[3] / "specs"
SPECS = sorted(p for kind in ("survey", "beyond") for p in (FOLDER / kind).glob("*.xc.yaml"))
SAMPLE = 5
"""So many specs are tried in every run; `-m slow` takes all."""


def output(model: Model) -> torch.Tensor:
    """Of tokens that the model takes: some, or as many as it has to have."""
    generator = torch.Generator().manual_seed(0)
    most = model.options.length or 64
    more = {}
    if model.reads_source:
        more["source"] = model.example(1, min(16, model.source_length or 16), generator)
    for n in (min(64, most), most):
        try:
            with torch.no_grad():
                return model(model.example(1, n, generator), **more).logits
        except (TooLong, ValueError):
            if n == most:
                raise
    raise AssertionError("a length was tried")


def certify(file: Path) -> None:
    whole = f"{file}@tiny" if "tiny" in files.variants_of(str(file)) else str(file)
    spec = xc.read(whole, "addons=[quantize(int8)]")
    model = build_model(spec).eval()
    (listed,) = model.addons
    named = {name for names in listed.addon.left.values() for name in names}
    kept = {f"{site.name}.weight" for site in sites(model) if not isinstance(site.module, Quantized)}

    assert named == kept | set(unseen(model))
    assert distance(output(model).double(), output(model.double())) < 1e-5


@pytest.mark.parametrize("file", random.Random(3).sample(SPECS, SAMPLE), ids=lambda file: file.name)
def test_some_specs(file):
    certify(file)


@pytest.mark.slow
@pytest.mark.parametrize("file", SPECS, ids=lambda file: file.name)
def test_every_spec(file):
    certify(file)
