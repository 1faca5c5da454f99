"""Latency told from choices: its features, its error on what it has not seen, and the samples that it learns from."""

from __future__ import annotations

import itertools
import json
import math
import random
from types import SimpleNamespace

import pytest

from tests.search.spaces import REGISTRY
from xcompose.search.ground import Ground
from xcompose.search.predictor import LatencyPredictor, measured_latencies, rank_correlation

CHOICES = {"let.dim": ("32", "64", "96", "128"), "let.layers": tuple("123456"), "pattern": ("dense", "window(64)")}


def truth(chosen) -> float:
    """A made-up machine: seconds grow with width and depth; windows are cheaper."""
    work = float(chosen["let.dim"]) * float(chosen["let.layers"])
    return 1e-5 * work * (3.0 if chosen["pattern"] == "dense" else 1.0) + 1e-4


def every() -> list[dict[str, str]]:
    return [dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())]


@pytest.fixture(scope="module")
def predictor() -> LatencyPredictor:
    many = every()
    random.Random(0).shuffle(many)
    return LatencyPredictor(CHOICES, [(chosen, truth(chosen)) for chosen in many], 32, 0)


def test_features(predictor):
    found = predictor.features({"let.dim": "64", "let.layers": "3", "pattern": "window(64)"})
    assert found.tolist() == [0.5, 0.5, 0.0, 1.0]


def test_it_is_near_the_truth_for_what_it_has_not_seen(predictor):
    assert (predictor.count, predictor.held_out) == (39, 9)
    assert predictor.error < 0.15
    assert predictor.rank > 0.9
    told = [predictor.seconds(chosen) for chosen in every()]
    assert rank_correlation(told, [truth(chosen) for chosen in every()]) > 0.97


def test_its_error_is_that_of_every_fifth(predictor):
    many = every()
    random.Random(0).shuffle(many)
    off = sorted(abs(predictor.seconds(c) - truth(c)) / truth(c) for c in many[4::5])
    assert predictor.error == pytest.approx(off[4], rel=1e-4)


def test_it_says_how_good_it_is(predictor):
    text = predictor.describe(4096)
    assert text == (
        "latency at 4,096 is told by a network that learnt from 39 measured combinations; for 9 others it is "
        f"{predictor.error:.0%} off (median), rank correlation {predictor.rank:.2f}"
    )


def test_equal_seeds_tell_equally(predictor):
    many = every()
    random.Random(0).shuffle(many)
    again = LatencyPredictor(CHOICES, [(chosen, truth(chosen)) for chosen in many], 32, 0)
    assert [again.seconds(c) for c in many] == [predictor.seconds(c) for c in many]


class TestRanks:
    def test_against_the_definition(self):
        draw = random.Random(1)
        for _ in range(20):
            a, b = ([draw.randrange(6) for _ in range(9)] for _ in range(2))
            ranks = [[sum(x < y for x in v) + (sum(x == y for x in v) - 1) / 2 for y in v] for v in (a, b)]
            mean = sum(ranks[0]) / 9
            over = sum((x - mean) * (y - mean) for x, y in zip(*ranks, strict=True))
            under = math.prod(math.sqrt(sum((x - mean) ** 2 for x in r)) for r in ranks)
            assert rank_correlation(a, b) == pytest.approx(over / under)

    def test_equal_values_have_no_order(self):
        assert math.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))
        assert rank_correlation([1, 2, 3], [10, 20, 31]) == pytest.approx(1.0)
        assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)


@pytest.fixture
def ground(tmp_path, monkeypatch):
    made = Ground(
        spec=SimpleNamespace(), reference="none", choices=CHOICES, seed=5, folder=tmp_path / "strategy",  # type: ignore[arg-type]
        registry=REGISTRY,
    )  # fmt: skip
    asked: list[tuple[str, int]] = []

    def latency(self, chosen, length):
        if chosen["let.layers"] in "456":
            raise ValueError("it does not take this length")
        asked.append((json.dumps(chosen, sort_keys=True), length))
        return truth(chosen)

    monkeypatch.setattr(Ground, "resolve", lambda self, chosen: chosen)
    monkeypatch.setattr(Ground, "latency", latency)
    return made, asked


def test_samples_are_measured_once_and_kept(ground):
    made, asked = ground
    first = measured_latencies(made, 64, 10)
    assert len(first) == len(asked) == 10
    assert all(seconds == truth(chosen) for chosen, seconds in first)
    assert len({name for name, _ in asked}) == 10

    assert measured_latencies(made, 64, 10) == first
    assert len(asked) == 10
    more = measured_latencies(made, 64, 12)
    assert more[:10] == first
    assert len(asked) == 12


def test_there_may_be_fewer_than_wanted(ground):
    made, _ = ground
    assert len(measured_latencies(made, 64, 200)) == 24


def test_too_few_are_an_error(ground, monkeypatch):
    made, _ = ground

    def refuse(self, chosen, length):
        raise ValueError("it does not take this length")

    monkeypatch.setattr(Ground, "latency", refuse)
    with pytest.raises(ValueError, match="it does not take this length"):
        measured_latencies(made, 64, 10)
