"""Matrices from a normal distribution that narrows with the width of what they read, with shares of their own for those
that write to the stream and those that make logits.

Maths    W ~ N(0, s / fan-in), s = scale;  s = stream for the last layers of mixers and feed-forward networks;
         s = logits for the last layer of an output;  tables of tokens and places ~ N(0, tables^2 / c);  b = 0 for
         the biases of linear layers
Shapes   any
Cost     none
Limits   shares are of the variance, not of the deviation; logits that are tied start as the table does; norms,
         convolutions and bare parameters keep what their own part gave them
Paper    Ho et al., Axial Attention in Multidimensional Transformers, 2019, arXiv:1912.12180, released code, which cuts
         the tails off: stream = logits = 1e-10, tables = 5
"""

from __future__ import annotations

from torch import nn

from xcompose.api import Component, Context, Init, Real, ToLogits, ToStream, hookimpl, option, options


@options
class FanInOptions:
    """Options of the start."""

    scale: Real = option(1.0, main=True, above=0)
    """Variance of a matrix with one input."""
    stream: Real = option(1.0, at_least=0)
    """The same for matrices that write to the stream."""
    logits: Real = option(1.0, at_least=0)
    """The same for matrices that make logits."""
    tables: Real = option(1.0, at_least=0)
    """Standard deviation of a table with one column."""


class FanIn(Init):
    def __init__(self, options: FanInOptions, context: Context):
        self.options = options

    def __call__(self, model: nn.Module) -> None:
        tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=self.options.tables * module.embedding_dim**-0.5)
            elif isinstance(module, nn.Linear):
                if id(module.weight) not in tables:
                    nn.init.normal_(module.weight, std=(self._share(module) / module.in_features) ** 0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def _share(self, module: nn.Linear) -> float:
        if isinstance(module, ToStream):
            return self.options.stream
        return self.options.logits if isinstance(module, ToLogits) else self.options.scale


@hookimpl
def components():
    return [Component(kind="init", name="fan-in", options=FanInOptions, build=FanIn, also=("variance-scaling",))]
