"""FAVOR: random features in place of the exponential, so that softmax attention, or another kernel, becomes sums.

Maths    t' = t / d^(1/4);  w_1 .. w_r rows of W, drawn in blocks of d orthogonal rows
         softmax        phi(t) = exp(w t' - |t'|^2 / 2);  E[phi(q) phi(k)] = r exp(q k / sqrt(d))
         hyperbolic     r / 2 rows w, phi(t) = [exp(w t' - |t'|^2 / 2), exp(-w t' - |t'|^2 / 2)]: the same with less
                        variance
         trigonometric  r / 2 rows w, phi(t) = exp(|t'|^2 / 2) [sin(w t'), cos(w t')]: the first form, not positive
         exp            phi(t) = exp(w t')
         relu           phi(t) = relu(W t') + epsilon
         abs            phi(t) = |W t'| + epsilon
         sigmoid        phi(t) = 1 / (1 + exp(-W t')) + epsilon
         o_i = sum_j phi(q_i) phi(k_j) v_j / sum_j phi(q_i) phi(k_j), in a decoder over j <= i
Shapes   q (b n h d);  k (b n g d);  v (b n g e);  W (r d), one for all heads of a layer;  features (b n h r)
Cost     time O(n r (d + e)) a head, in chunks of 128 by matrix products;  state r e + r for each of g, and its scale
Limits   an approximation, whose error falls with the root of r at best;  `trigonometric` adds up weights of both signs
         to sums near zero, which magnify what rounding did to queries and keys a thousandfold where these are long: a
         form to look at, not to train;  exponentials are kept relative to the largest one so far, which cancels, so
         nothing looks ahead;  `stabilizer=global` is the published code instead: relative to the largest of all keys,
         plus epsilon, which does not cancel: a decoder takes it under `causal: value` alone and reads its past again
         at every step
Paper    Choromanski et al., Rethinking Attention with Performers, ICLR 2021, arXiv:2009.14794, s. 2.3, 2.4
"""

from __future__ import annotations

import zlib
from typing import Literal

import torch
from torch import Tensor

from xcompose.api import (
    AfterStep,
    Component,
    Context,
    Count,
    PartError,
    Real,
    Score,
    hookimpl,
    option,
    options,
)

POINTWISE = {"relu": torch.relu, "abs": torch.abs, "sigmoid": torch.sigmoid}
ADDED = {**dict.fromkeys(POINTWISE, 1e-3), "softmax": 1e-6, "hyperbolic": 1e-6}
"""What is added to features, where nothing is written."""


@options
class FavorOptions:
    """FAVOR."""

    features: Count = option(256, main=True, at_least=1)
    """Number of features r."""
    kernel: Literal["relu", "abs", "sigmoid", "exp", "softmax", "hyperbolic", "trigonometric"] = option("relu")
    """What the products of features stand for."""
    orthogonal: bool = option(True)
    """Whether rows of W are orthogonal to each other, in blocks of d."""
    length: Literal["drawn", "fixed"] = option("drawn")
    """Of the rows of W: that of a vector drawn anew, or the root of d."""
    stabilizer: Literal["running", "global"] = option("running")
    """What exponentials are relative to: the largest so far, or the largest of the whole sequence."""
    redraw: Count = option(0)
    """Training steps after which W is drawn anew, in a way that W alone decides; 0 keeps it."""
    epsilon: Real | None = option(None, at_least=0)
    """What is added to the features of `relu`, `abs` and `sigmoid`, 1e-3 if not written; to exponentials under
    `global`, 1e-6."""


class Favor(Score, AfterStep):
    """Random features. W is a buffer: saved, and the same in every call between two steps of training."""

    kernel = True
    rows: Tensor

    def __init__(self, options: FavorOptions, context: Context):
        super().__init__()
        assert context.head_dim is not None, "a score is built inside an attention"
        self.options, self.width = options, context.head_dim
        self.paired = options.kernel in ("hyperbolic", "trigonometric")
        if self.paired and options.features % 2:
            raise PartError(
                f"kernel '{options.kernel}' has features in pairs, found {options.features}", option="features",
                fixes=(f"features={options.features + 1}",),
            )  # fmt: skip
        if options.stabilizer == "global" and options.kernel not in ("softmax", "hyperbolic"):
            raise PartError(
                f"kernel '{options.kernel}' has no exponentials that a stabilizer could be for", option="stabilizer",
                fixes=("leave stabilizer out", "kernel=softmax"),
            )  # fmt: skip
        if options.epsilon is not None and options.stabilizer != "global" and options.kernel not in POINTWISE:
            raise PartError(
                f"nothing is added to the features of kernel '{options.kernel}'", option="epsilon",
                label="exponentials relative to the largest so far need no such help",
                fixes=("leave epsilon out", "stabilizer=global, the published form"),
            )  # fmt: skip
        self.whole = options.stabilizer == "global"
        self.added = ADDED.get(options.kernel, 0.0) if options.epsilon is None else options.epsilon
        self.register_buffer("rows", self._drawn())
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def features(self, t: Tensor, side: Literal["query", "key"]) -> tuple[Tensor, Tensor | None]:
        t = t * self.width**-0.25
        seen = t @ self.rows.to(t.dtype).T
        kernel = self.options.kernel
        if kernel in POINTWISE:
            return POINTWISE[kernel](seen) + self.added, None
        half = t.square().sum(-1) / 2
        if kernel == "trigonometric":
            return torch.cat([seen.sin(), seen.cos()], -1), half
        if kernel == "hyperbolic":
            seen = torch.cat([seen, -seen], -1)
        top = seen.detach().amax(-1, keepdim=True)
        return (seen - top).exp(), top[..., 0] - (0 if kernel == "exp" else half)

    def features_among(self, t: Tensor, side: Literal["query", "key"], valid: Tensor | None) -> Tensor:
        t = t * self.width**-0.25
        seen = t @ self.rows.to(t.dtype).T
        if self.paired:
            seen = torch.cat([seen, -seen], -1)
        top = seen.detach().amax(-1, keepdim=True)
        if side == "key":
            counted = top if valid is None else top.masked_fill(~valid[:, :, None, None], -torch.inf)
            top = counted.amax(1, keepdim=True)
        return (seen - t.square().sum(-1, keepdim=True) / 2 - top).clamp(max=0).exp() + self.added

    def after_step(self) -> None:
        """Draw W anew, where it is time."""
        self.steps += 1
        if self.options.redraw and int(self.steps) % self.options.redraw == 0:
            # from W, not from the global generator: replicas that share W go on sharing it, a resumed run draws alike
            seed = zlib.crc32(self.rows.detach().float().cpu().numpy().tobytes())
            self.rows.copy_(self._drawn(torch.Generator().manual_seed(seed)))

    def _drawn(self, generator: torch.Generator | None = None) -> Tensor:
        """(r d), or (r / 2, d) where features come in pairs."""
        count, d = self.options.features // (2 if self.paired else 1), self.width
        drawn = torch.randn(count, d, generator=generator)
        if not self.options.orthogonal:
            return drawn if self.options.length == "drawn" else drawn / drawn.norm(dim=1, keepdim=True) * d**0.5
        blocks = [_orthogonal(d, generator) for _ in range(-(-count // d))]
        lengths = drawn.norm(dim=1, keepdim=True) if self.options.length == "drawn" else d**0.5
        return torch.cat(blocks)[:count] * lengths


def _orthogonal(d: int, generator: torch.Generator | None) -> Tensor:
    """(d d) a rotation, each as likely as any other."""
    q, r = torch.linalg.qr(torch.randn(d, d, generator=generator))
    return (q * r.diagonal().sign()).T


@hookimpl
def components():
    return [Component(kind="score", name="favor", options=FavorOptions, build=Favor, also=("performer",))]
