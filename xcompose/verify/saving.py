"""Saving and loading is exact: every tensor bit for bit, and so every output, also into a model from another seed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from xcompose.compose.weights import load_weights, save_weights
from xcompose.diagnostics import Diagnostic
from xcompose.verify.subject import Subject

CODE = "XC077"


def certify(subject: Subject, seed: int = 0) -> list[Diagnostic]:
    """Findings about tensors that a saved model loses or changes."""
    saved = subject.model()
    loaded = subject.build(29).double().eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_weights(saved, path)
        load_weights(loaded, path)
    return list(_differences(subject, saved, loaded, seed))


def _differences(subject: Subject, saved: nn.Module, loaded: nn.Module, seed: int) -> Iterator[Diagnostic]:
    there = dict(loaded.state_dict())
    for name, tensor in saved.state_dict().items():
        if not torch.equal(tensor, there[name]):
            changed = int((tensor != there[name]).sum())
            yield subject.finding(
                CODE, "a saved model is not the one that is loaded", None,
                f"'{name}' changed in {changed} of {tensor.numel()} places", stage="numerics",
            )  # fmt: skip
            return
    tokens = subject.tokens(2, seed)
    with torch.no_grad():
        before, after = subject.call(saved, tokens).logits, subject.call(loaded, tokens).logits
    if not torch.equal(before, after):
        yield subject.finding(
            CODE, "a loaded model answers differently", None,
            f"outputs differ by {float((before - after).abs().max()):.2g} though every saved tensor is equal",
            hint="something that matters is no parameter, no saved buffer, and not drawn from a fixed seed",
            stage="numerics",
        )  # fmt: skip
