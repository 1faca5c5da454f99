from __future__ import annotations

from collections import Counter

import optuna
from xcompose_plugins.strategies.random import Random, RandomOptions

from xcompose.api import Context

VALUES = optuna.distributions.CategoricalDistribution(tuple("abcde"))


def asked(seed):
    study = optuna.create_study(sampler=Random(RandomOptions(), Context(dim=5, causal="strict")).sampler(seed))
    return study.ask({"x": VALUES, "y": VALUES}).params


def test_each_value_has_the_same_chance_and_choices_are_drawn_apart():
    pairs = Counter(tuple(asked(seed).values()) for seed in range(1000))

    assert len(pairs) == 25
    # 40 each on average; six standard deviations, sqrt(1000 / 25 * 24 / 25) = 6.2
    assert all(3 < count < 77 for count in pairs.values())


def test_equal_seeds_draw_the_same():
    assert [asked(7), asked(7)] == [asked(7)] * 2
