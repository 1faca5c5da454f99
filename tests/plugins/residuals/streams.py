"""Branches that are easy to write down: a linear map with a tanh."""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor, nn

from tests.compose.fakes import node
from tests.plugins.built import context
from xcompose.api import Branch, Residual

C = 5


def residual(
    name: str, branches: int = 2, norm: str = "layer", roles: tuple[str, ...] = (), **options: Any
) -> Residual:
    composer, around = context(C, branches=branches, roles=roles)
    around = attrs.evolve(around, norm=composer.options(node("norm", norm)))
    made = composer.build(composer.options(node("residual", name, **options)), around).double()
    with torch.no_grad():
        for i, p in enumerate(made.parameters()):
            p.add_(torch.arange(C) / (7 + i))
    return made


def branches(count: int = 2, seed: int = 3) -> list[Branch]:
    torch.manual_seed(seed)
    layers = [nn.Linear(C, C).double() for _ in range(count)]

    def run(layer: nn.Module):
        def branch(x: Tensor) -> tuple[Tensor, Any]:
            y = torch.tanh(layer(x))
            return y, {"seen": x.detach().clone(), "loss": y.square().mean()}

        return branch

    return [Branch(run(layer), (layer,)) for layer in layers]
