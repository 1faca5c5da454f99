"""Softmax: every query weighs the keys it may read by the exponential of their scaled product.

Maths    o_i = sum_j w_ij v_j;  w_ij = exp(s q_i k_j + b_ij) / sum_m exp(s q_i k_m + b_im), over what i may read
Shapes   q (b n h d);  k (b m g d);  v (b m g e);  o (b n h e)
Cost     time (d + e) for each pair that the pattern allows; the dense one O(n^2 c), in blocks, so memory O(n c)
Limits   a decoder keeps every key and value that a later query may read
Paper    Vaswani et al., Attention Is All You Need, NeurIPS 2017, arXiv:1706.03762, s. 3.2.1
"""

from __future__ import annotations

from xcompose.api import Component, Context, Score, hookimpl, options


@options
class SoftmaxOptions:
    """Softmax."""


class Softmax(Score):
    """Nothing but the plain weights, which the engine computes."""

    def __init__(self, options: SoftmaxOptions, context: Context):
        super().__init__()


@hookimpl
def components():
    return [Component(kind="score", name="softmax", options=SoftmaxOptions, build=Softmax)]
