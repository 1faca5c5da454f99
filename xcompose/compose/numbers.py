"""In which numbers a model works, and in which its weights are stored."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from xcompose.compose.model import Model


def work_in(model: Model, dtype: torch.dtype) -> None:
    """Let a model compute products of matrices in this type, and remember in it; see `Model.works_in`."""
    model.works_in = dtype


def store_in(model: nn.Module, dtype: torch.dtype) -> None:
    """Round the matrices of a model to this type, in place, so that tied ones stay tied.

    Vectors (norms, biases) and what is counted (centroids, random features, hashes) stay as they are: they are few, and
    what they are added to or chosen by has more bits. So does a model in double precision.
    """
    for parameter in matrices(model):
        parameter.data = parameter.data.to(dtype)


def matrices(model: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters in single precision with more than one axis, each once, that are stored as they are."""
    for parameter in tuple(model.parameters()):
        plain = not is_traceable_wrapper_subclass(parameter)
        if parameter.ndim > 1 and parameter.dtype == torch.float32 and plain:
            yield parameter
