"""Masked language modelling: predict bytes that were hidden, from both sides.

Maths    of the n bytes a share `rate` is chosen; of these 80 % become the mask, 10 % another byte, 10 % stay
         loss = - mean over the chosen i of log p(x_i | the changed x)
Shapes   tokens (b n), logits (b n v)
Cost     O(b n v) beside the model
Limits   the mask is byte 0, which text does not hold. In training the choice is drawn from the run's random state,
         anew in each epoch; held-out bytes are masked the same way each time
Paper    Devlin et al., BERT, NAACL 2019, arXiv:1810.04805, s. 3.1 task 1
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset

from xcompose.api import (
    Batch,
    ByteCorpus,
    Component,
    Context,
    Real,
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
MASK = 0
TO_MASK, TO_OTHER = 0.8, 0.9
HELD_OUT_SEED = 20_19


@options
class MlmOptions:
    """Masked language modelling."""

    data: Text = option("stdlib", main=True)
    """Name of the corpus; `stdlib` is built in, any other needs `--data`."""
    rate: Real = option(0.15, above=0, at_most=1)
    """Share of the bytes that the model is asked for."""


class Drawn(Dataset[Any]):
    """Windows with numbers drawn once for each, so that what is masked never changes: `draw` (3 n)."""

    def __init__(self, windows: Windows):
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        item = self.windows[index]
        generator = torch.Generator().manual_seed(HELD_OUT_SEED + index)
        return item | {"draw": torch.rand(3, len(item["tokens"]), generator=generator)}


def masked(tokens: Tensor, draw: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """The changed tokens and which were chosen, both (b n), from uniform numbers (b 3 n).

    Each row has at least one chosen token, the one with the smallest number.
    """
    choice, fate, other = draw.unbind(1)
    chosen = (choice < rate) | (choice == choice.amin(-1, keepdim=True))
    replaced = torch.where(fate < TO_MASK, MASK, 1 + (other * (BYTES - 1)).long())
    return torch.where(chosen & (fate < TO_OTHER), replaced, tokens), chosen


class Mlm(Task):
    """Predict hidden bytes."""

    metric = "bits_per_masked_byte"

    def __init__(self, options: MlmOptions, context: Context):
        check_vocabulary("mlm", context.vocab)
        self.options = options
        self.corpus: ByteCorpus | None = None

    def splits(self, data: Path | None, length: int, seed: int) -> Splits:
        corpus = read_corpus(self.options.data, data)
        self.corpus = corpus
        return Splits(
            Windows(corpus.train, length, ahead=0, name=corpus.name, part="to train on"),
            Drawn(Windows(corpus.valid, length, ahead=0, name=corpus.name, part="held out")),
        )

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        tokens = batch["tokens"]
        fixed = "draw" in batch
        draw = batch["draw"] if fixed else torch.rand(len(tokens), 3, tokens.shape[1], device=tokens.device)
        changed, chosen = masked(tokens, draw, self.options.rate)
        out = model(changed)
        check_logits("mlm", out.logits, BYTES, each_token=True)
        wanted, logits = tokens[chosen], out.logits[chosen].float()
        loss = cross_entropy(logits, wanted)
        metrics = {
            "bits_per_masked_byte": loss.detach() / math.log(2),
            "accuracy": (logits.argmax(-1) == wanted).double().mean(),
        }
        return sum(out.losses.values(), loss), metrics

    def describe(self) -> Iterable[str]:
        if self.corpus is not None:
            yield self.corpus.describe()
            yield f"bits per byte without any context: {self.corpus.unigram_bits():.2f}"


@hookimpl
def components():
    return [Component(kind="task", name="mlm", options=MlmOptions, build=Mlm, also=("masked-lm", "cloze"))]
