"""Weights stored in few bits mean what was certified: each layer computes what its twin in double precision does, and
the stored model is saved and loaded bit for bit."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from xcompose.compose.quantized import MOST, Quantized, quantized, rounded
from xcompose.compose.weights import load_weights, plain_tensors, save_weights
from xcompose.diagnostics import Diagnostic
from xcompose.verify.measure import distance
from xcompose.verify.subject import Subject, parts_of, redraw

TWIN, SAVED = "XC076", "XC077"
CLOSE = 1e-5
"""How far single precision may take a linear layer, relative to its largest output."""
ROWS = 5


def certify(subject: Subject, seed: int = 0) -> list[Diagnostic]:
    """Findings about a model with stored weights; other models have none."""
    if not any(True for _ in quantized(subject.model())):
        return []
    model = subject.build(0).eval()
    redraw(model, seed=1)
    return [*_layers(subject, model, seed), *_saved(subject, model, seed)]


def _layers(subject: Subject, model: torch.nn.Module, seed: int) -> Iterator[Diagnostic]:
    generator = torch.Generator().manual_seed(seed)
    for path, layer in quantized(model):
        change = apart(layer, torch.randn(ROWS, layer.in_features, generator=generator))
        if change > CLOSE:
            inside = [part for part in parts_of(model, subject) if path.startswith(f"{part.at}.")]
            place = max(inside, key=lambda part: len(part.at)).place if inside else None
            yield subject.finding(
                TWIN, f"'{path}' gives something else than the numbers that it stores", place,
                f"outputs differ from those in float64 by {change:.2g}", stage="numerics",
            )  # fmt: skip
            return


def apart(layer: Quantized, x: torch.Tensor) -> float:
    """How far a layer is from its twin for rows (b i), relative to the largest output.

    Both get rows that are rounded already: else one that lies between two steps could go either way.
    """
    x, single, twin = rounded(x, MOST[8]), copy.deepcopy(layer).float(), copy.deepcopy(layer).double()
    with torch.no_grad():
        return distance(single(x).double(), twin(x.double()))


def _saved(subject: Subject, model: torch.nn.Module, seed: int) -> Iterator[Diagnostic]:
    loaded = subject.build(29).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_weights(model, path)
        load_weights(loaded, path)
    there = plain_tensors(loaded)
    changed = [name for name, tensor in plain_tensors(model).items() if not torch.equal(tensor, there[name])]
    tokens = subject.tokens(2, seed)
    with torch.no_grad():
        same = torch.equal(subject.call(model, tokens).logits, subject.call(loaded, tokens).logits)
    if changed or not same:
        label = f"'{changed[0]}' changed" if changed else "outputs differ though every saved tensor is equal"
        yield subject.finding(SAVED, "a saved model is not the one that is loaded", None, label, stage="numerics")
