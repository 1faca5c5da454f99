"""An encoder: one stack that sees the whole sequence at once.

Maths    x = E[t];  x = layer_l(... layer_1(x));  output(norm(x))
Shapes   tokens (b n);  x (b n c)
Cost     the sum of its layers
Limits   no step-by-step reading; `causal` has no meaning here
Paper    Devlin et al., BERT, NAACL 2019, arXiv:1810.04805, s. 3; Vaswani et al., arXiv:1706.03762, s. 3.1
"""

from __future__ import annotations

from xcompose.api import Component, Context, Model, OneStackModel, OneStackOptions, Part, hookimpl, option, options


@options
class EncoderOptions(OneStackOptions):
    """Options of an encoder."""

    output: Part.output = option("none")
    """What is made of the last rows; `none` gives them as they are."""


def build(options: EncoderOptions, context: Context) -> Model:
    return OneStackModel(options, context, options.output, causal="none")


@hookimpl
def components():
    return [Component(kind="model", name="encoder", options=EncoderOptions, build=build, also=("bert",))]
