"""Translation: read a line in one language, write it in another, byte by byte.

Maths    loss = - mean over bytes of the target of log p(y_i | y_0 .. y_{i-1}, source);  bits_per_byte = loss / log 2
Shapes   source, source_mask (b m);  target, mask (b n);  tokens (b n): 0, then all of the target but its last byte
Cost     O(b n v) beside the model, n and m as long as the longest lines of a batch
Limits   for models that read a source. The data comes by `--data`: a folder with train.en, val.en, train.de, val.de,
         plain or .gz; of a line the first bytes count, as many as a sequence has. A target ends with a line feed
Paper    Sutskever, Vinyals, Le, Sequence to Sequence Learning with Neural Networks, NIPS 2014, arXiv:1409.3215
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset

from xcompose.api import (
    Batch,
    Component,
    Context,
    Model,
    PairedCorpus,
    PartError,
    Splits,
    Task,
    Text,
    check_logits,
    check_vocabulary,
    hookimpl,
    option,
    options,
    read_pairs,
)

BYTES, START, END = 256, 0, 10


@options
class TranslateOptions:
    """Translation."""

    data: Text = option("pairs", main=True)
    """Name of the data; the files come by `--data`."""
    source: Text | None = option(None)
    """The language that is read, as files are named; of two languages the first by name if not written."""
    target: Text | None = option(None)
    """The language that is written; the other one if not written."""


class Pairs(Dataset[Any]):
    """Pairs of lines, filled up to one length: `source`, `source_mask`, `tokens`, `target`, `mask`, each (n)."""

    def __init__(self, pairs: Sequence[tuple[bytes, bytes]], length: int):
        self.pairs, self.length = pairs, length

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        read, written = self.pairs[index]
        source, source_mask = self._filled(read)
        target, mask = self._filled(written + bytes([END]))
        tokens = torch.where(mask, target.roll(1), 0)
        tokens[0] = START
        return {"source": source, "source_mask": source_mask, "tokens": tokens, "target": target, "mask": mask}

    def _filled(self, line: bytes) -> tuple[Tensor, Tensor]:
        line = line[: self.length]
        found = torch.zeros(self.length, dtype=torch.long)
        found[: len(line)] = torch.frombuffer(bytearray(line), dtype=torch.uint8)
        return found, torch.arange(self.length) < len(line)


class Translate(Task):
    """Write what a line is in another language."""

    metric = "bits_per_byte"
    opening = (START,)
    ending = END

    def __init__(self, options: TranslateOptions, context: Context):
        check_vocabulary("translate", context.vocab)
        self.options = options
        self.corpus: PairedCorpus | None = None
        self.cut = 0

    def splits(self, data: Path | None, length: int, seed: int) -> Splits:
        given = self.options
        self.corpus = read_pairs(given.data, data, given.source, given.target)
        every = [*self.corpus.train, *self.corpus.valid]
        self.cut = sum(max(len(read), len(written) + 1) > length for read, written in every)
        return Splits(Pairs(self.corpus.train, length), Pairs(self.corpus.valid, length))

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        if isinstance(model, Model) and not model.reads_source:
            raise PartError(
                "task 'translate' needs a model that reads a source",
                label="this model reads one sequence, and a translation has two",
                fixes=("type: encoder-decoder",),
            )
        n, m = (longest(batch[name]) for name in ("mask", "source_mask"))
        mask, target = batch["mask"][:, :n], batch["target"][:, :n]
        out = model(
            batch["tokens"][:, :n], mask=mask, source=batch["source"][:, :m], source_mask=batch["source_mask"][:, :m]
        )
        check_logits("translate", out.logits, BYTES, each_token=True)
        loss = cross_entropy(out.logits[mask].float(), target[mask])
        return sum(out.losses.values(), loss), {"bits_per_byte": loss.detach() / math.log(2)}

    def describe(self) -> Iterable[str]:
        if self.corpus is not None:
            yield self.corpus.describe()
            if self.cut:
                yield f"longer than a sequence, so their ends are cut off: {self.cut:,} pairs"
            yield f"bits per byte of the target without any context: {self.corpus.unigram_bits():.2f}"


def longest(mask: Tensor) -> int:
    """The length of the longest line of a batch (b n)."""
    return int(mask.sum(1).max())


@hookimpl
def components():
    return [
        Component(kind="task", name="translate", options=TranslateOptions, build=Translate, also=("translation", "mt"))
    ]
