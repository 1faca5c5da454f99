"""A decoder: one causal stack, read from left to right, that predicts the next token.

Maths    x = E[t];  x = layer_l(... layer_1(x));  logits = output(norm(x))
         `causal: strict`: row i depends on tokens 0 .. i alone, so reading step by step equals reading at once
Shapes   tokens (b n);  x (b n c);  logits (b n v)
Cost     the sum of its layers, plus O(n c v) for the output
Limits   one document a row; every mixer must be causal
Paper    Radford et al., Improving Language Understanding by Generative Pre-Training, 2018;
         Vaswani et al., Attention Is All You Need, NIPS 2017, arXiv:1706.03762, s. 3.1
"""

from __future__ import annotations

from xcompose.api import Component, Context, Model, OneStackModel, OneStackOptions, Part, hookimpl, option, options


@options
class DecoderOptions(OneStackOptions):
    """Options of a decoder."""

    output: Part.output = option("lm")
    """What is made of the last rows."""


def build(options: DecoderOptions, context: Context) -> Model:
    return OneStackModel(options, context, options.output, causal=options.causal)


@hookimpl
def components():
    return [Component(kind="model", name="decoder", options=DecoderOptions, build=build, also=("gpt", "causal-lm"))]
