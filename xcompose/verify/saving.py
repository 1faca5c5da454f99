"""Saving and loading is exact: every tensor bit for bit, and so every output, also into a model from another seed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import torch
from torch import nn

from xcompose.compose.parts import Embedding
from xcompose.compose.weights import load_weights, save_weights
from xcompose.diagnostics import Diagnostic
from xcompose.verify.measure import distance
from xcompose.verify.subject import Part, Subject, alone, blame, rows

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
        guilty = blame(subject.parts(), lambda part: _part(subject, loaded, part, seed))
        if guilty:
            yield from guilty
            return
        yield subject.finding(
            CODE, "a loaded model answers differently", None,
            f"outputs differ by {float((before - after).abs().max()):.2g} though every saved tensor is equal",
            hint="something that matters is no parameter, no saved buffer, and not drawn from a fixed seed",
            stage="numerics",
        )  # fmt: skip


def _part(subject: Subject, loaded: nn.Module, part: Part, seed: int) -> Diagnostic | None:
    """A finding where this part of a loaded model answers differently."""
    reads_tokens = isinstance(part.module, Embedding)
    x = subject.tokens(1, seed) if reads_tokens else rows(part, subject.n, seed, torch.float64)
    there = attrs.evolve(part, module=loaded.get_submodule(part.at))
    with torch.no_grad():
        before, after = (alone(one, subject.n, subject.elsewhere)(x) for one in (part, there))
    if torch.equal(before, after):
        return None
    lost = sorted({name for name, _ in part.module.named_buffers()} - set(part.module.state_dict()))
    return subject.finding(
        CODE, f"a loaded model answers differently in {part.place.title}", part.place,
        f"outputs differ by {distance(before, after):.2g} though every saved tensor is equal",
        measured=f"not saved: {', '.join(lost)}" if lost else "",
        hint="something that matters is no parameter, no saved buffer, and not drawn from a fixed seed",
        stage="numerics",
    )  # fmt: skip
