"""Linear attention: a positive feature map in place of the exponential, so cost is linear in n and the state constant.

Maths    phi(t) = elu(t) + 1;  S = sum_j phi(k_j) v_j^T;  z = sum_j phi(k_j), in a decoder over j <= i
         o_i = S^T phi(q_i) / (z phi(q_i)), not scaled;  rotary turns phi in the numerator alone: z stays positive
Shapes   q (b n h d);  k (b n g d);  v (b n g e);  S (b g d e);  z (b g d)
Cost     time O(n d e) a head, in chunks of 128 by matrix products; memory O(n (d + e)); state d e + d for each of g
Limits   recalls single keys worse than softmax;  with rotary a weight may be negative, they do not add up to 1, and an
         answer is larger than every value where query and keys hardly share a feature; position=none has none of this
Paper    Katharopoulos et al., Transformers are RNNs, ICML 2020, arXiv:2006.16236, s. 3.2, 3.3;
         rotary in it: Su et al., RoFormer, arXiv:2104.09864, s. 3.3
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from xcompose.api import Component, Context, Score, hookimpl, options


@options
class LinearOptions:
    """Linear."""


class Linear(Score):
    """elu(t) + 1, as exp(t) below zero, so that no digits are lost there."""

    kernel = True

    def __init__(self, options: LinearOptions, context: Context):
        super().__init__()

    def features(self, t: Tensor, side: Literal["query", "key"]) -> tuple[Tensor, Tensor | None]:
        return t.relu() + t.clamp(max=0).exp(), None


@hookimpl
def components():
    return [Component(kind="score", name="linear", options=LinearOptions, build=Linear)]
