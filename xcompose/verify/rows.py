"""A model as a function of its embedded rows, so that gradients can be asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from xcompose.compose.parts import Embedding
from xcompose.verify.measure import gradients, spread
from xcompose.verify.subject import Subject

ASKED = 24
"""Outputs whose gradient is taken; rows are replaced at every position."""


def from_rows(subject: Subject, seed: int) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The model as a function of embedded rows (b n c) of its own sequence, and rows (1 n c) of a random text.

    The model has one token for each row, as before; only what the embedding makes of them is replaced.
    """
    model = subject.model()
    tokens = subject.tokens(1, seed)
    caught: list[Tensor] = []

    def call(replace: Tensor | None) -> Tensor:
        batch = 1 if replace is None else replace.shape[0]
        own = tokens.expand(batch, *tokens.shape[1:]).contiguous()

        def hook(module: nn.Module, inputs: tuple[Any, ...], out: Tensor) -> Tensor:
            # The other sequence of a model with two stacks is embedded too, perhaps by the same module.
            if inputs[0].shape != own.shape or not torch.equal(inputs[0], own):
                return out
            caught.append(out.detach())
            return out if replace is None else replace

        handles = [m.register_forward_hook(hook) for m in model.modules() if isinstance(m, Embedding)]
        try:
            return last_axis(subject.call(model, own).logits)
        finally:
            for handle in handles:
                handle.remove()

    with torch.no_grad():
        call(None)
    assert caught, "the model embeds its tokens with no `Embedding`"
    return call, caught[0]


def slopes(subject: Subject, seed: int) -> tuple[Tensor, list[int]]:
    """The gradient of some outputs of the model with respect to every embedded row, and which outputs these are.

    Taken once for a subject and seed; as `measure.gradients`.
    """
    key = ("slopes", seed)
    if key not in subject.cache:
        run, x = from_rows(subject, seed)
        with torch.no_grad():
            n, width = run(x).shape[1:3]
        asked = spread(n, ASKED)
        subject.cache[key] = gradients(run, x, asked, weights_of(width, seed)), asked
    return subject.cache[key]


def weights_of(width: int, seed: int) -> Tensor:
    """(e), a random direction in which outputs are read."""
    return torch.randn(width, generator=torch.Generator().manual_seed(seed + 5), dtype=torch.float64)


def last_axis(out: Tensor) -> Tensor:
    """Outputs as rows (b n e): one answer for a whole sequence (b e) counts as its only row."""
    return out if out.dim() > 2 else out[:, None]
