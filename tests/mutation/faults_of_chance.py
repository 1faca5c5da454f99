"""Faults of random numbers, of training, and of what is saved."""

from __future__ import annotations

from typing import Any

import torch
from planting import Bed, decoder, encoder, fault
from torch import Tensor, nn

from xcompose.attention import layer
from xcompose.attention.algebra import Everything

LAYER = "model.layers.1.mixer"
TWICE = ("XC076", LAYER, "evaluating layer 1: mixer 'attention' twice gives two results")
LSH = decoder(
    "attention(pattern=window(3))",
    "attention(pattern=lsh(buckets=2, chunk=4, back=1, form=strict), shared_qk=true)",
    "attention(score=linear)",
)


@fault(
    "a random plan that is drawn anew in every call",
    seen="HazyResearch/zoology, BigBird: `torch.randint` in every forward; lucidrains/performer-pytorch #10",
    spec=decoder("attention(pattern=window(3))", "attention(score=favor(6))", "attention"),
    finds=TWICE,
)
def drawn_anew(bed: Bed) -> None:
    favor = bed.class_of("score", "favor")
    real = favor.features

    def features(self: Any, t: Tensor, side: Any) -> Any:
        self.rows = torch.randn_like(self.rows) if side == "query" else self.rows
        return real(self, t, side)

    bed.replace(favor, "features", features)


@fault(
    "noise of training that is added in evaluation",
    seen="a class of lucidrains/performer-pytorch #10: evaluation is not deterministic",
    spec=decoder("attention(pattern=window(3))", "attention(pattern=local(4, memory=[0]), memory=sinkhorn(4))"),
    finds=TWICE,
)
def noisy(bed: Bed) -> None:
    sorted_ = bed.class_of("memory", "sinkhorn").__globals__["Sorted"]
    real = sorted_.scores

    def scores(self: Any, sums: Tensor, columns: int, like: Tensor) -> Tensor:
        found = real(self, sums, columns, like)
        return found + torch.rand_like(found)

    bed.replace(sorted_, "scores", scores)


@fault(
    "dropout in evaluation",
    seen="`F.dropout(x, p)` drops unless it is told not to; no thread known",
    spec=decoder("attention(pattern=window(3))", "{mixer: attention, ffn: gated(2x)}", "attention(score=linear)"),
    finds=("XC076", "model.layers.1.ffn", "evaluating layer 1: ffn 'gated' twice gives two results"),
)
def drops(bed: Bed) -> None:
    gated = bed.class_of("ffn", "gated")
    real = gated.forward
    bed.replace(gated, "forward", lambda self, x: nn.functional.dropout(real(self, x), 0.2))


@fault(
    "a batch that changes the model for the next one",
    seen="huggingface/transformers #20031: BigBird switches its attention on a short batch and never back",
    spec=encoder("attention(score=linear)", "attention(pattern=blocks(4))", "attention(score=linear)"),
    finds=TWICE,
)
def switched(bed: Bed) -> None:
    def mix(self: Any, q: Tensor, *given: Any) -> Any:
        self.short = self.__dict__.get("short", False) or q.shape[1] < 8
        return real(self, q, *given)

    def patterns(self: Any, whole: bool) -> Any:
        return [Everything() for _ in self.groups] if self.__dict__.get("short") else of_groups(self, whole)

    real = bed.replace(layer.SoftmaxReads, "mix", mix)
    of_groups = bed.replace(layer.SoftmaxReads, "_patterns", patterns)


@fault(
    "a buffer that is not saved",
    seen="what is drawn and `persistent=False`; no thread known",
    spec=decoder("attention(pattern=window(3))", "attention(score=favor(6))", "attention"),
    finds=("XC077", LAYER, "a loaded model answers differently in layer 1: mixer 'attention'"),
)
def not_saved(bed: Bed) -> None:
    favor = bed.class_of("score", "favor")
    real = favor.__init__

    def built(self: Any, options: Any, context: Any) -> None:
        real(self, options, context)
        self.register_buffer("rows", self.rows, persistent=False)

    bed.replace(favor, "__init__", built)


@fault(
    "features that every process draws anew by itself",
    seen="a redraw from the global generator; no thread known",
    spec=decoder("attention(pattern=window(3))", "attention(score=favor(6, redraw=100))", "attention"),
    finds=("XC066", LAYER, "replicas of layer 1: mixer 'attention' drift apart"),
)
def redrawn(bed: Bed) -> None:
    favor = bed.class_of("score", "favor")

    def after_step(self: Any) -> None:
        self.steps += 1
        if int(self.steps) % self.options.redraw == 0:
            self.rows.copy_(self._drawn())

    bed.replace(favor, "after_step", after_step)


@fault(
    "hashes that are drawn when the model is built and are no buffer",
    seen="lucidrains/reformer-pytorch #12: whoever computes again needs the same hashes",
    spec=LSH,
    finds=("XC066", LAYER, "replicas of layer 1: mixer 'attention' give two results"),
)
def plain_hashes(bed: Bed) -> None:
    hashes = bed.class_of("pattern", "lsh").__globals__["Hashes"]
    real = hashes.__init__

    def built(self: Any, options: Any, context: Any) -> None:
        real(self, options, context)
        self.rotations = torch.randn_like(self._buffers.pop("rotations"))

    bed.replace(hashes, "__init__", built)


@fault(
    "statistics that each process keeps for itself",
    seen="centroids that are moved inside forward; no thread known",
    spec=decoder("attention(pattern=window(3))", "attention(pattern=routing(2, window=4))", "attention"),
    finds=("XC066", LAYER, "replicas of layer 1: mixer 'attention' drift apart"),
)
def own_statistics(bed: Bed) -> None:
    routing = bed.class_of("pattern", "routing").__globals__["Centroids"]
    real = routing.observe

    def observe(self: Any, read: Any) -> Any:
        seen = real(self, read)
        if self.training:
            with torch.no_grad():
                self.learn({name.rpartition("@")[2]: value for name, value in seen.stats.items()})
        return seen._replace(stats={})

    bed.replace(routing, "observe", observe)


@fault(
    "something else in training than in evaluation",
    seen="a class of keras-team/keras #23038: training takes another path",
    spec=decoder("attention(pattern=window(3))", "attention(score=linear)", "attention"),
    finds=("XC076", LAYER, "layer 1: mixer 'attention' computes something else in training than in evaluation"),
)
def in_training(bed: Bed) -> None:
    linear = bed.class_of("score", "linear")
    real = linear.features

    def features(self: Any, t: Tensor, side: Any) -> Any:
        return real(self, t * 0.5 if self.training else t, side)

    bed.replace(linear, "features", features)
