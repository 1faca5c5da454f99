"""Drawings as sets of inked pixels."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from xcompose_plugins.tasks.points import Points, PointsOptions

import xcompose as xc
from tests.data import data_dir
from xcompose.api import Context, ModelOut, PartError
from xcompose.diagnostics import SpecError
from xcompose.train.prepare import prepare

SIDES = (3, 5)


class Guess(nn.Module):
    """Gives these logits."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, rows: Tensor, *, mask: Tensor | None = None) -> ModelOut:
        self.rows, self.mask = rows, mask
        return ModelOut(self.logits)


def idx(*sizes: int, contents: list[int]) -> bytes:
    return bytes([0, 0, 8, len(sizes)]) + b"".join(n.to_bytes(4, "big") for n in sizes) + bytes(contents)


def drawings(folder: Path) -> Path:
    """Three images to train on, with one, two and no inked pixels, and four held out."""
    size = math.prod(SIDES)
    one, two = [0] * size, [0] * size
    one[2 * 5 + 4], two[0], two[1 * 5 + 2] = 255, 51, 102
    (folder / "train-images-idx3-ubyte").write_bytes(idx(3, *SIDES, contents=one + two + [0] * size))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(3, contents=[1, 0, 2]))
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(4, *SIDES, contents=list(range(4 * size))))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(4, contents=[1, 2, 1, 1]))
    return folder


def task(folder: Path, length: int = 7):
    made = Points(PointsOptions(), Context(dim=5, causal="none"))
    return made, made.splits(drawings(folder), length, seed=0)


def test_points_are_places_and_ink(tmp_path: Path):
    _, (train, _) = task(tmp_path)
    items = [train[i] for i in range(3)]

    assert [int(item["mask"].sum()) for item in items] == [1, 2, 0]
    assert [int(item["label"]) for item in items] == [1, 0, 2]
    torch.testing.assert_close(items[0]["rows"], torch.tensor([[1.0, 1.0, 1.0]] + [[0.0] * 3] * 6))
    found = sorted(items[1]["rows"][:2].tolist())
    torch.testing.assert_close(torch.tensor(found), torch.tensor([[-1.0, -1.0, 0.2], [0.0, 0.0, 0.4]]))
    assert not items[1]["rows"][2:].any()


def test_too_many_points_are_drawn_always_alike(tmp_path: Path):
    _, (_, valid) = task(tmp_path)
    first, again, other = valid[1], valid[1], valid[2]

    assert first["mask"].all()
    assert torch.equal(first["rows"], again["rows"])
    assert len({tuple(row) for row in first["rows"].tolist()}) == 7
    assert not torch.equal(first["rows"][:, :2], other["rows"][:, :2])
    inks = {round(ink * 255) for ink in first["rows"][:, 2].tolist()}
    assert inks <= set(range(15, 30))


def test_colours_stand_side_by_side(tmp_path: Path):
    record = bytes([3]) + bytes([10] * 1024 + [20] * 1024 + [30] * 1024)
    (tmp_path / "data.bin").write_bytes(record * 21)
    made = Points(PointsOptions(), Context(dim=5, causal="none"))
    item = made.splits(tmp_path, 11, seed=0).train[0]

    assert item["rows"].shape == (11, 5)
    torch.testing.assert_close(item["rows"][:, 2:] * 255, torch.tensor([[10.0, 20.0, 30.0]] * 11))


def test_the_loss_is_the_surprise_of_the_labels(tmp_path: Path):
    made, _ = task(tmp_path)
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    labels, rows = [0, 2, 2], torch.zeros(3, 2, 3)
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    model = Guess(logits)

    loss, metrics = made.loss(model, {"rows": rows, "mask": mask, "label": torch.tensor(labels)})

    pairs = list(zip(logits.tolist(), labels, strict=True))
    surprise = [-math.log(math.exp(r[y]) / sum(map(math.exp, r))) for r, y in pairs]
    assert loss.item() == pytest.approx(sum(surprise) / 3, abs=1e-6)
    assert float(metrics["accuracy"]) == pytest.approx(sum(r[y] == max(r) for r, y in pairs) / 3)
    assert model.mask is mask
    made.loss(model, {"rows": rows, "mask": torch.ones_like(mask), "label": torch.tensor(labels)})
    assert model.mask is None


def test_it_says_what_the_data_is_and_what_guessing_gives(tmp_path: Path):
    made, _ = task(tmp_path)

    assert list(made.describe()) == [
        f"{tmp_path}: 2 files, 3 images of 3 x 5 to train on, 4 held out",
        "3 classes; saying 1 each time is right in 75.0 %",
    ]


def test_an_output_with_too_few_classes_is_refused(tmp_path: Path):
    made, (train, _) = task(tmp_path)

    with pytest.raises(PartError) as error:
        made.loss(Guess(torch.zeros(1, 2)), {name: value[None] for name, value in train[0].items()})

    assert str(error.value) == (
        "task 'points' wants one of 3 for each sequence, the model's output gives 2 numbers for each sequence"
    )


def test_a_model_of_tokens_is_refused_before_it_is_trained(tmp_path: Path):
    keys = {"type": "encoder", "dim": 12, "heads": 3, "layers": 1, "output": "classify(3)"}
    spec = xc.read({"xcompose": 1, "model": keys, "task": "points", "train": {"budget": "2 steps", "length": 7}})

    with pytest.raises(SpecError) as error:
        prepare(spec, drawings(tmp_path))

    (finding,) = error.value.diagnostics
    assert finding.message == (
        "task 'points' and this model do not fit: tokens have the shape (b n), these have (1, 7, 3)"
    )


def test_images_must_be_given():
    with pytest.raises(SpecError) as error:
        Points(PointsOptions(), Context(dim=5, causal="none")).splits(None, 7, seed=0)

    (finding,) = error.value.diagnostics
    assert (finding.code, finding.message) == ("XC083", "no images come with xcompose, 'mnist' must be given")


def test_real_digits():
    made = Points(PointsOptions(), Context(dim=5, causal="none"))
    train, valid = made.splits(data_dir("img/mnist"), 400, seed=0)
    sizes = [int(train[i]["mask"].sum()) for i in range(0, 6000, 60)]

    assert (len(train), len(valid)) == (60000, 10000)
    assert min(sizes) > 20
    assert max(sizes) < 400
    assert list(made.describe())[1] == "10 classes; saying 1 each time is right in 11.3 %"


def test_the_metric_that_ranks_is_accuracy():
    assert (Points.metric, Points.higher_is_better) == ("accuracy", True)
