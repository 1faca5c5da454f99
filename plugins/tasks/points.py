"""Points: say what an image shows from the set of its inked pixels.

Maths    loss = - mean over sets of log p(label | set); a point is (x, y, ink): places in -1 .. 1, ink in 0 .. 1
Shapes   rows (b n 3), mask (b n) where a set is smaller, logits (b labels); with colours rows (b n 2+channels)
Cost     O(b labels) beside the model
Limits   of an image with more than n inked pixels n are drawn, always the same ones;  the order of points is drawn, too
Paper    n.a.: sets of points as in Lee et al., Set Transformer, arXiv:1810.00825, s. 5.5, made of drawings
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
    hookimpl,
    loss_of_labels,
    option,
    options,
    read_images,
)


@options
class PointsOptions:
    """Points of images."""

    data: Text = option("mnist", main=True)
    """Name of the data; it is given by `--data`."""


class Sets(Dataset[Any]):
    """Sets of points, one for each image: `rows` (n w), `mask` (n) of what is real, `label` ()."""

    def __init__(self, images: Tensor, labels: Tensor, length: int):
        self.images, self.labels, self.length = images, labels, length

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image = self.images[index]
        places = image.amax(-1).nonzero()
        order = torch.randperm(len(places), generator=torch.Generator().manual_seed(index))
        chosen = places[order[: self.length]]
        found = torch.cat([self._coordinates(chosen), image[chosen[:, 0], chosen[:, 1]] / 255], -1)
        rows = found.new_zeros(self.length, found.shape[1])
        rows[: len(found)] = found
        return {"rows": rows, "mask": torch.arange(self.length) < len(found), "label": self.labels[index]}

    def _coordinates(self, places: Tensor) -> Tensor:
        """x and y (n 2) in -1 .. 1 of rows and columns (n 2)."""
        most = torch.tensor(self.images.shape[1:3]).sub(1).clamp(min=1)
        return (2 * places / most - 1).flip(-1)


class Points(Task):
    """Say what an image shows from the set of its inked pixels."""

    metric = "accuracy"
    higher_is_better = True
    unit = "points"

    def __init__(self, options: PointsOptions, context: Context):
        self.options = options
        self.corpus: ImageCorpus | None = None

    def splits(self, data: Path | None, length: int, seed: int) -> Splits:
        self.corpus = read_images(self.options.data, data, labels=True)
        train, valid = self._labels()
        return Splits(Sets(self.corpus.train, train, length), Sets(self.corpus.valid, valid, length))

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        out = model(batch["rows"], mask=None if bool(batch["mask"].all()) else batch["mask"])
        return loss_of_labels("points", out, batch["label"], self._classes())

    def describe(self) -> Iterable[str]:
        if self.corpus is not None:
            yield self.corpus.describe()
            counts = torch.bincount(self._labels()[1])
            share = 100 * float(counts.max()) / float(counts.sum())
            yield f"{self._classes()} classes; saying {int(counts.argmax())} each time is right in {share:.1f} %"

    def _labels(self) -> tuple[Tensor, Tensor]:
        assert self.corpus is not None
        assert self.corpus.train_labels is not None
        assert self.corpus.valid_labels is not None
        return self.corpus.train_labels, self.corpus.valid_labels

    def _classes(self) -> int:
        return int(torch.cat(self._labels()).max()) + 1


@hookimpl
def components():
    return [Component(kind="task", name="points", options=PointsOptions, build=Points, also=("point-cloud",))]
