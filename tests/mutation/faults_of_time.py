"""Faults that let the future in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import attrs
import torch
from planting import Bed, decoder, fault
from torch import Tensor

from xcompose.attention import attend, explicit, kernel
from xcompose.attention.reads import Axis
from xcompose.compose.blockwise import BlockMemory

LAYER = "model.layers.1.mixer"
FUTURE = ("XC070", LAYER, "layer 1: mixer 'attention' sees the future")


@fault(
    "a causal flag that is swallowed",
    seen="facebookresearch/xformers, Linformer: `causal` ends in `**kwargs`; huggingface/transformers PR #45811",
    spec=decoder("attention(pattern=window(3))", "attention(score=linear)", "attention"),
    finds=FUTURE,
)
def swallowed(bed: Bed) -> None:
    real = kernel.KernelSums.__init__
    bed.replace(kernel.KernelSums, "__init__", lambda self, *args, causal: real(self, *args, causal=False))


@fault(
    "a mask built from the wrong length",
    seen="facebookresearch/xformers #1135: `causal_1d_pattern(mask.shape[1])`, where that is 1",
    spec=decoder(
        "attention(pattern=window(3))", "attention", "attention(position=none, score=linear)", position="alibi"
    ),
    finds=FUTURE,
)
def wrong_length(bed: Bed) -> None:
    real = explicit.tile_mask

    def tile_mask(plan: str, kind: int, rows: int, cols: int) -> Tensor:
        mask = real(plan, kind, rows, cols)
        triangle = torch.equal(mask, torch.ones_like(mask).tril())
        return mask[:1, :1].expand(rows, cols) if triangle else mask

    bed.replace(explicit, "tile_mask", tile_mask)


@fault(
    "a causal mask that is dropped with dropout",
    seen="keras-team/keras #23038: with dropout the causal mask is dropped, too",
    spec=decoder("attention(pattern=window(3))", "attention(dropout=0.3)", "attention(score=linear)"),
    finds=("XC070", LAYER, "layer 1: mixer 'attention' has a gradient from the future while it trains"),
)
def with_dropout(bed: Bed) -> None:
    real = attend.EXECUTORS["explicit"]

    def forgetful(reads: Any, dropout: float) -> Tensor:
        return real([replace(read, causal=read.causal and not dropout) for read in reads], dropout)

    executors = dict(attend.EXECUTORS, explicit=forgetful)
    bed.replace(attend, "EXECUTORS", executors)


@fault(
    "a choice of the best keys of the whole sequence",
    seen="lucidrains/routing-transformer: `dists.topk(k=window_size, dim=-2)`; piotrpiekos/MoSA #3",
    spec=decoder("attention(pattern=window(3))", "attention(pattern=routing(2, window=4))"),
    finds=FUTURE,
)
def top_k(bed: Bed) -> None:
    real = bed.class_of("pattern", "routing")

    def build(options: Any, context: Any) -> Any:
        pattern = real(attrs.evolve(options, form="published"), context)
        pattern.selects = "prefix"
        return pattern

    bed.build("pattern", "routing", build)


@fault(
    "a compressed block that is visible one step early",
    seen="karpathy/nanochat #844: block summaries that contain the token to predict",
    spec=decoder("attention(pattern=window(3))", "attention(pattern=local(4, memory=[0]), memory=pool(4))"),
    finds=FUTURE,
)
def early_block(bed: Bed) -> None:
    def earlier(self: Any, k: Tensor, v: Tensor, axis: Axis) -> Any:
        slots, losses = real(self, k, v, axis)
        assert isinstance(slots.at, range)
        return replace(slots, at=range(slots.at.start - 1, slots.at.stop - 1, slots.at.step)), losses

    real = bed.replace(BlockMemory, "slots", earlier)


@fault(
    "a pooling window that is wider than its stride",
    seen="a class of karpathy/nanochat #844",
    spec=decoder("attention(pattern=window(3))", "attention(pattern=local(4, memory=[0]), memory=pool(4))"),
    finds=("XC071", "model.layers.1.mixer.memory", "a slot uses a row outside its span"),
)
def wide_pool(bed: Bed) -> None:
    def wider(self: Any, k: Tensor, v: Tensor, axis: Axis) -> Any:
        return real(self, k + k.roll(-1, 1), v, axis)

    real = bed.replace(BlockMemory, "slots", wider)


@fault(
    "a token shift in the wrong direction",
    seen="a class of karpathy/nanochat #844",
    spec=decoder("attention(pattern=window(3))", "{mixer: attention, ffn: gated(2x)}", "attention(score=linear)"),
    finds=("XC070", "model.layers.1.ffn", "layer 1: ffn 'gated' sees the future"),
)
def shifted(bed: Bed) -> None:
    gated = bed.class_of("ffn", "gated")
    real = bed.replace(gated, "forward", lambda self, x: real(self, x) + x.roll(-1, 1))


@fault(
    "a norm with a statistic over time",
    seen="a class of karpathy/nanochat #844: filters over the whole text; no thread about norms known",
    spec=decoder("attention(pattern=window(3))", "{mixer: attention, norm: rms}", "attention(score=linear)"),
    finds=("XC070", "model.layers.1.norm", "layer 1: norm 'rms' sees the future"),
)
def over_time(bed: Bed) -> None:
    rms = bed.class_of("norm", "rms")
    real = bed.replace(rms, "forward", lambda self, x: real(self, x) / x.square().mean(1, keepdim=True).add(1).sqrt())


@fault(
    "a kernel that is stabilised by the largest key of the text",
    seen="the released Performer takes the maximum of keys over the whole sequence",
    spec=decoder("attention(pattern=window(3))", "attention(score=favor(6, kernel=softmax))", "attention"),
    finds=FUTURE,
)
def stabilised(bed: Bed) -> None:
    def features(self: Any, t: Tensor, side: Any) -> Any:
        self.added = 1e-3
        return self.features_among(t, side, None), None

    bed.replace(bed.class_of("score", "favor"), "features", features)
