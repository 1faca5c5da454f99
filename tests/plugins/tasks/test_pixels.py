from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from xcompose_plugins.tasks.pixels import Pixels, PixelsOptions

from tests.train.test_png import read
from xcompose.api import Context, Grid, ModelOut, PartError
from xcompose.diagnostics import SpecError
from xcompose.train.png import GAP

B, N, V = 3, 8, 257


class Guess(nn.Module):
    """Gives these logits, and a loss of its own."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, tokens: Tensor) -> ModelOut:
        self.tokens = tokens
        return ModelOut(self.logits, losses={"balance": torch.tensor(0.25, dtype=torch.float64)})


def task(colour: bool = False, **changes) -> Pixels:
    given = {"dim": 5, "causal": "strict", "grid": Grid((2, 4), (2, 2)), **changes}
    return Pixels(PixelsOptions(data="squares", colour=colour), Context(**given))


def images(folder: Path, count: int = 40, height: int = 2, width: int = 4) -> Path:
    """An idx file of images that count up from their own number."""
    header = b"\0\0\x08\x03" + b"".join(size.to_bytes(4, "big") for size in (count, height, width))
    pixels = b"".join(bytes(range(i, i + height * width)) for i in range(count))
    file = folder / "train-images-idx3-ubyte"
    file.write_bytes(header + pixels)
    return file


def test_the_loss_is_the_mean_surprise_of_the_next_pixels():
    torch.manual_seed(0)
    tokens, logits = torch.randint(256, (B, N + 1)), torch.randn(B, N, V)
    model = Guess(logits)

    loss, metrics = task().loss(model, {"tokens": tokens})
    loss.backward()

    reference = logits.double().requires_grad_()
    total = 0.0
    for b in range(B):
        for i in range(N):
            weights = [math.exp(x) for x in reference[b, i].tolist()]
            total -= math.log(weights[tokens[b, i + 1]] / sum(weights))
    expected = -torch.log_softmax(reference, -1).gather(-1, tokens[:, 1:, None]).mean()
    expected.backward()
    assert torch.equal(model.tokens, tokens[:, :-1])
    assert loss.item() == pytest.approx(total / (B * N) + 0.25, abs=1e-6)
    assert float(metrics["bits_per_dim"]) == pytest.approx(total / (B * N) / math.log(2), abs=1e-6)
    assert model.logits.grad is not None
    assert reference.grad is not None
    assert torch.allclose(model.logits.grad.double(), reference.grad, atol=1e-8)


def test_the_shift_follows_the_order_in_which_the_grid_is_filled(tmp_path: Path):
    pixels = task()

    train, valid = pixels.splits(images(tmp_path), N, seed=0)

    in_blocks = [0, 1, 4, 5, 2, 3, 6, 7]
    assert train[3]["tokens"].tolist() == [0, *(3 + place for place in in_blocks)]
    assert valid[1]["tokens"].tolist() == [0, *(39 + place for place in in_blocks)]
    assert train[0]["tokens"].dtype == torch.int64
    assert (len(train), len(valid)) == (38, 2)


def test_says_what_the_images_are_and_what_a_guess_costs(tmp_path: Path):
    file, pixels = images(tmp_path), task()
    assert list(pixels.describe()) == []

    pixels.splits(file, N, seed=0)

    counts = [sum(i <= value < i + N for i in range(38)) for value in range(46)]
    bits = -sum(c / (38 * N) * math.log2(c / (38 * N)) for c in counts if c)
    assert list(pixels.describe()) == [
        f"{file}: 1 file, 38 images of 2 x 4 to train on, 2 held out",
        f"bits per dim without any context: {bits:.2f}",
    ]


def refused(found) -> tuple[str, str, str, tuple[str, ...]]:
    with pytest.raises(PartError) as error:
        found()
    return error.value.code, error.value.message, error.value.label, error.value.fixes


def test_a_model_that_sees_the_answer_is_refused():
    assert refused(lambda: task(causal="none")) == (
        "XC031", "task 'pixels' needs a causal model", "this model reads the pixel that it is asked to predict",
        ("type: decoder",),
    )  # fmt: skip


def test_too_small_a_vocabulary_is_refused():
    assert refused(lambda: task(vocab=10)) == (
        "XC031", "task 'pixels' needs a vocabulary of 256, found 10", "its tokens are the values of pixels",
        ("vocab: 256",),
    )  # fmt: skip


def test_a_model_without_a_grid_is_refused():
    assert refused(lambda: task(grid=None)) == (
        "XC033", "task 'pixels' needs the model's grid",
        "it says how large an image is, and in which order its pixels come", ("model.grid: [14, 14]",),
    )  # fmt: skip


def test_pieces_of_images_are_refused(tmp_path: Path):
    assert refused(lambda: task().splits(images(tmp_path), 5, seed=0)) == (
        "XC041", "a sequence is a whole image of 8 pixels, train.length is 5", "", ("train.length: 8, or none",),
    )  # fmt: skip


def test_images_must_be_given():
    with pytest.raises(SpecError) as error:
        task().splits(None, N, seed=0)

    assert str(error.value).startswith("error[XC083]: no images come with xcompose, 'squares' must be given\n")


def test_images_that_do_not_fill_the_grid_are_refused(tmp_path: Path):
    with pytest.raises(SpecError) as error:
        task().splits(images(tmp_path, height=3, width=5), N, seed=0)

    assert str(error.value) == (
        "error[XC086]: images of 3 x 5 do not fill a grid of 2 x 4\n --> model.grid\n  = fix: model.grid: one of [3, 5]"
    )


def test_colours_are_asked_for(tmp_path: Path):
    assert refused(lambda: task(colour=True).splits(images(tmp_path), N, seed=0)) == (
        "XC031", "task 'pixels' is to be in colour, the images have 1 value for a pixel", "", ("colour=false",)
    )  # fmt: skip


def test_drawn_pixels_are_shown_where_they_lie():
    shown, colours = task().shown(), task(colour=True, grid=Grid((1, 6), (1, 3))).shown()

    assert (shown.opening.tolist(), shown.steps, shown.what, shown.suffix) == ([0], N, "images of 2 x 4", ".png")
    grey = read(shown.write(torch.tensor([[0, 1, 4, 5, 2, 3, 6, 7]])))
    assert grey[GAP:-GAP:28, GAP:-GAP:28, 0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert read(colours.write(torch.tensor([[0, 1, 2, 3, 4, 5]])))[GAP, [GAP, -GAP - 1]].tolist() == [
        [0, 1, 2],
        [3, 4, 5],
    ]


def test_an_output_of_another_kind_is_refused():
    with pytest.raises(PartError) as error:
        task().loss(Guess(torch.zeros(B, N, 5)), {"tokens": torch.zeros(B, N + 1, dtype=torch.long)})

    assert str(error.value) == (
        "task 'pixels' wants one of 256 for each token, the model's output gives 5 numbers for each token"
    )
