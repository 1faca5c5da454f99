"""One answer for a set: learned seeds read all rows, may talk to each other, and are classified together.

Maths    S' = norm(A + rFF(A)), A = norm(S + MHA(S, before(Z))): the pooling by attention, PMA_k(Z) = MAB(S, rFF(Z));
         then `layers` times SAB(S') = MAB(S', S');  logits = W concat_k(S') + b
Shapes   Z (b n c);  S (k c), learned;  W (classes kc);  logits (b classes)
Cost     k n pairs a head, and k^2 for each layer on the seeds
Limits   with one seed a layer on the seeds has nothing to weigh: its queries and keys would get no gradient;  in a
         decoder it sees the rows of one call only;  a sequence without rows gets zeros;  losses of its mixers are
         not passed on
Paper    Lee et al., Set Transformer, ICML 2019, arXiv:1810.00825, s. 3.2
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xcompose.api import (
    Axis,
    Component,
    Context,
    Count,
    InnerLayer,
    Output,
    Part,
    PartError,
    Source,
    ToLogits,
    hookimpl,
    option,
    options,
)


@options
class PooledClassifyOptions:
    """Options of the classifier."""

    classes: Count = option(main=True, at_least=1)
    """Number of classes."""
    seeds: Count = option(1, at_least=1)
    """Number of learned seeds k."""
    layers: Count = option(0, at_least=0)
    """Layers in which the seeds read each other."""
    before: Part.ffn = option("single")
    """What is done to each row before the seeds read it; `none` in the authors' code."""
    mixer: Part.mixer = option("attention")
    """How the seeds read the rows, and each other."""
    ffn: Part.ffn = option("single", inherited=True)
    """What happens to each seed then; as in the model if not written."""
    norm: Part.norm = option("layer", inherited=True)
    """How seeds are normalised; as in the model if not written."""
    residual: Part.residual = option("post-norm", inherited=True)
    """How both are added to the seeds; as in the model if not written."""


class PooledClassify(Output):
    each_row = False
    predicts_tokens = False

    def __init__(self, options: PooledClassifyOptions, context: Context):
        super().__init__()
        if options.seeds == 1 and options.layers:
            raise PartError(
                f"{options.layers} layers on a single seed have nothing to weigh", option="layers",
                label="their queries and keys would never get a gradient", fixes=("layers=0", "seeds=4"),
            )  # fmt: skip
        self.seeds = nn.Parameter(nn.init.xavier_uniform_(torch.empty(options.seeds, context.dim)))
        self.before = context.build(options.before)

        def layer(cross: bool) -> InnerLayer:
            return InnerLayer(
                context, mixer=options.mixer, ffn=options.ffn, norm=options.norm, residual=options.residual, cross=cross
            )

        self.pool = layer(cross=True)
        self.talk = nn.ModuleList(layer(cross=False) for _ in range(options.layers))
        self.linear = ToLogits(options.seeds * context.dim, options.classes)

    def extra_repr(self) -> str:
        count = f"{len(self.seeds)} seed" + "s" * (len(self.seeds) > 1)
        return f"{count}, {self.linear.in_features} → {self.linear.out_features}"

    def forward(self, x: Tensor, axis: Axis) -> Tensor:
        k = len(self.seeds)
        own = Axis(range(k), total=k)
        rows = x if self.before is None else self.before(x)
        n = x.shape[1]
        y, _ = self.pool(self.seeds.expand(len(x), -1, -1), own, Source(rows, Axis(range(n), axis.valid, total=n)))
        for layer in self.talk:
            y, _ = layer(y, own)
        return self.linear(y.flatten(1))


@hookimpl
def components():
    return [
        Component(
            kind="output", name="pooled-classify", options=PooledClassifyOptions, build=PooledClassify, also=("pma",)
        )
    ]
