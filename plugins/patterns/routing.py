"""Routing: online k-means puts queries and keys into clusters, and a query reads keys of its clusters.

Maths    x = LN(q) or LN(k), without weights, of norm sqrt(d);  s_c(x) = x mu_c, for each head and cluster c
         published: I_Q(c), I_K(c) = the `window` queries, keys with the largest s_c, in steps of 2^-16 of the largest
         there can be, of equal ones the earliest;  o_i(c) = softmax over I_K(c);
         o_i = the mean of o_i(c) over the clusters with i in which it may read something, 0 where there is none
         strict: one softmax over the last `window` keys up to i whose best cluster is that of i
         training: N_c, M_c = decay N_c, M_c + (1 - decay) (how many x have c as their best cluster, their sum);
         mu_c = M_c / N'_c, N'_c = S (N_c + 1e-5) / (S + clusters 1e-5), S = sum N;  loss + beta mean |x - mu_c(x)|^2
Shapes   q (b n h d), k (b n g d), mu, M (h clusters d), N (h clusters);  another sequence of keys under cross
Cost     n clusters d for the scores of queries or keys of a head, in training the same again to learn from; and
         clusters window^2 pairs (published; n^2 / clusters where window = n / clusters), 2 n window (strict). Decoding,
         the strict form keeps at most clusters window rows a head; the published one keeps all inputs, and chooses
         again at each step
Limits   published: who is in a cluster depends on the whole sequence, so it is refused where a decoder promises
         strictness; no memory or recurrence beside it; a causal query of unshared keys may stand in clusters that have
         none for it yet (`null`). strict: decoders only; a query without other keys reads itself. A release divides
         sums by the count + 0.01, which shrinks answers by 1 %, and takes beta's mean over channels, too. Centroids
         start as random directions of the norm of x, with a weight of one vector each (not from data), learn from the
         best cluster of x once a step, and keep their place in a step without vectors
Paper    Roy, Saffar, Vaswani, Grangier, Efficient Content-Based Sparse Attention with Routing Transformers, TACL 2021,
         arXiv:2003.05997, s. 4; the moving sums as in the authors' release
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xcompose.api import (
    Axis,
    ClusterPattern,
    Component,
    Context,
    Count,
    LatestOfBucket,
    Observed,
    Observer,
    PartError,
    Pattern,
    Read,
    Real,
    exact,
    form_of,
    hookimpl,
    island,
    option,
    options,
    slots_there,
)

SMOOTHING = 1e-5
GRAIN = 2**-16
"""Scores are told apart by this part of the largest there can be."""


@options
class RoutingOptions:
    clusters: Count = option(main=True, at_least=1)
    """Clusters k of each head."""
    window: Count = option(at_least=1)
    """How many queries and keys a cluster takes; the strict form reads as many of its latest keys."""
    form: Literal["published", "strict"] | None = option(None)
    """published: chooses among the whole sequence. strict: looks at the past alone. Strict in a decoder, unless its
    spec says `causal: value`, if not written."""
    normalise: Literal["layer", "unit"] = option("layer")
    """How vectors are brought to one norm: less their mean, to the root of d; or as they are, to 1."""
    alone: bool = option(False)
    """Whether a query reads itself only in clusters that have nothing else for it."""
    null: Literal["none", "learned"] = option("none")
    """Whether each cluster has a learned slot that all of its queries may read (published form)."""
    decay: Real = option(0.999, at_least=0, at_most=1)
    """How much of the moving sums stays in a step."""
    beta: Real = option(1e-4, at_least=0)
    """What the loss grows by for the mean squared distance to the centroids."""


class Centroids(nn.Module, Observer):
    """The centroids of each head, and how they learn."""

    means: Tensor
    """(h k d)"""
    counts: Tensor
    """(h k) moving sum of vectors that belong to a centroid"""
    sums: Tensor
    """(h k d) moving sum of them"""

    def __init__(self, options: RoutingOptions, context: Context):
        super().__init__()
        assert context.heads is not None, "a pattern with weights is built inside an attention"
        assert context.head_dim is not None, "a pattern with weights is built inside an attention"
        self.clusters, self.window = options.clusters, options.window
        self.normalise, self.decay, self.beta = options.normalise, options.decay, options.beta
        self.shared_qk = context.shared_qk and context.role == "self"
        self.otherwise = "self" if options.alone else "nothing"
        means = self.normalised(torch.randn(context.heads, options.clusters, context.head_dim))
        self.register_buffer("means", means)
        self.register_buffer("counts", torch.ones(means.shape[:2]))
        self.register_buffer("sums", means.clone())

    def groups(self, heads: int) -> tuple[tuple[int, Pattern], ...]:
        if heads != len(self.means):
            raise PartError(
                f"routing has centroids for each of {len(self.means)} heads and cannot serve {heads} of them",
                fixes=("the mixer heads(...), which gives each group an attention of its own",),
            )
        return ((heads, self),)  # type: ignore[return-value]

    def normalised(self, x: Tensor) -> Tensor:
        """Vectors (... d) of one norm; those that are zero stay zero."""
        if self.normalise == "unit":
            return F.normalize(x, dim=-1)
        return F.normalize(x - x.mean(-1, keepdim=True), dim=-1) * x.shape[-1] ** 0.5

    def scores(self, x: Tensor) -> Tensor:
        """s (b h k n) of queries or keys (b n h d), in single precision at least, without gradient.

        Rounded: rows that are alike, such as one token at several places, may differ in the last bits.
        """
        step = GRAIN * (x.shape[-1] if self.normalise == "layer" else 1)
        with torch.no_grad(), island(x) as (x,):
            x = self.normalised(x)
            return (torch.einsum("b n h d, h k d -> b h k n", x, self.means.to(x.dtype)) / step).round()

    def observe(self, read: Read) -> Observed:
        """The loss, and the counts and sums of this call; of shared keys once. Nothing outside training."""
        if not self.training:
            return Observed()
        sides = [(read.q, read.queries.valid)]
        if not self.shared_qk:
            k = read.slots.k.repeat_interleave(read.q.shape[2] // read.slots.k.shape[2], dim=2)
            sides.append((k, slots_there(read)))
        with island(read.q):
            found = [self._seen(exact(x), there) for x, there in sides]
        counts, sums, far = (sum(parts) for parts in zip(*found, strict=True))
        vectors = counts.sum().clamp(min=1)  # type: ignore[union-attr]
        return Observed({"commitment": self.beta * far / vectors}, self.labelled({"counts": counts, "sums": sums}))  # type: ignore[dict-item]

    def _seen(self, x: Tensor, there: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Counts (h k) and sums (h k d) of vectors x (b n h d) by best centroid, and all their squared distances."""
        best = self.scores(x).argmax(2)
        x = self.normalised(x)
        belongs = F.one_hot(best, self.clusters).to(x.dtype)
        if there is not None:
            belongs = belongs * there[:, None, :, None]
        nearest = torch.einsum("b h n k, h k d -> b n h d", belongs, self.means.to(x.dtype))
        counted = belongs.sum(-1).transpose(1, 2)[..., None]
        far = ((x * counted - nearest) ** 2).sum()
        return belongs.sum((0, 2)), torch.einsum("b h n k, b n h d -> h k d", belongs, x.detach()), far

    def learn(self, stats: Mapping[str, Tensor]) -> None:
        counts, sums = (stats[name].to(self.means.dtype) for name in ("counts", "sums"))
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        total = self.counts.sum(-1, keepdim=True)
        smooth = (self.counts + SMOOTHING) / (total + self.clusters * SMOOTHING) * total
        self.means.copy_(torch.where(counts[..., None] > 0, self.sums / smooth[..., None], self.means))


class Routing(Centroids, ClusterPattern):
    """The published form."""

    strict_form = "form=strict"

    def __init__(self, options: RoutingOptions, context: Context):
        super().__init__(options, context)
        self.crosses = not options.alone  # type: ignore[misc]
        self.nulls = nn.ParameterList()
        if options.null == "learned":
            widths = (self.means.shape[2], context.value_dim or self.means.shape[2])
            self.nulls.extend(torch.zeros(*self.means.shape[:2], width) for width in widths)

    def members(self, q: Tensor, k: Tensor, queries: Axis, there: Tensor | None) -> tuple[Tensor, Tensor]:
        asking = self.most_alike(q, queries.valid)
        if self.shared_qk:
            return asking, asking
        return asking, self.most_alike(k.repeat_interleave(q.shape[2] // k.shape[2], dim=2), there)

    def most_alike(self, x: Tensor, there: Tensor | None) -> Tensor:
        """(b h k n) bool: the `window` vectors of each cluster with the largest scores, of equal ones the earliest."""
        scores = self.scores(x)
        if there is not None:
            scores = scores.masked_fill(~there[:, None, None], -torch.inf)
        least = scores.topk(self.room(scores.shape[-1]), -1).values[..., -1:]
        more, same = scores > least, scores == least
        left = self.room(scores.shape[-1]) - more.sum(-1, keepdim=True)
        return (more | (same & (same.cumsum(-1) <= left))) & (scores > -torch.inf)

    def room(self, rows: int) -> int:
        return min(self.window, rows)

    def null(self) -> tuple[Tensor, Tensor] | None:
        return (self.nulls[0], self.nulls[1]) if len(self.nulls) else None


class StrictRouting(Centroids, LatestOfBucket):
    """The strict form."""

    rounds = 1

    def __init__(self, options: RoutingOptions, context: Context):
        super().__init__(options, context)
        if options.null != "none":
            raise PartError(
                "the strict form of routing has no null slots",
                label="a query that may read nothing else reads itself", fixes=("null=none",), option="null",
            )  # fmt: skip
        self.buckets, self.size = options.clusters, options.window
        self.own, self.shared = not options.alone, self.shared_qk
        self.otherwise = "self"  # type: ignore[misc]

    def choose(self, x: Tensor, side: Literal["query", "key"]) -> Tensor:
        return self.scores(x).argmax(2)[None]


def build(options: RoutingOptions, context: Context) -> Pattern:
    strict = form_of(options.form, context.causal) == "strict"
    return StrictRouting(options, context) if strict else Routing(options, context)


@hookimpl
def components():
    return [
        Component(
            kind="pattern", name="routing", options=RoutingOptions, build=build, also=("routing-transformer", "k-means")
        )
    ]
