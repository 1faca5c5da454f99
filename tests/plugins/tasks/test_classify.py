from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from xcompose_plugins.tasks.classify import Classify, ClassifyOptions

from xcompose.api import Context, ModelOut, PartError


class Guess(nn.Module):
    """Gives these logits."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, tokens: Tensor, *, mask: Tensor | None = None) -> ModelOut:
        self.mask = mask
        return ModelOut(self.logits)


def task(data: Path) -> tuple[Classify, list[dict[str, Tensor]]]:
    made = Classify(ClassifyOptions(), Context(dim=5, causal="none"))
    for name in ("no/1", "no/2", "yes/1", "yes/2", "yes/3"):
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).write_text(name * 2)
    train = made.splits(data, 8, seed=0).train
    return made, [train[i] for i in range(len(train))]  # type: ignore[arg-type]


def test_short_texts_are_filled_up(tmp_path: Path):
    _, items = task(tmp_path)

    assert [int(item["label"]) for item in items] == [0, 1, 1]
    assert bytes(items[0]["tokens"].tolist()) == b"no/1no/1"
    assert items[0]["mask"].all()
    assert bytes(items[1]["tokens"].tolist()) == b"yes/1yes"


def test_the_loss_is_the_surprise_of_the_labels(tmp_path: Path):
    made, _ = task(tmp_path)
    torch.manual_seed(0)
    logits = torch.randn(3, 2)
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    model = Guess(logits)

    loss, metrics = made.loss(
        model, {"tokens": torch.ones(3, 2, dtype=torch.long), "mask": mask, "label": torch.tensor([0, 1, 1])}
    )

    surprise = [
        -math.log(math.exp(r[y]) / sum(map(math.exp, r))) for r, y in zip(logits.tolist(), (0, 1, 1), strict=True)
    ]
    hits = [r[y] == max(r) for r, y in zip(logits.tolist(), (0, 1, 1), strict=True)]
    assert model.mask is mask
    assert loss.item() == pytest.approx(sum(surprise) / 3, abs=1e-6)
    assert float(metrics["accuracy"]) == pytest.approx(sum(hits) / 3)


def test_texts_without_padding_need_no_mask(tmp_path: Path):
    made, items = task(tmp_path)
    model = Guess(torch.zeros(1, 2))

    made.loss(model, {name: value[None] for name, value in items[0].items()})

    assert model.mask is None


def test_an_output_with_too_few_classes_is_refused(tmp_path: Path):
    made, items = task(tmp_path)

    with pytest.raises(PartError) as error:
        made.loss(Guess(torch.zeros(1, 1)), {name: value[None] for name, value in items[0].items()})

    assert str(error.value) == (
        "task 'classify' wants one of 2 for each sequence, the model's output gives 1 numbers for each sequence"
    )


def test_the_metric_that_ranks_is_accuracy():
    assert (Classify.metric, Classify.higher_is_better) == ("accuracy", True)
