"""A model that works in bfloat16: products of matrices in 8 bits, what must not be rounded in 24.

Maths    A B -> sum_k r(a_ik) r(b_kj), added up in float32, the sum rounded again;  r rounds to 8 significant bits: an
         error of 2^-9 of a number at most, where float32 has 2^-24;  its range is that of float32
         weights=true: matrices W become r(W), once; they are learnt in float32
Shapes   unchanged
Cost     where the processor knows bf16, products take half the time and their factors half the room; elsewhere they are
         slower than in float32.  Caches of keys and values take half the bytes; running sums do not.  With weights=true
         a matrix takes 2 bytes a number, a vector 4
Limits   float32 stays: the stream between layers, softmax and its sums, norms, kernel sums and random features,
         Sinkhorn's iterations, hashes and centroids, losses, logits once the last product is made.  Choices by contents
         may fall otherwise, because queries and keys are rounded before they are compared.  A model in float64 stays
         in float64.  fp16 is refused
Paper    Kalamkar et al., A Study of BFLOAT16 for Deep Learning Training, 2019, arXiv:1905.12322;  weights in float32
         beside them: Micikevicius et al., Mixed Precision Training, ICLR 2018, arXiv:1710.03740, s. 3.1
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from xcompose.api import Addon, Component, Context, Model, PartError, hookimpl, option, options, store_in, work_in


@options
class PrecisionOptions:
    """Options of precision."""

    to: Literal["bf16", "float32", "fp16"] = option("bf16", main=True)
    """What products of matrices are computed in. float32: as without this add-on, for searches."""
    weights: bool = option(False)
    """Whether matrices are stored in it, too, when training is over."""


class Precision(Addon):
    rung = "numbers"

    def __init__(self, options: PrecisionOptions, context: Context):
        if options.to == "fp16":
            raise PartError(
                "precision 'fp16' is refused", option="to",
                label="its numbers end at 65504 and below 6e-8: logits overflow, and gradients vanish unless the loss "
                "is scaled, which is not done here",
                fixes=("bf16: as many bytes, and the range of float32",),
            )  # fmt: skip
        if options.to == "float32" and options.weights:
            raise PartError(
                "weights are stored in float32 anyway", option="weights", fixes=("weights=false", "to=bf16")
            )
        self.low, self.weights = options.to == "bf16", options.weights

    def apply(self, model: Model) -> None:  # type: ignore[override]
        self.begin(model)
        self.finish(model)

    def begin(self, model: Model) -> None:  # type: ignore[override]
        if self.low:
            work_in(model, torch.bfloat16)

    def finish(self, model: Model) -> None:  # type: ignore[override]
        if self.weights:
            store_in(model, torch.bfloat16)

    def describe(self, model: Model) -> Sequence[str]:
        if not self.weights:
            return ()
        vectors = [p for p in model.parameters() if p.ndim < 2]
        kept = sum(p.numel() for p in vectors)
        stay = " and ".join(sorted({str(p.dtype).removeprefix("torch.") for p in vectors}))
        return (f"precision: vectors, {kept:,} numbers in norms and biases, stay in {stay}",)


@hookimpl
def components():
    return [
        Component(
            kind="addon", name="precision", options=PrecisionOptions, build=Precision, facts={"stage": "model"},
            also=("mixed-precision", "amp"),
        )
    ]  # fmt: skip
