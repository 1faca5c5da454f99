"""The keys of `model`, with their defaults: what every model type has (LANGUAGE section 5)."""

from __future__ import annotations

from typing import Literal

from xcompose.schema import Blocks, Count, Layers, Length, Part, Real, option, options


@options
class StackOptions:
    """What a layer may write, too. A model type that has two stacks repeats these in its sections."""

    mixer: Part.mixer = option("attention", layer=True)
    """How information moves along the sequence."""
    ffn: Part.ffn = option("mlp(4x)", layer=True)
    """What happens to each row by itself."""
    norm: Part.norm = option("layer", layer=True)
    """How rows are normalised."""
    residual: Part.residual = option("pre-norm", layer=True)
    """How sub-layers are added to the stream."""
    position: Part.position = option("rotary", layer=True)
    """How the model knows where a token is; a layer changes only what acts inside attention."""
    recurrence: Part.recurrence = option("none", layer=True)
    """What is carried from one segment to the next."""
    heads: Count | None = option(None, layer=True, at_least=1)
    """Number of heads h; `dim`/64 if not written."""
    kv_heads: Count | None = option(None, layer=True, at_least=1)
    """Key/value heads g; `heads` if not written."""
    head_dim: Count | None = option(None, layer=True, at_least=1)
    """Width of a head d; `dim`/`heads` if not written."""
    bias: bool = option(True, layer=True)
    """Whether the projections have biases."""
    dropout: Real = option(0.0, layer=True, at_least=0, at_most=1)
    """After the embedding and every sub-layer."""


@options
class ModelOptions(StackOptions):
    """What every model type has. `type` names the component itself and is no option."""

    dim: Count = option(at_least=1)
    """Model width c."""
    vocab: Count = option(256, at_least=1)
    """Number of tokens v; 256 are bytes."""
    length: Length | None = option(None, at_least=1)
    """The longest sequence, for components that need to know it."""
    grid: tuple[Length, ...] | None = option(None, at_least=1)
    """Sides of the grid that the sequence fills, row by row; its size is the length where none is written."""
    grid_block: tuple[Length, ...] | None = option(None, at_least=1)
    """Sides of the blocks in which the grid is filled: block by block, each of them row by row."""
    embedding: Part.embedding = option("tokens")
    """Tokens to rows."""
    init: Part.init = option("normal(0.02)")
    """How weights start."""
    causal: Literal["strict", "value"] = option("strict")
    """`value` admits mechanisms that choose by the future but never read it."""


@options
class OneStackOptions(ModelOptions):
    """A model made of one stack."""

    layers: Layers = option()
    """What the model is made of."""
    blocks: Blocks = option(None)
    """Layers with a name."""
