"""A model of shared layers beside one whose layers have copies of the same weights."""

from __future__ import annotations

import torch

from xcompose.compose.model import Model


def twin(shared: Model, plain: Model) -> Model:
    """Give a model without sharing the weights and buffers of one with it, each layer its own copy."""
    state = shared.state_dict()
    assert plain.state_dict().keys() == state.keys()
    plain.load_state_dict(state)
    return plain


def same_gradients(shared: Model, plain: Model) -> int:
    """Compare the gradient of each shared parameter with the sum over all copies of it.

    Returns:
        How many parameters were compared.
    """
    sums: dict[int, torch.Tensor] = {}
    for name, parameter in plain.named_parameters():
        key = id(shared.get_parameter(name))
        grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        sums[key] = sums[key] + grad if key in sums else grad
    for parameter in shared.parameters():
        grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(grad, sums[id(parameter)], rtol=1e-10, atol=1e-10)
    return sum(bool(total.any()) for total in sums.values())
