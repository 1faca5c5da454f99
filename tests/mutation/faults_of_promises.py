"""Faults of costs, of sizes, of add-ons, and of what a spec expects of itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from planting import Bed, decoder, fault
from torch import Tensor

from xcompose.attention import kernel
from xcompose.attention.pattern import Pattern
from xcompose.compose import adapters, quantized

LAYER = "model.layers.1.mixer"
LONG = {"length": None}
QUANTIZE = "addons: ['quantize(only=[gate])']\n"


def nothing(bed: Bed) -> None:
    """The spec itself is faulty."""


@fault(
    "quadratic work under a linear claim",
    seen='google-research/long-range-arena #44: "still quadratic"; idiap/fast-transformers: an (n n) mask in Reformer',
    spec=decoder("attention(score=linear)", "attention(pattern=window(3))", **LONG) + "expect: {time: O(n)}\n",
    finds=("XC061", "expect.time", "expected time O(n), found O(n^2)"),
    names="layer 1 does O(n^2) work",
)
def quadratic(bed: Bed) -> None:
    bed.pattern("window", cover=Pattern.cover)


@fault(
    "work that only shows where there is data",
    seen="SHI-Labs/NATTEN #95, facebookresearch/fvcore #129: counters that do not see what runs",
    spec=decoder("attention(pattern=window(3))", "{mixer: attention, ffn: gated(2x)}", "attention(score=linear)"),
    finds=("XC078", "model.layers.1.ffn", "layer 1: ffn 'gated' does other work than is counted"),
)
def unseen_work(bed: Bed) -> None:
    gated = bed.class_of("ffn", "gated")
    real = gated._rows

    def rows(self: Any, x: Tensor) -> Tensor:
        y = real(self, x)
        return y if x.is_meta else (y + sum(real(self, x) for _ in range(9))) / 10

    bed.replace(gated, "_rows", rows)


@fault(
    "a state that is larger than it says",
    seen="a class of huggingface/transformers PR #48510: a cache of another size than planned for",
    spec=decoder("attention(pattern=window(3))", "attention(score=linear)", "attention"),
    finds=("XC078", LAYER, "layer 1: mixer 'attention' keeps more than it says"),
)
def larger_state(bed: Bed) -> None:
    def shape(self: Any, n: int) -> dict[str, tuple[int, ...]]:
        return {**real(self, n), "z": ()}

    real = bed.replace(kernel.KernelSums, "state_shape", shape)


@fault(
    "sharing that unties what it shares",
    seen="a class of huggingface/peft #2864, #2018: tied weights under a wrapper",
    spec=decoder("attention", "attention") + "addons: [share(ffn)]\nexpect: {params: ..5k}\n",
    finds=("XC061", "expect.params", "expected params ..5k, found 6.77k"),
)
def unties(bed: Bed) -> None:
    share = bed.class_of("addon", "share")
    bed.replace(share, "apply", lambda self, model: None)


@fault(
    "numbers in few bits with a scale that is not theirs",
    seen="no thread known",
    spec=decoder("attention(score=linear)", "{mixer: attention, ffn: gated(2x)}")
    + 'addons: ["quantize(only=[gate])"]\n',
    finds=(
        "XC076",
        "model.layers.1.ffn",
        "'stack.layers.1.ffn.gate' gives something else than the numbers that it stores",
    ),
)  # fmt: skip
def scales(bed: Bed) -> None:
    def forward(self: Any, input: Tensor) -> Tensor:
        y = real(self, input)
        return y if self.exact or input.is_meta else y * 1.01

    real = bed.replace(quantized.Quantized, "forward", forward)


@fault(
    "sums over time in eight bits",
    seen="a class of idiap/fast-transformers #32, lucidrains/performer-pytorch #44: kernels in half precision",
    spec=decoder("attention(pattern=window(3))", "attention(score=linear)", "attention")
    + "addons: [precision(bf16)]\n",
    finds=("XC069", LAYER, "layer 1: mixer 'attention' is not fit for bfloat16"),
)
def eight_bits(bed: Bed) -> None:
    @contextmanager
    def shore(*tensors: Tensor) -> Iterator[Any]:
        yield tensors

    bed.replace(kernel, "island", shore)


@fault(
    "a model that promises more than it keeps",
    seen="google-research/long-range-arena #17, #37: configs that are not those behind the table",
    spec=decoder("attention(pattern=window(3))", "attention(score=linear)", "attention") + "expect: {state: O(1)}\n",
    finds=("XC061", "expect.state", "expected state O(1), found O(n)"),
    sound=decoder("attention(pattern=window(3))", "attention(score=linear)") + "expect: {state: O(1)}\n",
    names="layer 2 keeps more with every token",
)
def one_dense(bed: Bed) -> None:
    nothing(bed)


@fault(
    "an adapter that trains its base",
    seen="a class of adapter-hub/adapters #468: what a nesting leaves trainable",
    spec=decoder("attention(score=linear)", "attention") + "addons: [lora(2)]\nexpect: {trainable: ..600}\n",
    finds=("XC061", "expect.trainable", "expected trainable ..600, found 7.02k"),
)
def trains_base(bed: Bed) -> None:
    bed.replace(adapters, "freeze_base", lambda model: None)


@fault(
    "a fault that only a variant has",
    seen="google-research/long-range-arena #17, #37: the configuration that was tried is another one",
    spec=decoder("attention(score=linear)", "attention(pattern=window(3))")
    + "variants: {near: {model: {layers: [attention(score=linear), attention(pattern=window(3)), attention]}, "
    "expect: {state: O(1)}}}\n",
    sound=decoder("attention(score=linear)", "attention(pattern=window(3))")
    + "variants: {near: {model: {layers: [attention(score=linear), attention(pattern=window(3))]}, "
    "expect: {state: O(1)}}}\n",
    finds=("XC061", "expect.state", "expected state O(1), found O(n)"),
    variant="near",
    names="layer 2 keeps more with every token",
)
def in_variant(bed: Bed) -> None:
    nothing(bed)
