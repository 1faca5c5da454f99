"""Small spaces of choices, for tests of super-networks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from xcompose.compose.model import Model
from xcompose.registry import load
from xcompose.search.slices import Table
from xcompose.search.supernet import Space, SuperModel, said, survey
from xcompose.spec import load_text

TINY = """\
xcompose: 1
let: {c: 12, h: 3, f: 20, l: 2}
model:
  type: decoder
  vocab: 13
  length: 11
  dim: ${c}
  heads: ${h}
  head_dim: 4
  position: none
  ffn: mlp(width=${f}, act=relu)
  layers: ${l}
"""
"""Choices in `let`: widths that are no multiples of each other, heads of 4."""
SIZES = {"let.c": ("8", "12"), "let.h": ("2", "3"), "let.f": ("7", "20"), "let.l": ("1", "2")}
REGISTRY = load()


def space(choices: Mapping[str, tuple[str, ...]], text: str = TINY) -> Space:
    def resolve(chosen: Mapping[str, str]):
        sets = [f"{path}={value}" for path, value in chosen.items()]
        return load_text(text, "tiny", sets, catalogue=REGISTRY.catalogue)

    return Space(choices, resolve, REGISTRY)


def supermodel(choices: Mapping[str, tuple[str, ...]] = SIZES, text: str = TINY, draws: int = 0) -> SuperModel:
    """In float64, with weights that are all different."""
    made = space(choices, text)
    model = SuperModel(made, survey(made), seed=0, draws=draws)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.double().parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def table_of(space: Space) -> Table:
    table = Table()
    for chosen in space.every():
        table.add(space.plan(chosen), said(chosen))
    return table


def largest(space: Space) -> Model:
    return space.plan({path: values[-1] for path, values in space.choices.items()})


def cells(module: nn.Module) -> dict[str, Tensor]:
    """Parameters by name, without `weights.` in front."""
    return {name.removeprefix("weights."): p for name, p in module.named_parameters()}
