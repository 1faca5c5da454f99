"""Matrices from a normal distribution, biases 0.

Maths    W ~ N(0, std^2) for the weights of linear layers and embeddings; b = 0 for the biases of linear layers
Shapes   any
Cost     none
Limits   norms, convolutions and bare parameters keep what their own part gave them
Paper    Radford et al., Improving Language Understanding by Generative Pre-Training, 2018, s. 4.1
"""

from __future__ import annotations

from torch import nn

from xcompose.api import Component, Context, Init, Real, hookimpl, option, options


@options
class NormalOptions:
    """Options of the normal start."""

    std: Real = option(0.02, main=True, above=0)
    """Standard deviation."""


class Normal(Init):
    def __init__(self, options: NormalOptions, context: Context):
        self.std = options.std

    def __call__(self, model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=self.std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)


@hookimpl
def components():
    return [Component(kind="init", name="normal", options=NormalOptions, build=Normal)]
