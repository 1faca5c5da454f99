"""An encoder-decoder: one stack reads a source, a causal stack reads its own tokens and the source.

Maths    s = encoder(E[source]);  x = decoder(E[t], s), each of its layers: mixer, cross mixer over s, feed-forward
         logits = output(norm(x))
Shapes   source (b m);  s (b m c);  tokens (b n);  x (b n c);  logits (b n v)
Cost     the sum of its layers; the source is read once, also when decoding
Limits   one vocabulary and one embedding for both sides; an output that is tied uses its table, too
Paper    Vaswani et al., Attention Is All You Need, NIPS 2017, arXiv:1706.03762, s. 3.1
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from torch import Tensor, nn

from xcompose.api import (
    Axis,
    Beside,
    Component,
    Context,
    Findings,
    Model,
    ModelOptions,
    Part,
    Ran,
    Section,
    Source,
    Stack,
    grid_of,
    hookimpl,
    option,
    options,
)


@options
class EncoderDecoderOptions(ModelOptions):
    """Options of an encoder-decoder."""

    cross: Part.mixer = option("attention", layer=True)
    """How a layer of the decoder reads the source."""
    encoder: Section = option()
    """The stack that reads the source."""
    decoder: Section = option()
    """The stack that reads its own tokens and the source."""
    output: Part.output = option("lm")
    """What is made of the decoder's last rows."""


class Side(nn.Module):
    """One of the two stacks, with what acts at its embedding."""

    def __init__(self, section: Any, context: Context, cross: bool):
        super().__init__()
        own = section.options
        grid = grid_of(own["grid"], own["grid_block"])
        context = attrs.evolve(context, length=own["length"], grid=grid, cache={})
        findings = Findings()
        with findings:
            self.position = context.position(own["position"])
        with findings:
            self.stack = Stack(own["layers"], context, own["norm"], cross=cross)
        findings.settle()
        self.dropout = nn.Dropout(own["dropout"])


class EncoderDecoder(Model):
    decodes = True
    reads_source = True

    def __init__(self, options: EncoderDecoderOptions, context: Context):
        super().__init__(options, context)
        findings = Findings()
        with findings:
            self.embedding = context.build(options.embedding)
            self.refuse_prefix(options.embedding, context, findings)
            context = attrs.evolve(context, narrow=self.embedding.narrow)
        with findings:
            self.encoder = Side(options.encoder, attrs.evolve(context, causal="none"), cross=False)
        self.source_length = options.encoder.options["length"]
        reading = attrs.evolve(context, causal=options.causal, source_length=self.source_length)
        with findings:
            self.decoder = Side(options.decoder, reading, cross=True)
        findings.settle()
        self.answer(options.output, context, self.decoder.stack.width)

    def stacks(self) -> Mapping[str, Stack]:
        return {"encoder": self.encoder.stack, "decoder": self.decoder.stack}

    def decoding(self) -> tuple[Stack, ...]:
        return (self.decoder.stack,)

    def encode(self, tokens: Tensor, axis: Axis) -> tuple[Tensor, Beside]:
        x = self.embed(tokens, axis, self.encoder.position, self.encoder.dropout)
        x, beside = self.encoder.stack(x, axis)
        return x, beside.under("encoder")

    def run(self, tokens: Tensor, axis: Axis, states: Mapping[str, Any] | None, source: Source | None) -> Ran:
        x = self.embed(tokens, axis, self.decoder.position, self.decoder.dropout)
        x, beside = self.decoder.stack(x, axis, states, source)
        return Ran(self.output(x, axis), beside.under("decoder"))


@hookimpl
def components():
    return [
        Component(
            kind="model", name="encoder-decoder", options=EncoderDecoderOptions, build=EncoderDecoder,
            also=("seq2seq", "bart", "t5"),
        )
    ]  # fmt: skip
