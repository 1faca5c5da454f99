"""Pixels: predict each pixel of an image from those before it, in the order in which the model's grid is filled.

Maths    loss = - mean_i log p(x_i | x_0 .. x_{i-1});  bits_per_dim = loss / log 2
Shapes   tokens (b n+1), a 0 and the image: the model reads the first n, logits (b n v) are about the last n
Cost     O(b n v) beside the model
Limits   for causal models with a grid of 8-bit pixels, channels the fastest: [32, 96] holds 32 x 32 in three colours.
         Larger images are averaged. A sequence is a whole image; no images come with xcompose, `--data` names them
Paper    Parmar et al., Image Transformer, ICML 2018, arXiv:1802.05751, s. 3 (the categorical model)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from xcompose.api import (
    Batch,
    Component,
    Context,
    ImageCorpus,
    PartError,
    Shown,
    Splits,
    Task,
    Text,
    as_images,
    as_sequences,
    check_logits,
    check_vocabulary,
    check_whole_image,
    grid_of_images,
    hookimpl,
    option,
    options,
    png,
    read_images,
    side_by_side,
    unigram_bits,
)

VALUES, COLOURS = 256, 3
START = 0
"""What stands where no pixel is yet; its place tells it from a black pixel."""


@options
class PixelsOptions:
    """Modelling of images."""

    data: Text = option("images", main=True)
    """Name of the images; the files come by `--data`."""
    colour: bool = option(False)
    """Whether images must be in colour; drawn ones then are. Otherwise any will do, and drawn ones are grey."""


class Images(Dataset[Any]):
    """Images one by one, each behind a start: `tokens` (n + 1)."""

    def __init__(self, pixels: Tensor):
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"tokens": functional.pad(self.pixels[index].long(), (1, 0), value=START)}


class Pixels(Task):
    """Predict the next pixel."""

    metric = "bits_per_dim"
    unit = "pixels"

    def __init__(self, options: PixelsOptions, context: Context):
        if context.causal == "none":
            raise PartError(
                "task 'pixels' needs a causal model",
                label="this model reads the pixel that it is asked to predict",
                fixes=("type: decoder",),
            )
        check_vocabulary("pixels", context.vocab, "the values of pixels")
        self.options, self.grid = options, grid_of_images("pixels", context.grid)
        self.corpus: ImageCorpus | None = None
        self.bits = math.nan

    def splits(self, data: Path | None, length: int, seed: int) -> Splits:
        check_whole_image(self.grid, length)
        self.corpus = read_images(self.options.data, data)
        channels = self.corpus.train.shape[-1]
        if self.options.colour and channels != COLOURS:
            raise PartError(
                f"task 'pixels' is to be in colour, the images have {channels} value for a pixel",
                fixes=("colour=false",), option="colour",
            )  # fmt: skip
        train, valid = (as_sequences(side, self.grid) for side in (self.corpus.train, self.corpus.valid))
        self.bits = unigram_bits(train.flatten())
        return Splits(Images(train), Images(valid))

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        tokens = batch["tokens"]
        out = model(tokens[:, :-1])
        check_logits("pixels", out.logits, VALUES, each_token=True)
        loss = functional.cross_entropy(out.logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
        return sum(out.losses.values(), loss), {"bits_per_dim": loss.detach() / math.log(2)}

    def describe(self) -> Iterable[str]:
        if self.corpus is not None:
            yield self.corpus.describe()
            yield f"bits per dim without any context: {self.bits:.2f}"

    def shown(self) -> Shown:
        channels = COLOURS if self.options.colour else 1
        return Shown(
            opening=torch.tensor([START]),
            steps=self.grid.size,
            what=f"images of {' x '.join(map(str, self.grid.sides))}",
            suffix=".png",
            write=lambda tokens: png(side_by_side(as_images(tokens, self.grid, channels))),
        )


@hookimpl
def components():
    return [Component(kind="task", name="pixels", options=PixelsOptions, build=Pixels, also=("image-modelling",))]
