"""Matrices from a normal distribution that narrows with their width, quieter where they write to the stream of a deep
model; logits start at zero.

Maths    W ~ N(0, s^2) with s = gain / sqrt(fan-in) for linear layers, s = gain / sqrt(c) for tables of tokens, and
         s = gain / sqrt(c t) for the t tables of one position, c the width of a table; the matrices that write to the
         stream of a stack of N layers (out projections, last layers of feed-forward networks): s / sqrt(2 N);
         logits: W = 0;  b = 0 for the biases of linear layers
Shapes   any
Cost     none
Limits   logits are zero only where their weights are their own: tied=false. Norms, convolutions and bare parameters
         keep what their own part gave them. The paper writes N(0, gain / sqrt(fan-in)): read as a standard deviation
Paper    Child et al., Generating Long Sequences with Sparse Transformers, 2019, arXiv:1904.10509, s. 5.2, 6
"""

from __future__ import annotations

from torch import Tensor, nn

from xcompose.api import (
    Component,
    Context,
    Init,
    PartError,
    Position,
    Real,
    Stack,
    ToLogits,
    ToStream,
    hookimpl,
    option,
    options,
)


@options
class SparseTransformerOptions:
    """Options of the start."""

    gain: Real = option(0.125, main=True, above=0)
    """Standard deviation of a matrix with one input."""


class SparseTransformer(Init):
    def __init__(self, options: SparseTransformerOptions, context: Context):
        self.gain = options.gain

    def __call__(self, model: nn.Module) -> None:
        """Set the parameters.

        Raises:
            PartError: the weights of the logits are those of the embedding, which cannot start at zero.
        """
        tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        scale = quieter(model)
        for module in model.modules():
            if isinstance(module, ToLogits):
                if id(module.weight) in tables:
                    raise PartError(
                        "init 'sparse-transformer' starts logits at zero, and here they are tied to the embedding",
                        label="rows of zeros would be the same for every token", fixes=("output: lm(tied=false)",),
                    )  # fmt: skip
                nn.init.zeros_(module.weight)
            elif isinstance(module, nn.Linear):
                self._draw(module.weight, module.in_features, scale.get(id(module), 1.0))
            elif isinstance(module, nn.Embedding):
                self._draw(module.weight, module.embedding_dim, scale.get(id(module), 1.0))
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def _draw(self, weight: Tensor, inputs: int, scale: float) -> None:
        nn.init.normal_(weight, std=self.gain * inputs**-0.5 * scale)


def quieter(model: nn.Module) -> dict[int, float]:
    """By identity: the factor of what writes to a stream, and of the tables of a position that has several."""
    found: dict[int, float] = {}
    for module in model.modules():
        if isinstance(module, Stack):
            writers = [inner for inner in module.modules() if isinstance(inner, ToStream)]
            found |= {id(writer): (2 * len(module.layers)) ** -0.5 for writer in writers}
        if isinstance(module, Position):
            own = [inner for inner in module.modules() if isinstance(inner, nn.Embedding)]
            found |= {id(table): len(own) ** -0.5 for table in own}
    return found


@hookimpl
def components():
    return [
        Component(kind="init", name="sparse-transformer", options=SparseTransformerOptions, build=SparseTransformer)
    ]
