from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from xcompose_plugins.tasks.classify_pixels import ClassifyPixels, ClassifyPixelsOptions, grey

from tests.train.test_images import idx
from xcompose.api import Context, Grid, ModelOut, PartError
from xcompose.diagnostics import SpecError


class Guess(nn.Module):
    """Gives these logits, and a loss of its own."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, tokens: Tensor) -> ModelOut:
        self.tokens = tokens
        return ModelOut(self.logits, losses={"balance": torch.tensor(0.25)})


def task(in_grey: bool = False, **changes) -> ClassifyPixels:
    given = {"dim": 5, "causal": "none", "grid": Grid((2, 4), (2, 2)), **changes}
    return ClassifyPixels(ClassifyPixelsOptions(data="squares", grey=in_grey), Context(**given))


def images(folder: Path, *labels: int) -> Path:
    """Images of 2 x 4 that count up, with these labels."""
    (folder / "train-images-idx3-ubyte").write_bytes(idx(len(labels), 2, 4))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(len(labels))[:8] + bytes(labels))
    return folder


def test_an_image_and_its_label(tmp_path: Path):
    made = task()

    train, valid = made.splits(images(tmp_path, 2, 0, 1, 0, 0), 8, seed=0)

    assert train[1]["tokens"].tolist() == [8, 9, 12, 13, 10, 11, 14, 15]
    assert [int(train[i]["label"]) for i in range(len(train))] == [2, 0, 1, 0]
    assert (len(valid), int(valid[0]["label"])) == (1, 0)
    assert list(made.describe()) == [
        f"{tmp_path}: 1 file, 4 images of 2 x 4 to train on, 1 held out",
        "accuracy of naming the commonest of 3 labels: 1.000",
    ]


def test_the_loss_is_the_surprise_of_the_labels(tmp_path: Path):
    made = task()
    made.splits(images(tmp_path, 1, 0, 1), 8, seed=0)
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 2), (0, 1, 1)
    model = Guess(logits)

    loss, metrics = made.loss(model, {"tokens": torch.ones(3, 8, dtype=torch.long), "label": torch.tensor(labels)})
    loss.backward()

    rows = list(zip(logits.tolist(), labels, strict=True))
    surprise = [-math.log(math.exp(row[y]) / sum(map(math.exp, row))) for row, y in rows]
    shares = [[math.exp(x) / sum(map(math.exp, row)) - (k == y) for k, x in enumerate(row)] for row, y in rows]
    assert loss.item() == pytest.approx(sum(surprise) / 3 + 0.25, abs=1e-6)
    assert float(metrics["accuracy"]) == pytest.approx(sum(row[y] == max(row) for row, y in rows) / 3)
    assert model.logits.grad is not None
    assert torch.allclose(model.logits.grad, torch.tensor(shares) / 3, atol=1e-7)


def test_colours_become_as_bright_as_they_look():
    image = torch.tensor([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [7, 7, 7]]], dtype=torch.uint8)

    assert grey(image[None])[0, 0, :, 0].tolist() == [76, 150, 29, 255, 7]
    assert torch.equal(grey(image[None, :, :, :1]), image[None, :, :, :1])


def test_images_in_colour_fill_a_grid_of_one_channel_once_they_are_grey(tmp_path: Path):
    record = bytes([3]) + bytes([200] * 3072)
    (tmp_path / "a.bin").write_bytes(record * 3)

    train, _ = task(in_grey=True, grid=Grid((16, 16))).splits(tmp_path / "a.bin", 256, seed=0)

    assert train[0]["tokens"].tolist() == [200] * 256


def refused(found) -> tuple[str, str, str, tuple[str, ...]]:
    with pytest.raises(PartError) as error:
        found()
    return error.value.code, error.value.message, error.value.label, error.value.fixes


def test_what_does_not_fit_is_refused(tmp_path: Path):
    assert refused(lambda: task(vocab=10)) == (
        "XC031", "task 'classify-pixels' needs a vocabulary of 256, found 10", "its tokens are the values of pixels",
        ("vocab: 256",),
    )  # fmt: skip
    assert refused(lambda: task(grid=None)) == (
        "XC033", "task 'classify-pixels' needs the model's grid",
        "it says how large an image is, and in which order its pixels come", ("model.grid: [14, 14]",),
    )  # fmt: skip
    assert refused(lambda: task().splits(None, 5, seed=0)) == (
        "XC041", "a sequence is a whole image of 8 pixels, train.length is 5", "", ("train.length: 8, or none",),
    )  # fmt: skip


def test_images_without_labels_are_refused(tmp_path: Path):
    file = images(tmp_path, 1, 0) / "train-images-idx3-ubyte"
    (tmp_path / "train-labels-idx1-ubyte").unlink()

    with pytest.raises(SpecError, match="has no labels beside it"):
        task().splits(file, 8, seed=0)


def test_an_output_of_another_kind_is_refused(tmp_path: Path):
    made = task()
    made.splits(images(tmp_path, 2, 0, 1), 8, seed=0)

    with pytest.raises(PartError) as error:
        made.loss(Guess(torch.zeros(1, 2)), {"tokens": torch.zeros(1, 8), "label": torch.zeros(1, dtype=torch.long)})

    assert str(error.value) == (
        "task 'classify-pixels' wants one of 3 for each sequence, the model's output gives 2 numbers for each sequence"
    )
