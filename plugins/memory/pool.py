"""Pooled memory: blocks of keys and values become one slot each, by their mean or their maximum.

Maths    K_c = mean(k_{c f} .. k_{c f + f - 1}), or the maximum of each channel; V_c likewise
         slot c may be read from c f + f - 1 on
         of=rows: of the rows before the projection, and the attention projects the slots
         an encoder pools what there is of its last block;  a decoder has no slot for a block that is not complete
Shapes   k (b n g d);  v (b n g e);  K (b m g d), m = n / f
Cost     n (n / f) pairs a head, no parameters;  a decoder keeps n / f slots and less than f tokens
Limits   before the first block ends there is nothing to read but `null`;  its pattern counts in tokens, by the last of
         a block;  a null slot stands at position 0 for rotary and has distance 0 for alibi
Paper    Wang et al., Linformer, arXiv:2006.04768, s. 4 (general projections);  of rows, in a decoder: the
         memory-compressed layer of Mesh-TensorFlow, Shazeer et al., NeurIPS 2018, arXiv:1811.02084
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xcompose.api import BlockMemory, Component, Context, Count, Memory, Part, hookimpl, option, options, with_null


@options
class PoolOptions:
    """Pooled memory."""

    factor: Count = option(main=True, at_least=1)
    """Tokens f in a slot."""
    by: Literal["mean", "max"] = option("mean")
    """What a block becomes: its mean, or the maximum of each channel."""
    null: Literal["none", "learned", "zero"] = option("none")
    """A slot that every query may read: a learned one, or logit 0 with value 0."""
    of: Literal["keys", "rows"] = option("keys")
    """What is pooled: projected keys and values, or the rows before the projection."""
    pattern: Part.pattern = option("dense")
    """Which slots a query may read."""


class Pool(BlockMemory):
    """One slot for each block of tokens."""

    def __init__(self, options: PoolOptions, context: Context):
        super().__init__(options.factor, options.pattern, options.of, context)
        self.by = options.by

    def summed(self, blocks: Tensor, name: str, there: Tensor | None) -> Tensor:
        if there is None:
            return blocks.mean(2) if self.by == "mean" else blocks.amax(2)
        there = there.reshape(*there.shape, *[1] * (blocks.ndim - 3))
        if self.by == "mean":
            return blocks.sum(2) / there.sum(2).clamp(min=1)
        found = blocks.masked_fill(~there, -torch.inf).amax(2)
        return torch.where(there.any(2), found, 0.0)


def build(options: PoolOptions, context: Context) -> Memory | tuple[Memory, ...]:
    """The blocks, and the null slot beside them."""
    return with_null(Pool(options, context), options.null, context)


@hookimpl
def components():
    return [Component(kind="memory", name="pool", options=PoolOptions, build=build, also=("pooled",))]
