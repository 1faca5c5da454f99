"""Evolution as HAT does it, and what becomes of winners."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from xcompose_plugins.strategies.hat import Hat, HatOptions, child_of, crowding, fittest, spread

from xcompose.api import Candidate, Context, PartError

CHOICES = {"a": ("1", "2", "3"), "b": ("x", "y"), "c": ("p", "q", "r", "s")}
SPACE = {path: SimpleNamespace(choices=values) for path, values in CHOICES.items()}
CONTEXT = Context(dim=8, causal="strict")


def trial(number: int, *values: float, broken: float = 0.0) -> SimpleNamespace:
    return SimpleNamespace(number=number, params={}, values=list(values), constraints={"loss ..2": broken})


def numbers(trials) -> list[int]:
    return [one.number for one in trials]


class TestChildren:
    parents = [{"a": "1", "b": "x", "c": "p"}, {"a": "2", "b": "y", "c": "p"}, {"a": "2", "b": "y", "c": "q"}]

    def many(self, mutation: float, crossover: float, count: int = 4000) -> list[dict[str, str]]:
        draw = random.Random(0)
        return [child_of(draw, self.parents, SPACE, mutation, crossover) for _ in range(count)]

    def test_a_crossing_takes_each_choice_from_one_of_two(self):
        for child in self.many(1.0, 1.0, 200):
            pairs = itertools.combinations(self.parents, 2)
            assert any(all(child[path] in (a[path], b[path]) for path in child) for a, b in pairs)

    def test_a_mutant_changes_each_choice_with_this_probability(self):
        children = self.many(0.3, 0.0)
        kept = Counter(child["c"] in ("p", "q") for child in children)
        # drawn anew among four, half of which parents have
        assert kept[True] / len(children) == pytest.approx(0.7 + 0.3 / 2, abs=0.03)
        assert self.many(0.0, 0.0, 50) == [child for child in self.many(0.0, 0.0, 50) if child in self.parents]

    def test_one_parent_alone_has_mutants(self):
        child = child_of(random.Random(0), self.parents[:1], SPACE, 0.0, 1.0)
        assert child == self.parents[0]


class TestFittest:
    def test_one_figure(self):
        trials = [trial(0, 3.0), trial(1, 1.0), trial(2, 2.0), trial(3, 1.0)]
        assert numbers(fittest(trials, [False], 3)) == [1, 3, 2]
        assert numbers(fittest(trials, [True], 2)) == [0, 2]

    def test_fronts_come_before_what_they_beat(self):
        trials = [trial(0, 2, 2), trial(1, 1, 3), trial(2, 3, 1), trial(3, 1, 1), trial(4, 5, 0)]
        assert numbers(fittest(trials, [False, False], 2)) == [3, 4]
        assert set(numbers(fittest(trials, [False, False], 5))[2:]) == {0, 1, 2}

    def test_ends_of_a_front_come_first(self):
        trials = [trial(i, i, 10 - i) for i in range(11)] + [trial(11, 5.0, 5.0001)]
        found = numbers(fittest(trials, [False, False], 3))
        assert set(found[:2]) == {0, 10}

    def test_broken_bounds_come_last(self):
        trials = [trial(0, 1.0, broken=0.5), trial(1, 2.0, broken=0.1), trial(2, 9.0), trial(3, 8.0, broken=-1.0)]
        assert numbers(fittest(trials, [False], 4)) == [3, 2, 1, 0]

    def test_against_brute_force(self):
        draw = random.Random(3)
        for _ in range(30):
            trials = [trial(i, draw.randrange(5), draw.randrange(5)) for i in range(12)]
            chosen = numbers(fittest(trials, [False, False], 12))
            rank, left = {}, list(trials)
            while left:
                best = [
                    t for t in left
                    if not any(all(x <= y for x, y in zip(o.values, t.values, strict=True)) and o.values != t.values
                               for o in left)
                ]  # fmt: skip
                rank |= {t.number: len(set(rank.values())) for t in best}
                left = [t for t in left if t not in best]
            assert [rank[n] for n in chosen] == sorted(rank.values())


def test_crowding_by_hand():
    room = crowding([[0.0, 4.0], [1.0, 3.0], [3.0, 1.0], [4.0, 0.0]])
    assert room[0] == room[3] == math.inf
    assert room[1] == pytest.approx((3 - 0) / 4 + (4 - 1) / 4)
    assert room[2] == pytest.approx((4 - 1) / 4 + (3 - 0) / 4)
    assert crowding([]) == []


def test_spread():
    many = list(range(10))
    assert spread(many, 4) == [0, 3, 6, 9]  # type: ignore[arg-type]
    assert spread(many, 1) == [0]  # type: ignore[arg-type]
    assert spread(many, 0) == []  # type: ignore[arg-type]
    assert spread(many, 12) == many  # type: ignore[arg-type]


def test_parents_are_of_the_population():
    with pytest.raises(PartError) as caught:
        Hat(HatOptions(population=4, parents=5), CONTEXT)

    assert caught.value.message == "5 parents cannot be chosen from a population of 4"
    assert caught.value.option == "parents"
    assert caught.value.fixes == ("parents=4, or fewer",)


def study(strategy: Hat, trials: int, cut: int | None = None):
    """A study that minimizes the sum of two choices, with a new sampler for each trial."""
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {path: optuna.distributions.CategoricalDistribution(values) for path, values in CHOICES.items()}
    made = optuna.create_study(directions=["minimize", "maximize"])
    for number in range(trials):
        if number == cut:
            again = optuna.create_study(directions=["minimize", "maximize"])
            for old in made.get_trials():
                again.add_trial(old)
            made = again
        made.sampler = strategy.sampler(number)
        asked = made.ask(space)
        made.tell(asked, [float(asked.params["a"]) + "pqrs".index(asked.params["c"]), "xy".index(asked.params["b"])])
    return made


class TestSampler:
    def test_children_are_of_the_best(self):
        found = study(Hat(HatOptions(population=6, parents=2, mutation=0.0), CONTEXT), 24).get_trials()
        first, last = found[:6], found[18:]

        assert sum(t.values[0] for t in last) < sum(t.values[0] for t in first)
        best = min(t.values[0] for t in found[:18])
        assert min(t.values[0] for t in last) <= best + 1

    def test_a_search_that_goes_on_draws_the_same(self):
        strategy = Hat(HatOptions(population=5, parents=3), CONTEXT)
        whole, parts = study(strategy, 20), study(strategy, 20, cut=9)
        assert [t.params for t in whole.get_trials()] == [t.params for t in parts.get_trials()]


class Super:
    """A super-network that knows a figure for each candidate."""

    def __init__(self, figures: dict[str, float]):
        self.figures, self.valid = figures, {"loss": 3.0, "nats_off": 2.5, "smallest_nats_off": 2.75}
        self.work = SimpleNamespace(task=SimpleNamespace(metric="nats_off"))

    def measured(self, spec, chosen):
        return {"loss": 9.0, "nats_off": self.figures[chosen["a"]]}


class Ground:
    """Trains by table."""

    folder = Path("strategy")

    def __init__(self, figures: dict[str, float]):
        self.figures, self.shown, self.trained = figures, [], []

    def show(self, text, share):
        self.shown.append((text, share))

    def train(self, candidate, folder):
        self.trained.append(folder)
        return {"loss": 8.0, "nats_off": self.figures[candidate.chosen["a"]]}


def candidates(count: int) -> list[Candidate]:
    return [Candidate(10 + i, {"a": str(i)}, None, Path("trials")) for i in range(count)]  # type: ignore[arg-type]


class TestWinners:
    def run(self, count: int, retrain: int):
        strategy = Hat(HatOptions(steps=1500, retrain=retrain), CONTEXT)
        inherited = {str(i): 2.0 + i for i in range(count)}
        retrained = {str(i): [1.0, 1.5, 1.25, 1.75][i % 4] for i in range(count)}
        strategy.trained = Super(inherited)  # type: ignore[assignment]
        ground = Ground(retrained)
        return strategy, ground, strategy.winners(candidates(count), ground)  # type: ignore[arg-type]

    def test_both_figures_are_told(self):
        strategy, ground, found = self.run(4, 4)

        assert found == {
            10: {"inherited_nats_off": 2.0, "retrained_nats_off": 1.0},
            11: {"inherited_nats_off": 3.0, "retrained_nats_off": 1.5},
            12: {"inherited_nats_off": 4.0, "retrained_nats_off": 1.25},
            13: {"inherited_nats_off": 5.0, "retrained_nats_off": 1.75},
        }
        assert ground.trained[1] == Path("strategy/from-scratch/11")
        assert ground.shown[1] == ("trains trial 11 from scratch", 0.25)
        assert strategy.describe() == [
            "the super-network learnt for 1,500 steps; with inherited weights its largest model has 2.500 nats off, "
            "its smallest 2.750",
            "nats off of 4 winners, inherited against retrained: rank correlation 0.80",
        ]

    def test_some_of_many(self):
        _, ground, found = self.run(7, 3)
        assert list(found) == [10, 13, 16]

    def test_two_tell_nothing_of_ranks(self):
        strategy, _, _ = self.run(2, 4)
        assert strategy.describe()[1] == "2 retrained: too few to tell whether inherited weights rank them rightly"

    def test_none_is_trained(self):
        strategy, ground, found = self.run(3, 0)
        assert found == {}
        assert len(strategy.describe()) == 1

    def test_nothing_is_said_before_a_beginning(self):
        assert Hat(HatOptions(), CONTEXT).describe() == ()


class TestLatency:
    choices = {"a": tuple(map(str, range(1, 41))), "b": ("x", "y")}

    def ground(self, tmp_path):
        spent = []

        def latency(spec, length):
            spent.append(spec)
            return 1e-3 * float(spec["a"]) * (2.0 if spec["b"] == "y" else 1.0)

        return SimpleNamespace(
            choices=self.choices, seed=1, folder=tmp_path, latency=latency, resolve=lambda chosen: chosen,
            show=lambda *_: None, spent=spent,
        )  # fmt: skip

    def test_it_is_measured(self, tmp_path):
        ground = self.ground(tmp_path)
        one = Candidate(0, {"a": "7", "b": "y"}, {"a": "7", "b": "y"}, tmp_path)  # type: ignore[arg-type]
        assert Hat(HatOptions(), CONTEXT).latency(one, 64, ground) == 14e-3  # type: ignore[arg-type]
        assert len(ground.spent) == 1

    def test_or_told(self, tmp_path):
        ground = self.ground(tmp_path)
        strategy = Hat(HatOptions(latency="predicted", samples=60, width=32), CONTEXT)
        told = [
            strategy.latency(Candidate(0, chosen, None, tmp_path), 64, ground)  # type: ignore[arg-type]
            for chosen in ({"a": "7", "b": "y"}, {"a": "30", "b": "x"}, {"a": "39", "b": "y"})
        ]
        assert told == pytest.approx([14e-3, 30e-3, 78e-3], rel=0.25)
        assert len(ground.spent) == 60
        strategy.trained = Super({})  # type: ignore[assignment]
        (_, said) = strategy.describe()
        assert said.startswith("latency at 64 is told by a network that learnt from 48 measured combinations; for 12 ")
