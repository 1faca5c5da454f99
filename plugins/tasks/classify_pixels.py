"""Classification of images as sequences of pixels: say what an image shows from its values, one after the other.

Maths    loss = - mean over images of log p(label | x_0 .. x_{n-1});  grey = (299 red + 587 green + 114 blue) / 1000
Shapes   tokens (b n), the image in the order in which the model's grid is filled;  logits (b labels)
Cost     O(b labels) beside the model
Limits   for models with a grid of 8-bit pixels; larger images are averaged; nothing tells the model that neighbouring
         values are alike. No images come with xcompose, `--data` names them, and their labels lie beside them
Paper    Tay et al., Long Range Arena, ICLR 2021, arXiv:2011.04006, s. 2.2.4 (CIFAR-10 in grey, 1024 pixels)
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
    ImageCorpus,
    Splits,
    Task,
    Text,
    as_sequences,
    check_vocabulary,
    check_whole_image,
    grid_of_images,
    hookimpl,
    loss_of_labels,
    option,
    options,
    read_images,
)

VALUES, COLOURS = 256, 3
LUMA = (299, 587, 114)
"""How bright red, green and blue look, in thousandths (Rec. 601)."""


@options
class ClassifyPixelsOptions:
    """Classification of images."""

    data: Text = option("images", main=True)
    """Name of the images; the files come by `--data`."""
    grey: bool = option(False)
    """Whether images in colour are made grey first."""


class Labelled(Dataset[Any]):
    """Images one by one: `tokens` (n) and `label` ()."""

    def __init__(self, pixels: Tensor, labels: Tensor):
        self.pixels, self.labels = pixels, labels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"tokens": self.pixels[index].long(), "label": self.labels[index]}


class ClassifyPixels(Task):
    """Say what an image shows."""

    metric = "accuracy"
    unit = "pixels"
    higher_is_better = True

    def __init__(self, options: ClassifyPixelsOptions, context: Context):
        check_vocabulary("classify-pixels", context.vocab, "the values of pixels")
        self.options, self.grid = options, grid_of_images("classify-pixels", context.grid)
        self.corpus: ImageCorpus | None = None
        self.labels = 0
        self.commonest = 0.0

    def splits(self, data: Path | None, length: int, seed: int) -> Splits:
        check_whole_image(self.grid, length)
        self.corpus = read_images(self.options.data, data, labels=True)
        train, valid = self.corpus.train_labels, self.corpus.valid_labels
        assert train is not None, "labels were asked for"
        assert valid is not None, "labels were asked for"
        self.labels = int(torch.cat([train, valid]).max()) + 1
        self.commonest = float((valid == train.bincount().argmax()).double().mean())
        return Splits(
            Labelled(self._sequences(self.corpus.train), train), Labelled(self._sequences(self.corpus.valid), valid)
        )

    def _sequences(self, images: Tensor) -> Tensor:
        return as_sequences(grey(images) if self.options.grey else images, self.grid)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        out = model(batch["tokens"])
        return loss_of_labels("classify-pixels", out, batch["label"], self.labels)

    def describe(self) -> Iterable[str]:
        if self.corpus is not None:
            yield self.corpus.describe()
            yield f"accuracy of naming the commonest of {self.labels} labels: {self.commonest:.3f}"


def grey(images: Tensor) -> Tensor:
    """Images (images height width 3) in one channel, rounded; those of one channel are grey already."""
    if images.shape[-1] != COLOURS:
        return images
    total = (images.int() * torch.tensor(LUMA, dtype=torch.int32)).sum(-1, keepdim=True)
    return ((total + 500) // 1000).to(torch.uint8)


@hookimpl
def components():
    return [
        Component(
            kind="task", name="classify-pixels", options=ClassifyPixelsOptions, build=ClassifyPixels,
            also=("image-classification",),
        )
    ]  # fmt: skip
