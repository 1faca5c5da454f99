"""Every small variant learns: trained as long as it says on real data, it beats a guess that reads nothing."""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path

import pytest
import torch

import xcompose as xc
from tests.data import data_dir

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs" / "tools"))
tool = importlib.import_module("learning_page")
sys.path.remove(str(ROOT / "docs" / "tools"))


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.parametrize("spec", tool.trainable(), ids=tool.name_of)
def test_it_learns(spec: str, tmp_path: Path):
    below = tool.data_of(xc.read(f"{ROOT / spec}@tiny"))
    data = None if below is None else data_dir(below)

    row = tool.learnt(spec, tmp_path / "run", data)

    assert row.better, f"{row.metric} {row.reached:.3f}, without looking {row.guess:.3f}"


def known() -> dict:
    return {name: tool.Learnt(**row) for name, row in json.loads(tool.FIGURES.read_text()).items()}


def test_the_page_says_what_was_measured():
    assert tool.PAGE.read_text() == tool.page(known())


@pytest.mark.slow
def test_the_page_has_a_row_for_every_small_variant_and_each_beats_the_guess():
    assert sorted(known()) == sorted(map(tool.name_of, tool.trainable()))
    assert [name for name, row in known().items() if not row.better] == []


@pytest.mark.parametrize(
    ("addons", "frozen"), [(["adapter(4)"], True), (["share"], False), (["quantize(int8)"], False)]
)
def test_a_base_is_frozen_where_only_an_adapter_learns(addons: list[str], frozen: bool):
    model = {"type": "decoder", "dim": 32, "heads": 2, "layers": 2}

    assert tool.frozen(xc.read({"xcompose": 1, "model": model, "addons": addons})) is frozen


def test_a_guess_knows_how_often_each_answer_is_right():
    labels = [{"label": torch.tensor(label)} for label in (0, 2, 2, 1, 2)]
    tokens = [{"tokens": torch.tensor([9, 7, 7, 0])}, {"tokens": torch.tensor([9, 0, 3, 3, 3, 3])}]
    draws = [{"tokens": row["tokens"][1:], "draw": torch.zeros(3, len(row["tokens"]) - 1)} for row in tokens]
    real = torch.tensor([True] * 8 + [False] * 5)
    lines = [{"tokens": None, "target": torch.tensor([7, 7, 0, 0, 3, 3, 3, 3, 1, 1, 1, 1, 1]), "mask": real}]
    bits = 2 * math.log2(4) / 4 + math.log2(2) / 2

    assert tool.without_looking(labels, "accuracy") == pytest.approx(0.6)
    assert [tool.without_looking(items, "bits_per_byte") for items in (tokens, draws, lines)] == pytest.approx(
        [bits] * 3
    )


def test_a_guess_for_another_metric_is_not_made_up():
    with pytest.raises(ValueError, match=r"^no guess is known for the metric 'bleu'$"):
        tool.without_looking([], "bleu")
