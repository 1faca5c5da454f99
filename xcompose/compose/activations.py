"""The non-linear functions that feed-forward networks offer, by the word a spec uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

Activation: TypeAlias = Literal["gelu", "gelu-tanh", "quick-gelu", "relu", "relu2", "silu", "tanh", "identity"]


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)  # the constant of the GELU paper (arXiv:1606.08415, section 2)


def _relu2(x: Tensor) -> Tensor:
    return F.relu(x).square()


def _identity(x: Tensor) -> Tensor:
    return x


_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu-tanh": _gelu_tanh,
    "quick-gelu": _quick_gelu,
    "relu": F.relu,
    "relu2": _relu2,
    "silu": F.silu,
    "tanh": torch.tanh,
    "identity": _identity,
}


def activation(name: Activation) -> Callable[[Tensor], Tensor]:
    """The function of that name, element by element."""
    return _FUNCTIONS[name]
