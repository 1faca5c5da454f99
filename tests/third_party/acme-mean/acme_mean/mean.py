r"""A memory of means: every block of `factor` tokens becomes one slot, the mean of its keys and of its values.

Maths    k~_c = 1/f sum_{j=cf}^{cf+f-1} k_j,  v~_c likewise;  query i reads slot c when (c+1)f - 1 <= i
Shapes   k (b n g d) to (b m g d), v (b n g e) to (b m g e), m = n/f rounded down
Cost     n/f slots for each query: O(n^2 / f) pairs, no parameters
Limits   the unfinished block is not seen; put a window beside it
Paper    Liu et al., Generating Wikipedia by Summarizing Long Sequences, arXiv:1801.10198, s. 4.2 (with a convolution)
"""

from __future__ import annotations

import numpy as np
import torch
from einops import reduce

from xcompose.api import Component, Context, Count, Memory, Part, Slots, Spans, hookimpl, option, options


@options
class MeanOptions:
    """Options of the mean memory."""

    factor: Count = option(main=True, at_least=1)
    """Tokens in a block, f."""
    pattern: Part.pattern = option("dense")
    """Which slots a query may read."""


class Mean(Memory):
    """Mean-pooled blocks of keys and values."""

    def __init__(self, options: MeanOptions, context: Context):
        super().__init__()
        self.factor = options.factor
        self.pattern = context.build(options.pattern)

    def spans(self, n: int) -> Spans:
        start = np.arange(n // self.factor) * self.factor
        end = start + self.factor - 1
        return Spans(start, end, end)

    def slots(self, k, v, axis):
        f, m = self.factor, k.shape[1] // self.factor
        start, end, at = (torch.as_tensor(t, device=k.device) for t in self.spans(k.shape[1]))
        pool = {"pattern": "b (m f) g d -> b m g d", "reduction": "mean", "f": f}
        log_weight = None
        if axis.valid is not None:
            whole = reduce(axis.valid[:, : m * f], "b (m f) -> b m", "min", f=f)
            log_weight = torch.zeros_like(whole, dtype=k.dtype).masked_fill(~whole, float("-inf"))
        slots = Slots(
            k=reduce(k[:, : m * f], **pool),
            v=reduce(v[:, : m * f], **pool),
            at=at,
            start=start,
            end=end,
            log_weight=log_weight,
        )
        return slots, {}


@hookimpl
def components():
    return [Component(kind="memory", name="mean", options=MeanOptions, build=Mean, also=("mean-pool",))]


@hookimpl
def specs():
    return ["acme_mean"]
