"""A part built by name, in double precision, and tensors to give it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.compose.fakes import node, registry
from xcompose.api import Context
from xcompose.compose.composer import Composer


def context(dim: int, **facts: Any) -> tuple[Composer, Context]:
    composer = Composer(registry())
    facts = {"causal": "none", "vocab": 17, **facts}
    return composer, Context(dim=dim, builder=composer.build, namer=composer.name, **facts)


def built(kind: str, name: str, dim: int, /, facts: dict[str, Any] | None = None, **options: Any) -> Any:
    """The part in a model of width `dim`; `facts` change its context, `options` are its own."""
    composer, around = context(dim, **(facts or {}))
    torch.manual_seed(2)
    made = composer.build(composer.options(node(kind, name, **options)), around)
    return made.double() if isinstance(made, torch.nn.Module) else made


def leaf(*shape: int, seed: int = 5) -> Tensor:
    """Normal numbers that want a gradient."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()
