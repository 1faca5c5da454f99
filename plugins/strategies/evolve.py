"""Evolution: children of the combinations that nothing beats, mixed and changed at random; NSGA-II.

Maths    sort by domination (a beats b: nowhere worse, somewhere better), then by crowding; the best p are parents
         child_i = one parent's choice i, or the other's; with probability m a choice drawn anew
Shapes   the first p trials are drawn at random, each further generation has p
Cost     O(k p^2) comparisons a generation for k objectives, nothing beside a training
Limits   what breaks a bound that only training shows is a parent where nothing keeps it; needs optuna
Paper    Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, IEEE TEC 2002
"""

from __future__ import annotations

from typing import Any

from xcompose.api import Component, Context, Count, Real, Strategy, extra, hookimpl, option, options


@options
class EvolveOptions:
    """Evolution."""

    population: Count = option(12, main=True, at_least=2)
    """Trials in a generation p; the paper has 100."""
    mutation: Real | None = option(None, at_least=0, at_most=1)
    """Probability m that a choice is drawn anew; one choice of each child if not said, as in the paper."""
    crossover: Real = option(0.9, at_least=0, at_most=1)
    """Probability that a child has two parents, as in the paper."""


class Evolve(Strategy):
    """NSGA-II."""

    def __init__(self, options: EvolveOptions, context: Context):
        self.options = options

    def sampler(self, seed: int) -> Any:
        return extra("optuna.samplers", "search").NSGAIISampler(
            population_size=self.options.population, mutation_prob=self.options.mutation,
            crossover_prob=self.options.crossover, seed=seed,
        )  # fmt: skip


@hookimpl
def components():
    return [
        Component(
            kind="strategy", name="evolve", options=EvolveOptions, build=Evolve, also=("nsga2", "nsga-ii", "genetic")
        )
    ]
