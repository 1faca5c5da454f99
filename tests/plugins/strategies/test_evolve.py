from __future__ import annotations

import optuna
import pytest
from xcompose_plugins.strategies.evolve import Evolve, EvolveOptions

from xcompose.api import Context

CONTEXT = Context(dim=5, causal="strict")
VALUES = optuna.distributions.CategoricalDistribution(tuple("abcdefg"))


def study_of(values):
    study = optuna.create_study(directions=["minimize", "minimize"])
    for generation, (value, point) in values:
        study.add_trial(
            optuna.create_trial(
                params={"x": value, "y": value}, distributions={"x": VALUES, "y": VALUES}, values=point,
                system_attrs={"NSGAIISampler:generation": generation},
            )
        )  # fmt: skip
    return study


def asked(strategy, study, seed):
    study.sampler = strategy.sampler(seed)
    return study.ask({"x": VALUES, "y": VALUES}).params


def test_the_first_generation_is_drawn():
    strategy = Evolve(EvolveOptions(population=3), CONTEXT)
    drawn = {tuple(asked(strategy, study_of([]), seed).values()) for seed in range(60)}

    assert len(drawn) > 20


def test_children_are_made_of_what_nothing_beats():
    parents = [(0, ("a", (0.0, 1.0))), (0, ("b", (1.0, 0.0))), (0, ("c", (5.0, 5.0))), (0, ("d", (6.0, 6.0)))]
    strategy = Evolve(EvolveOptions(population=2, mutation=0.0), CONTEXT)
    study = study_of(parents)
    drawn = {tuple(asked(strategy, study, seed).values()) for seed in range(60)}

    assert drawn == {("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")}


def test_without_crossover_and_mutation_a_child_is_its_parent():
    strategy = Evolve(EvolveOptions(population=2, mutation=0.0, crossover=0.0), CONTEXT)
    study = study_of([(0, ("a", (0.0, 1.0))), (0, ("b", (1.0, 0.0)))])
    drawn = {tuple(asked(strategy, study, seed).values()) for seed in range(40)}

    assert drawn == {("a", "a"), ("b", "b")}


def test_equal_seeds_ask_for_equal_children():
    strategy = Evolve(EvolveOptions(population=2), CONTEXT)
    trials = [(0, ("a", (0.0, 1.0))), (0, ("b", (1.0, 0.0)))]

    for seed in range(5):
        assert asked(strategy, study_of(trials), seed) == asked(strategy, study_of(trials), seed)


def test_defaults_are_those_of_the_card():
    assert (EvolveOptions().population, EvolveOptions().mutation, EvolveOptions().crossover) == (12, None, 0.9)


def test_it_needs_optuna(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(ValueError, match="this needs optuna"):
        Evolve(EvolveOptions(), CONTEXT).sampler(0)
