from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from xcompose_plugins.tasks.translate import Pairs, Translate, TranslateOptions, longest

from xcompose.api import Context, ModelOut, PartError
from xcompose.compose.build import build_model
from xcompose.registry import load
from xcompose.spec import load_text

PAIRS = ((b"a dog", b"ein Hund"), (b"cats", b"Katzen"), (b"red", b"rot"))
CONTEXT = Context(dim=5, causal="strict")


class Guess(nn.Module):
    """Gives these logits (b n v), and remembers what it was given."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits)
        self.given: dict[str, Tensor] = {}

    def forward(self, tokens: Tensor, **given: Tensor) -> ModelOut:
        self.given = {"tokens": tokens, **given}
        return ModelOut(self.logits[: len(tokens), : tokens.shape[1]], losses={"own": torch.tensor(0.25)})


def batch(length: int) -> dict[str, Tensor]:
    items = [Pairs(PAIRS, length)[i] for i in range(3)]
    return {name: torch.stack([item[name] for item in items]) for name in items[0]}


def test_a_pair_begins_with_zero_and_ends_with_a_line_feed():
    item = Pairs(PAIRS, 7)[2]

    assert item["source"].tolist() == [*b"red", 0, 0, 0, 0]
    assert item["source_mask"].tolist() == [True] * 3 + [False] * 4
    assert item["tokens"].tolist() == [0, *b"rot", 0, 0, 0]
    assert item["target"].tolist() == [*b"rot\n", 0, 0, 0]
    assert item["mask"].tolist() == [True] * 4 + [False] * 3


def test_longer_lines_are_cut():
    item = Pairs(PAIRS, 4)[0]

    assert bytes(item["source"].tolist()) == b"a do"
    assert item["tokens"].tolist() == [0, *b"ein"]
    assert bytes(item["target"].tolist()) == b"ein "
    assert item["mask"].all()


def test_the_loss_is_the_surprise_of_the_targets_bytes():
    made, given = Translate(TranslateOptions(), CONTEXT), batch(30)
    torch.manual_seed(0)
    model = Guess(torch.randn(3, 9, 256))

    loss, metrics = made.loss(model, given)

    surprises = []
    for i, (_, written) in enumerate(PAIRS):
        for j, byte in enumerate(written + b"\n"):
            row = model.logits[i, j].tolist()
            surprises.append(math.log(sum(map(math.exp, row))) - row[byte])
    wanted = sum(surprises) / len(surprises)
    assert len(surprises) == 9 + 7 + 4
    assert loss.item() == pytest.approx(wanted + 0.25, abs=1e-5)
    assert float(metrics["bits_per_byte"]) == pytest.approx(wanted / math.log(2), abs=1e-5)


def test_a_batch_is_as_long_as_its_longest_lines():
    made, model = Translate(TranslateOptions(), CONTEXT), Guess(torch.zeros(3, 9, 256))

    made.loss(model, batch(30))

    assert {name: tuple(t.shape) for name, t in model.given.items()} == {
        "tokens": (3, 9), "mask": (3, 9), "source": (3, 5), "source_mask": (3, 5),
    }  # fmt: skip
    assert longest(torch.tensor([[True, False], [False, False]])) == 1


def test_what_is_said_of_the_data(tmp_path: Path):
    for name, text in (("train.en", "a\nb\n"), ("train.de", "x\nx\n"), ("val.en", "c\n"), ("val.de", "z\n")):
        (tmp_path / name).write_text(text)
    made = Translate(TranslateOptions(source="en"), CONTEXT)

    splits = made.splits(tmp_path, 5, seed=0)

    assert (len(splits.train), len(splits.valid)) == (2, 1)  # type: ignore[arg-type]
    assert bytes(splits.valid[0]["target"].tolist()) == b"z\n\0\0\0"
    assert list(made.describe()) == [
        f"{tmp_path}: from en to de, 2 pairs of lines to train on, 1 held out",
        "bits per byte of the target without any context: 1.00",
    ]
    assert list(Translate(TranslateOptions(), CONTEXT).describe()) == []
    made.splits(tmp_path, 1, seed=0)
    assert list(made.describe())[1] == "longer than a sequence, so their ends are cut off: 3 pairs"


def spec(kind: str, more: str) -> str:
    return f"xcompose: 1\nmodel:\n  type: {kind}\n  dim: 16\n  heads: 2\n{more}"


def test_a_model_without_a_source_is_refused():
    model = build_model(load_text(spec("decoder", "  layers: 1\n"), "made", catalogue=load().catalogue))

    with pytest.raises(PartError) as caught:
        Translate(TranslateOptions(), CONTEXT).loss(model, batch(9))

    error = caught.value
    assert (error.message, error.label, error.fixes) == (
        "task 'translate' needs a model that reads a source",
        "this model reads one sequence, and a translation has two",
        ("type: encoder-decoder",),
    )  # fmt: skip


def test_padding_of_both_sides_changes_nothing():
    sides = "  encoder: {layers: 1}\n  decoder: {layers: 1}\n"
    text = spec("encoder-decoder", sides)
    model = build_model(load_text(text, "made", catalogue=load().catalogue)).double().eval()
    made, whole = Translate(TranslateOptions(), CONTEXT), batch(20)

    together, _ = made.loss(model, whole)
    apart = [made.loss(model, {name: t[i : i + 1] for name, t in whole.items()})[0] for i in range(3)]

    counts = [len(written) + 1 for _, written in PAIRS]
    assert together.item() == pytest.approx(
        sum(n * one.item() for n, one in zip(counts, apart, strict=True)) / sum(counts), abs=1e-6
    )


def test_bytes_need_a_vocabulary_of_bytes():
    with pytest.raises(PartError) as caught:
        Translate(TranslateOptions(), Context(dim=5, causal="strict", vocab=100))

    error = caught.value
    assert (error.message, error.label, error.fixes) == (
        "task 'translate' needs a vocabulary of 256, found 100", "its tokens are bytes", ("vocab: 256",),
    )  # fmt: skip


def test_the_metric_that_ranks_is_bits_per_byte():
    assert (Translate.metric, Translate.higher_is_better) == ("bits_per_byte", False)
    assert (Translate.opening, Translate.ending) == ((0,), 10)
