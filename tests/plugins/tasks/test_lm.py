from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from xcompose_plugins.tasks.lm import Lm, LmOptions

from xcompose.api import Context, ModelOut, PartError

B, N, V = 3, 7, 257


class Guess(nn.Module):
    """Gives these logits, and a loss of its own."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, tokens: Tensor) -> ModelOut:
        self.tokens = tokens
        return ModelOut(self.logits, losses={"balance": torch.tensor(0.25, dtype=torch.float64)})


def task(**changes) -> Lm:
    return Lm(LmOptions(), Context(**{"dim": 5, "causal": "strict", **changes}))


def test_the_loss_is_the_mean_surprise_of_the_next_bytes():
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
    assert float(metrics["bits_per_byte"]) == pytest.approx(total / (B * N) / math.log(2), abs=1e-6)
    assert torch.allclose(model.logits.grad.double(), reference.grad, atol=1e-8)


def test_items_hold_one_byte_more_than_the_model_reads(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(bytes(range(1, 201)))
    lm = task()

    train, valid = lm.splits(tmp_path / "a.txt", 7, seed=0)

    assert train[1]["tokens"].tolist() == list(range(8, 16))
    assert valid[0]["tokens"].tolist() == list(range(191, 199))
    assert list(lm.describe()) == [
        f"{tmp_path / 'a.txt'}: 1 file, 190 B to train on, 10 B held out",
        "bits per byte without any context: 7.57",
    ]


def test_a_model_that_sees_the_answer_is_refused():
    with pytest.raises(PartError) as error:
        task(causal="none")

    assert str(error.value) == "task 'lm' needs a causal model"
    assert error.value.label == "this model reads the byte that it is asked to predict"
    assert error.value.fixes == ("type: decoder", "task: mlm")


def test_too_small_a_vocabulary_is_refused():
    with pytest.raises(PartError) as error:
        task(vocab=128)

    assert str(error.value) == "task 'lm' needs a vocabulary of 256, found 128"


def test_an_output_of_another_kind_is_refused():
    with pytest.raises(PartError) as error:
        task().loss(Guess(torch.zeros(B, N, 5)), {"tokens": torch.zeros(B, N + 1, dtype=torch.long)})

    assert str(error.value) == (
        "task 'lm' wants one of 256 for each token, the model's output gives 5 numbers for each token"
    )
