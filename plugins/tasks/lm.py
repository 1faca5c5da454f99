"""Language modelling: predict each next byte from those before it.

Maths    loss = - mean_i log p(x_{i+1} | x_0 .. x_i);  bits_per_byte = loss / log 2
Shapes   tokens (b n+1): the model reads (b n) and is asked for the n that follow, logits (b n v)
Cost     O(b n v) beside the model
Limits   for causal models; an encoder sees the byte it is asked for. Reads text unless told `binary=true`
Paper    Bengio et al., A Neural Probabilistic Language Model, JMLR 2003, s. 2; bytes as tokens: Graves 2013,
         arXiv:1308.0850, s. 3.2
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from xcompose.api import (
    Batch,
    ByteCorpus,
    Component,
    Context,
    PartError,
    Splits,
    Task,
    Text,
    Windows,
    check_logits,
    check_vocabulary,
    hookimpl,
    option,
    options,
    read_corpus,
)

BYTES = 256


@options
class LmOptions:
    """Language modelling."""

    data: Text = option("stdlib", main=True)
    """Name of the corpus; `stdlib` is built in, any other needs `--data`."""
    binary: bool = option(False)
    """Whether any bytes will do; otherwise a corpus that is no text is refused."""


class Lm(Task):
    """Predict the next byte."""

    metric = "bits_per_byte"

    def __init__(self, options: LmOptions, context: Context):
        if context.causal == "none":
            raise PartError(
                "task 'lm' needs a causal model",
                label="this model reads the byte that it is asked to predict",
                fixes=("type: decoder", "task: mlm"),
            )
        check_vocabulary("lm", context.vocab)
        self.options = options
        self.corpus: ByteCorpus | None = None

    def splits(self, data: Path | None, length: int, seed: int) -> Splits:
        corpus = read_corpus(self.options.data, data, binary=self.options.binary)
        self.corpus = corpus
        return Splits(
            Windows(corpus.train, length, ahead=1, name=corpus.name, part="to train on"),
            Windows(corpus.valid, length, ahead=1, name=corpus.name, part="held out"),
        )

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        tokens = batch["tokens"]
        out = model(tokens[:, :-1])
        check_logits("lm", out.logits, BYTES, each_token=True)
        loss = cross_entropy(out.logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
        return sum(out.losses.values(), loss), {"bits_per_byte": loss.detach() / math.log(2)}

    def describe(self) -> Iterable[str]:
        if self.corpus is not None:
            yield self.corpus.describe()
            yield f"bits per byte without any context: {self.corpus.unigram_bits():.2f}"


@hookimpl
def components():
    return [Component(kind="task", name="lm", options=LmOptions, build=Lm, also=("language-modelling", "causal-lm"))]
