"""Classification: say which class a text belongs to.

Maths    loss = - mean over texts of log p(class | text)
Shapes   tokens (b n), mask (b n) where texts are shorter, logits (b classes)
Cost     O(b classes) beside the model
Limits   the built-in data `stdlib` asks from which of 8 packages of Python's standard library a piece of source comes;
         other texts come by `--data`: a folder with one sub-folder for each class, the first n bytes of each file
Paper    n.a.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from xcompose.api import (
    Batch,
    Component,
    Context,
    LabelledCorpus,
    Splits,
    Task,
    Text,
    check_vocabulary,
    hookimpl,
    loss_of_labels,
    option,
    options,
    read_labelled,
)

BYTES = 256


@options
class ClassifyOptions:
    """Classification of texts."""

    data: Text = option("stdlib", main=True)
    """Name of the data; `stdlib` is built in, any other needs `--data`."""


class Texts(Dataset[Any]):
    """Texts of one length, shorter ones filled up: `tokens` (n), `mask` (n) of what is real, `label` ()."""

    def __init__(self, texts: tuple[tuple[bytes, int], ...], length: int):
        self.texts, self.length = texts, length

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        text, label = self.texts[index]
        tokens = torch.zeros(self.length, dtype=torch.long)
        tokens[: len(text)] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        return {"tokens": tokens, "mask": torch.arange(self.length) < len(text), "label": torch.tensor(label)}


class Classify(Task):
    """Say which class a text belongs to."""

    metric = "accuracy"
    higher_is_better = True

    def __init__(self, options: ClassifyOptions, context: Context):
        check_vocabulary("classify", context.vocab)
        self.options = options
        self.corpus: LabelledCorpus | None = None

    def splits(self, data: Path | None, length: int, seed: int) -> Splits:
        self.corpus = read_labelled(self.options.data, data, length)
        return Splits(Texts(self.corpus.train, length), Texts(self.corpus.valid, length))

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        full = bool(batch["mask"].all())
        out = model(batch["tokens"], mask=None if full else batch["mask"])
        classes = len(self.corpus.labels) if self.corpus else 0
        return loss_of_labels("classify", out, batch["label"], classes)

    def describe(self) -> Iterable[str]:
        if self.corpus is not None:
            yield self.corpus.describe()


@hookimpl
def components():
    return [Component(kind="task", name="classify", options=ClassifyOptions, build=Classify, also=("classification",))]
