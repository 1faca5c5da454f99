"""Random search: each choice is drawn by itself, with the same chance for each of its values.

Maths    choice_i ~ uniform over its values, independent of all trials before
Shapes   none
Cost     none
Limits   learns nothing from trials; the yardstick for strategies that do. Needs optuna
Paper    Bergstra and Bengio, Random Search for Hyper-Parameter Optimization, JMLR 2012
"""

from __future__ import annotations

from typing import Any

from xcompose.api import Component, Context, Strategy, extra, hookimpl, options


@options
class RandomOptions:
    """Random search has no options."""


class Random(Strategy):
    """Draw anew each time."""

    def __init__(self, options: RandomOptions, context: Context):
        self.options = options

    def sampler(self, seed: int) -> Any:
        return extra("optuna.samplers", "search").RandomSampler(seed=seed)


@hookimpl
def components():
    return [Component(kind="strategy", name="random", options=RandomOptions, build=Random)]
