"""No feed-forward network: the layer is its mixer alone.

Maths    the sub-layer is left out, with its norm and its addition to the stream
Shapes   none
Cost     none
Limits   a layer without it is linear in its values, but for the attention weights
Paper    Vaswani et al., Attention Is All You Need, arXiv:1706.03762, s. 3.3, for what is left out
"""

from __future__ import annotations

from xcompose.api import Component, Context, hookimpl, options


@options
class NoneOptions:
    """It has none."""


def build(options: NoneOptions, context: Context) -> None:
    return None


@hookimpl
def components():
    return [Component(kind="ffn", name="none", options=NoneOptions, build=build)]
