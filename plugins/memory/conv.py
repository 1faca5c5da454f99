"""Convolved memory: blocks of keys and values are summed up into one slot each, by a convolution that never overlaps.

Maths    K_c = W_K [k_{c f} .. k_{c f + f - 1}] + b_K, V_c likewise;  slot c may be read from c f + f - 1 on
         of=rows: X_c = W_X [x_{c f} .. x_{c f + f - 1}] + b_X, which the attention projects as it projects tokens
         an encoder fills the last block with zeros;  a decoder has no slot for a block that is not complete
Shapes   k (b n g d);  v (b n g e);  K (b m g d), m = n / f;  W_K (g d, f g d), with per_head (g, d, f d);  W_X (c, f c)
Cost     time f (g d)^2 for each slot, n (n / f) pairs a head;  a decoder keeps n / f slots and less than f tokens
Limits   before the first block ends there is nothing to read but `null`;  its pattern counts in tokens, by the last of
         a block: pattern=dense - window(0) reads blocks that end before the query;  a null slot stands at position 0
         for rotary and has distance 0 for alibi;  of=rows projects all slots anew in every step of a decoder
Paper    Liu et al., Generating Wikipedia by Summarizing Long Sequences, ICLR 2018, arXiv:1801.10198, s. 4.2.4;
         projected keys and values are convolved, separately, with biases, as the paper's figure has it
"""

from __future__ import annotations

from typing import Literal

from einops import einsum, rearrange
from torch import Tensor, nn

from xcompose.api import (
    BlockMemory,
    Component,
    Context,
    Count,
    Matrix,
    Memory,
    Part,
    PartError,
    hookimpl,
    option,
    options,
    with_null,
)


@options
class ConvOptions:
    """Convolved memory."""

    factor: Count = option(main=True, at_least=1)
    """Tokens f in a slot: width and step of the convolution."""
    null: Literal["none", "learned", "zero"] = option("none")
    """A slot that every query may read: a learned one, or logit 0 with value 0."""
    of: Literal["keys", "rows"] = option("keys")
    """What is convolved: projected keys and values, or the rows before the projection."""
    per_head: bool = option(False)
    """Whether each key/value head is convolved by itself."""
    shared: bool = option(False)
    """Whether keys and values have one convolution."""
    pattern: Part.pattern = option("dense")
    """Which slots a query may read."""


class Conv(BlockMemory):
    """One slot for each block of tokens."""

    def __init__(self, options: ConvOptions, context: Context):
        super().__init__(options.factor, options.pattern, options.of, context)
        assert context.kv_heads is not None, "a memory is built inside an attention"
        assert context.head_dim is not None, "a memory is built inside an attention"
        g, d, e = context.kv_heads, context.head_dim, context.value_dim or context.head_dim
        refuse(options, (d, e))
        self.groups = g if options.per_head else 1
        if options.of == "rows":
            self.x = self._layer(context.dim)
        else:
            self.k = self._layer(g * d)
            self.v = self.k if options.shared else self._layer(g * e)

    def _layer(self, width: int) -> nn.Linear:
        kind = nn.Linear if self.groups == 1 else Matrix
        return kind(self.factor * width // self.groups, width)

    def summed(self, blocks: Tensor, name: str, there: Tensor | None) -> Tensor:
        layer: nn.Linear = getattr(self, name)
        if self.groups > 1:
            weight = rearrange(layer.weight.to(blocks.dtype), "(g o) (f i) -> g o f i", g=self.groups, f=self.factor)
            return einsum(blocks, weight, "b m f g i, g o f i -> b m g o") + layer.bias.unflatten(0, (self.groups, -1))
        return layer(blocks.flatten(2)).reshape(*blocks.shape[:2], *blocks.shape[3:])


def refuse(options: ConvOptions, widths: tuple[int, int]) -> None:
    """Refuse what has no meaning for what is convolved."""
    if options.of == "rows" and (options.per_head or options.shared):
        name = "per_head" if options.per_head else "shared"
        raise PartError(
            f"'{name}' needs keys and values, and the memory convolves rows", option=name, fixes=("of=keys",)
        )
    if options.shared and widths[0] != widths[1]:
        raise PartError(
            f"keys of {widths[0]} and values of {widths[1]} cannot have one convolution", option="shared",
            fixes=("shared=false",),
        )  # fmt: skip


def build(options: ConvOptions, context: Context) -> Memory | tuple[Memory, ...]:
    """The blocks, and the null slot beside them."""
    return with_null(Conv(options, context), options.null, context)


@hookimpl
def components():
    return [Component(kind="memory", name="conv", options=ConvOptions, build=build, also=("compressed", "dmca"))]
