from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from xcompose_plugins.tasks.mlm import MASK, Mlm, MlmOptions, masked

from xcompose.api import Context, ModelOut, PartError


class Guess(nn.Module):
    """Gives these logits."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, tokens: Tensor) -> ModelOut:
        self.tokens = tokens
        return ModelOut(self.logits)


def task() -> Mlm:
    return Mlm(MlmOptions(), Context(dim=5, causal="none"))


def test_of_the_chosen_most_are_hidden_some_changed_some_kept():
    torch.manual_seed(0)
    tokens = torch.randint(1, 256, (101, 997))

    changed, chosen = masked(tokens, torch.rand(101, 3, 997), 0.15)

    share = chosen.double().mean()
    hidden = (changed[chosen] == MASK).double().mean()
    kept = (changed[chosen] == tokens[chosen]).double().mean()
    assert torch.equal(changed[~chosen], tokens[~chosen])
    assert share == pytest.approx(0.15, abs=0.005)
    assert hidden == pytest.approx(0.8, abs=0.01)
    assert kept == pytest.approx(0.1 + 0.1 / 255, abs=0.01)
    assert (changed[chosen & (changed != MASK)] > 0).all()


def test_every_row_is_asked_for_something():
    draw = torch.full((2, 3, 5), 0.9)
    draw[0, 0, 3], draw[1, 0, 1] = 0.8, 0.5

    _, chosen = masked(torch.ones(2, 5, dtype=torch.long), draw, 0.15)

    assert chosen.nonzero().tolist() == [[0, 3], [1, 1]]


def test_the_loss_looks_at_the_chosen_alone():
    torch.manual_seed(0)
    tokens, logits, draw = torch.randint(1, 256, (3, 7)), torch.randn(3, 7, 256), torch.rand(3, 3, 7)
    model = Guess(logits)

    loss, metrics = task().loss(model, {"tokens": tokens, "draw": draw})

    changed, chosen = masked(tokens, draw, 0.15)
    surprise, hits, count = 0.0, 0, 0
    for b in range(3):
        for i in range(7):
            if chosen[b, i]:
                weights = [math.exp(x) for x in logits[b, i].double().tolist()]
                surprise -= math.log(weights[tokens[b, i]] / sum(weights))
                hits += int(weights.index(max(weights)) == int(tokens[b, i]))
                count += 1
    assert torch.equal(model.tokens, changed)
    assert loss.item() == pytest.approx(surprise / count, abs=1e-6)
    assert float(metrics["bits_per_masked_byte"]) == pytest.approx(surprise / count / math.log(2), abs=1e-6)
    assert float(metrics["accuracy"]) == pytest.approx(hits / count)


def test_held_out_bytes_are_masked_the_same_way_each_time(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"some text " * 60)

    first, second = (task().splits(tmp_path / "a.txt", 7, seed=s).valid for s in (0, 1))

    assert torch.equal(first[1]["draw"], second[1]["draw"])
    assert not torch.equal(first[0]["draw"], first[1]["draw"])
    assert len(first) == 4
    assert "draw" not in task().splits(tmp_path / "a.txt", 7, seed=0).train[0]


def test_in_training_the_choice_follows_the_random_state():
    batch = {"tokens": torch.ones(3, 7, dtype=torch.long)}
    seen = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        model = Guess(torch.zeros(3, 7, 256))
        task().loss(model, batch)
        seen.append(model.tokens)

    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_too_small_a_vocabulary_is_refused():
    with pytest.raises(PartError, match="^task 'mlm' needs a vocabulary of 256, found 128$"):
        Mlm(MlmOptions(), Context(dim=5, causal="none", vocab=128))
