"""Faults of padding, of batches, and of other sequences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from planting import Bed, decoder, encoder, fault, text
from torch import Tensor

from xcompose.attention import kernel, layer
from xcompose.attention.reads import Axis
from xcompose.compose import model

LAYER = "model.layers.1.mixer"
PADDING = ("XC073", LAYER, "padding changes what layer 1: mixer 'attention' gives")
LINEAR = encoder("attention(pattern=window(3))", "attention(score=linear)", "attention")
SOFTMAX = encoder("attention(score=linear)", "attention", "attention(score=linear)")
TRANSLATOR = text(
    {
        "type": "encoder-decoder", "dim": 16, "heads": 2, "vocab": 11, "cross": "attention(score=linear)",
        "encoder": "{length: 15, layers: ['attention(score=linear)']}",
        "decoder": "{length: 13, layers: [attention, {mixer: attention, cross: attention}]}",
    }
)  # fmt: skip


@fault(
    "padded keys in a denominator",
    seen="fla-org/flash-linear-attention #1263, PR #1266: padded keys stay in the denominator",
    spec=LINEAR,
    finds=PADDING,
)
def denominator(bed: Bed) -> None:
    def features(self: Any, t: Tensor, axis: Axis, side: Any) -> Any:
        found, logs = real(self, t, axis, side)
        return found._replace(plain=self.score.features(t, side)[0]), logs

    real = bed.replace(kernel.KernelSums, "_features", features)


@fault(
    "a key mask that is applied before the feature map",
    seen="a class of fla-org/flash-linear-attention #1263: keys are zeroed, and elu(0) + 1 is 1",
    spec=LINEAR,
    finds=PADDING,
)
def before_features(bed: Bed) -> None:
    def features(self: Any, t: Tensor, axis: Axis, side: Any) -> Any:
        t = t if axis.valid is None else t * axis.valid[..., None, None]
        return real(self, t, replace(axis, valid=None), side)

    real = bed.replace(kernel.KernelSums, "_features", features)


@fault(
    "a mask that multiplies keys instead of hiding their scores",
    seen="facebookresearch/xformers, encoder padding: inputs of keys and values times the mask",
    spec=SOFTMAX,
    finds=PADDING,
)
def multiplied(bed: Bed) -> None:
    bed.replace(layer.SoftmaxReads, "_absent", lambda self, k, axis: None)


@fault(
    "a mask of booleans compared the wrong way round",
    seen="lucidrains/memory-compressed-attention #1: `mask_q < mask_k`, and True < True is False",
    spec=SOFTMAX,
    finds=PADDING,
)
def inverted(bed: Bed) -> None:
    def absent(self: Any, k: Tensor, axis: Axis) -> Tensor | None:
        return real(self, k, axis if axis.valid is None else replace(axis, valid=~axis.valid))

    real = bed.replace(layer.SoftmaxReads, "_absent", absent)


@fault(
    "masked rows that are no numbers",
    seen="pytorch/pytorch #103749: rows that are masked throughout give NaN",
    spec=LINEAR,
    finds=("XC073", LAYER, "padding breaks the gradient of layer 1: mixer 'attention'"),
)
def no_numbers(bed: Bed) -> None:
    def ratio(numerator: Tensor, q: Tensor, z: Tensor) -> Tensor:
        groups = q.unflatten(2, (z.shape[2], -1))
        return numerator / (groups * z[:, :, :, None]).sum(-1).flatten(2)[..., None]

    bed.replace(kernel, "ratio", ratio)


@fault(
    "the length of the batch in place of each sequence's own",
    seen="huggingface/transformers PR #48510: a mask's size is that of another layer's cache",
    spec=encoder("attention(score=linear)", "attention(pattern=global(1, last=2))", "attention"),
    finds=PADDING,
)
def batch_length(bed: Bed) -> None:
    bed.replace(layer.SoftmaxReads, "_with_lengths", lambda self, axis, whole, batch: axis)


@fault(
    "a mean that counts padding",
    seen="a mean over all rows, masked or not; no thread known",
    spec=encoder("attention(score=linear)", "attention", output="classify(3)"),
    finds=("XC073", "model.output", "padding changes what output 'classify' gives"),
)
def counts_padding(bed: Bed) -> None:
    classify = bed.class_of("output", "classify")
    real = classify.forward
    bed.replace(classify, "forward", lambda self, x, axis: real(self, x, replace(axis, valid=None)))


@fault(
    "a norm over the batch",
    seen="a norm of images in a model of text; no thread known",
    spec=encoder("attention(pattern=window(3))", "{mixer: attention, norm: rms}", "attention(score=linear)"),
    finds=("XC065", "model.layers.1.norm", "layer 1: norm 'rms' mixes the sequences of a batch"),
)
def batch_norm(bed: Bed) -> None:
    rms = bed.class_of("norm", "rms")
    real = rms.forward
    bed.replace(rms, "forward", lambda self, x: real(self, x) / x.square().mean(0, keepdim=True).add(1).sqrt())


@fault(
    "a memory that is mixed between the rows of a batch",
    seen="a class of kimiyoung/transformer-xl #75: memory and sequences of several lengths",
    spec=decoder(
        "attention(pattern=window(3))", "{mixer: attention, recurrence: 'segments(4, memory=4)'}", position="none"
    ),
    finds=("XC065", LAYER, "layer 1: mixer 'attention' mixes the sequences of a batch"),
)
def mixed_memory(bed: Bed) -> None:
    segments = bed.class_of("recurrence", "segments")
    real = segments.slots
    bed.replace(segments, "slots", lambda self, k, v, axis: real(self, k.roll(1, 0), v, axis))


@fault(
    "cross-attention that reads beyond the end of its source",
    seen="a class of idiap/fast-transformers #46, #105: length masks that do not arrive",
    spec=TRANSLATOR,
    finds=("XC073", "model.decoder.layers.1.cross", "padding changes what decoder layer 1: cross 'attention' gives"),
)
def beyond_source(bed: Bed) -> None:
    def remember(self: Any, k: Tensor, v: Tensor, view: Any, axis: Axis) -> Any:
        return real(self, k, v, view, replace(axis, valid=None))

    real = bed.replace(layer.SoftmaxReads, "remember", remember)


@fault(
    "padding that is taken to stand on the right",
    seen="lucidrains/x-transformers #187: cache and left padding",
    spec=SOFTMAX,
    finds=("XC073", "model", "padding changes the model's outputs"),
)
def right_padding(bed: Bed) -> None:
    def gather(tokens: Tensor, mask: Tensor) -> Any:
        return real(tokens, mask.sort(dim=1, descending=True).values)

    real = bed.replace(model, "gather", gather)
