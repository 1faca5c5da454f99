"""Faults that hide what should be read, count it twice, or read it wrongly."""

from __future__ import annotations

from typing import Any

import attrs
import torch
from planting import Bed, decoder, encoder, fault
from torch import Tensor

from xcompose.attention import explicit, kernel
from xcompose.attention.pattern import Pattern, Point, Run
from xcompose.compose.combine import SideBySide

LAYER = "model.layers.1.mixer"
HIDES = ("XC072", LAYER, "layer 1: mixer 'attention' hides what it declares visible")
READS = ("XC053", LAYER, "layer 1: mixer 'attention' reads what it does not declare visible")
DEFINED = ("XC062", LAYER, "layer 1: mixer 'attention' does not compute what its patterns and score define")


@fault(
    "a running sum over the wrong axis",
    seen="facebookresearch/xformers, favor.py: `cumsum(2)` is over the embedding; fla-org/flash-linear-attention #850",
    spec=decoder("attention(pattern=window(3))", "attention(score=favor(6))", "attention"),
    finds=HIDES,
)
def wrong_axis(bed: Bed) -> None:
    def scan(q: kernel.Features, k: kernel.Features, v: Tensor, before: kernel.Sums, chunk: int = 1) -> Any:
        sums = (k.turned[..., :, None] * v[..., None, :]).cumsum(-1)
        y = torch.einsum("b n h r, b n h r e -> b n h e", q.turned, sums)
        return y, kernel.Sums(before.s + sums.sum(1), before.z + k.plain.sum(1))

    bed.replace(kernel, "scan", scan)


@attrs.frozen
class EveryOther(Pattern):
    """Half of what another pattern allows."""

    inner: Any

    def allows(self, q: Point, k: Point) -> Any:
        return self.inner.allows(q, k) & (k.at % 2 == 0)


@fault(
    "half the keys hidden",
    seen="lucidrains/memory-compressed-attention #1: `mask_q < mask_k` on booleans hides what is there",
    spec=decoder("attention(score=linear)", "attention(pattern=window(4))", "attention"),
    finds=HIDES,
)
def half_hidden(bed: Bed) -> None:
    bed.pattern("window", present=lambda self, traced=False: EveryOther(self))


@fault(
    "a plan that leaves out a column of tiles",
    seen="meta-pytorch/attention-gym #31, #34: block masks for another length; pytorch/pytorch #141126",
    spec=encoder("attention(score=linear)", "attention(pattern=window(3))", "attention"),
    finds=HIDES,
)
def tile_short(bed: Bed) -> None:
    real = bed.options_of("pattern", "window").cover
    bed.pattern(
        "window", cover=lambda self, *where: tuple(attrs.evolve(run, cols=run.cols - 1) for run in real(self, *where))
    )


@fault(
    "a band counted twice",
    seen="chunks that overlap, as sliding windows are cut; no thread known",
    spec=encoder("attention(score=linear)", "attention(pattern=window(3))", "attention"),
    finds=DEFINED,
)
def twice(bed: Bed) -> None:
    def cover(self: Any, queries: range, keys: range, causal: bool) -> Any:
        band = Run(len(queries), 1, 1, queries.start, 1, queries.start, 1)
        return (*real(self, queries, keys, causal), band)

    real = bed.options_of("pattern", "window").cover
    bed.pattern("window", cover=cover)


@fault(
    "tiles that drift apart on long texts",
    seen="a class of meta-pytorch/attention-gym #31, #34: masks of blocks that do not fit the length",
    spec=decoder("attention(score=linear)", "attention(pattern=window(3))", "attention", length=None),
    finds=DEFINED,
)
def drifting(bed: Bed) -> None:
    def cover(self: Any, *where: Any) -> Any:
        return tuple(attrs.evolve(run, k_step=run.k_step + 1) for run in real(self, *where))

    real = bed.options_of("pattern", "window").cover
    bed.pattern("window", cover=cover)


@fault(
    "values that are not permuted with keys",
    seen="sorted keys beside values in the order of time; no thread known",
    spec=encoder(
        "attention(pattern=window(3))", "attention(pattern=lsh(buckets=4, chunk=4, back=1), shared_qk=true)", length=16
    ),
    finds=DEFINED,
)
def unsorted_values(bed: Bed) -> None:
    real = explicit._Chosen.part
    bed.replace(
        explicit._Chosen, "part", lambda self, tiles, dropout: real(self._replace(v=self.v.roll(1, 2)), tiles, dropout)
    )


@fault(
    "global keys read through wrong projections",
    seen="a class of huggingface/transformers #11791, allenai/longformer #254: what global tokens are read by",
    spec=encoder(
        "attention(pattern=window(3))",
        "{mixer: {type: rows, of: [{rows: first(1), use: attention}, {use: 'attention(pattern=window(2))'}]}}",
        "attention(score=linear)",
    ),
    finds=("XC075", f"{LAYER}.of.0.use", "layer 1: mixer 'attention' has parameters that nothing depends on"),
)
def wrong_projections(bed: Bed) -> None:
    rows, attention = bed.class_of("mixer", "rows"), bed.class_of("mixer", "attention")

    def built(self: Any, options: Any, context: Any) -> None:
        init(self, options, context)
        self.members[0].beside = [self.members[1]]

    def keys(self: Any, *given: Any, **more: Any) -> Any:
        return real(self.__dict__.get("beside", [self])[0], *given, **more)

    init, real = bed.replace(rows, "__init__", built), bed.replace(attention, "_keys", keys)


@fault(
    "heads grouped by tiles instead of in a row",
    seen="`repeat` for `repeat_interleave`; no thread known",
    spec=decoder("attention(score=linear)", "{mixer: attention(position=alibi), heads: 4, kv_heads: 2}", "attention"),
    finds=DEFINED,
)
def grouped(bed: Bed) -> None:
    def tiled(t: Tensor, heads: int) -> Tensor:
        return t.transpose(1, 2).repeat(1, heads // t.shape[2], 1, 1)

    bed.replace(explicit, "expanded", tiled)


@fault(
    "rows sent to the wrong member",
    seen="a class of huggingface/transformers #7015: which tokens are global",
    spec=encoder(
        "attention(pattern=window(3))",
        "{mixer: {type: rows, of: [{rows: first(2), use: attention}, {use: 'attention(pattern=window(2))'}]}}",
    ),
    finds=("XC072", LAYER, "layer 1: mixer 'rows' hides what it declares visible"),
)
def wrong_member(bed: Bed) -> None:
    rows = bed.class_of("mixer", "rows")
    real = rows.join
    bed.replace(rows, "join", lambda self, x, mixed, axis: real(self, x, mixed[::-1], axis))


@fault(
    "global tokens that do not read",
    seen="columns of global tokens, and not their rows; no thread known",
    spec=encoder("attention(pattern=window(3))", "attention(pattern=global(2))", "attention(score=linear)"),
    finds=HIDES,
)
def no_rows(bed: Bed) -> None:
    real = bed.options_of("pattern", "global").cover
    bed.pattern("global", cover=lambda self, queries, keys, causal: real(self, queries, keys, True))


@fault(
    "a mixer that declares less than it reads",
    seen="HazyResearch/zoology, BigBird: a dense mask under a sparse name",
    spec=decoder("attention(pattern=window(3))", "heads(attention(pattern=window(2)), attention)"),
    finds=("XC053", LAYER, "layer 1: mixer 'heads' reads what it does not declare visible"),
)
def declares_less(bed: Bed) -> None:
    real = SideBySide.visible
    bed.replace(SideBySide, "visible", lambda self, n: real(self, n)[:1])


@fault(
    "a kernel without its denominator",
    seen="lucidrains/performer-pytorch #40: the normaliser is missing",
    spec=decoder("attention(pattern=window(3))", "attention(score=linear)", "attention"),
    finds=DEFINED,
)
def no_denominator(bed: Bed) -> None:
    bed.replace(kernel, "ratio", lambda numerator, q, z: numerator)


@fault(
    "a residual that drops its stream",
    seen="a sub-layer's output assigned where it should be added; no thread known",
    spec=decoder("attention(pattern=window(3))", "{mixer: attention, residual: parallel}", "attention(score=linear)"),
    finds=("XC064", "model.layers.1.residual", "layer 1: residual 'parallel' does not let the stream flow on"),
)
def dropped_stream(bed: Bed) -> None:
    parallel = bed.class_of("residual", "parallel")
    real = parallel.forward

    def assigned(self: Any, carry: Tensor, branches: Any) -> Any:
        x, beside = real(self, carry, branches)
        return x - carry, beside

    bed.replace(parallel, "forward", assigned)


@fault(
    "a residual that drops what a sub-layer answers",
    seen="a branch that is computed and not added; no thread known",
    spec=decoder("attention(pattern=window(3))", "{mixer: attention, residual: parallel}", "attention(score=linear)"),
    finds=("XC064", "model.layers.1.residual", "layer 1: residual 'parallel' drops what 'ffn' answers"),
)
def dropped_branch(bed: Bed) -> None:
    def first_only(self: Any, carry: Tensor, branches: Any) -> Any:
        x, beside = branches[0](self.norm(carry))
        return carry + x, [beside, *(branch(self.norm(carry))[1] for branch in branches[1:])]

    bed.replace(bed.class_of("residual", "parallel"), "forward", first_only)


@fault(
    "a parameter that is built and not used",
    seen="a class of huggingface/transformers #13912: what is accepted and ignored",
    spec=decoder("attention(pattern=window(3))", "{mixer: attention, ffn: gated(2x)}", "attention(score=linear)"),
    finds=("XC075", "model.layers.1.ffn", "layer 1: ffn 'gated' has parameters that nothing depends on"),
)
def unused(bed: Bed) -> None:
    gated = bed.class_of("ffn", "gated")
    bed.replace(gated, "_rows", lambda self, x: self.down(self.act(self.gate(x))))


@fault(
    "a gradient that is stopped on the way",
    seen="`detach` around more than the target; no thread known",
    spec=decoder("attention(pattern=window(3))", "attention(score=linear)", "attention"),
    finds=("XC075", LAYER, "layer 1: mixer 'attention' has parameters that nothing depends on"),
)
def stopped(bed: Bed) -> None:
    linear = bed.class_of("score", "linear")
    real = linear.features
    bed.replace(linear, "features", lambda self, t, side: real(self, t.detach() if side == "key" else t, side))


@fault(
    "a memory that is not detached",
    seen="a class of lucidrains/x-transformers #64: recurrence that is not as in the paper",
    spec=decoder(
        "attention(pattern=window(3))", "{mixer: attention, recurrence: 'segments(4, memory=4)'}", position="none"
    ),
    finds=(
        "XC063",
        "model.layers.1.recurrence",
        "a gradient flows through the memory 'segments', which says it is still",
    ),
)
def attached(bed: Bed) -> None:
    segments = bed.class_of("recurrence", "segments")
    bed.replace(segments, "slots", lambda self, k, v, axis: (self._slots(k, axis.at), {}))
