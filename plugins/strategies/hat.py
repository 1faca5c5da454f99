"""Hardware-aware search (HAT): one super-network lends its weights to all candidates, evolution picks among them.

Maths    each step trains one combination, each choice drawn with the same chance for its values; a candidate's weight
         is W[:r, :c] of the largest W there is. Parents: the p best so far; child: each choice of a parent drawn anew
         with probability m, or each choice from one of two parents. Winners are trained from scratch
Shapes   the first generation is drawn at random; with `latency=predicted`: features (x), one for a choice of numbers
         (value / largest), one for each value of any other; four layers of `width` with ReLU, to log seconds
Cost     one training of `steps`, each no dearer than one of the largest candidate; then an evaluation for each
         candidate, and `retrain` trainings
Limits   a slice is whole heads only where all heads are equally wide: write head_dim. Inherited figures rank
         candidates, they do not say what these reach: all share one compromise. The paper's own sizes: population 125,
         parents 25, 30 generations of 50 mutants and 50 crossings; a predictor 400 wide, from 2,000 samples, learning
         rate 1e-5, batches of 128, 5,000 steps (here 1e-3 and 1,000). Its heads share 512 channels, so fewer are wider;
         here fewer heads are fewer channels. Needs optuna
Paper    Wang et al., HAT: Hardware-Aware Transformers, ACL 2020, arXiv:2005.14187, s. 2.1 to 2.3
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from xcompose.api import (
    Candidate,
    Component,
    Context,
    Count,
    Ground,
    LatencyPredictor,
    PartError,
    Real,
    Strategy,
    TrainedSuper,
    extra,
    front,
    hookimpl,
    measured_latencies,
    option,
    options,
    rank_correlation,
    trained_super,
)


@options
class HatOptions:
    """Hardware-aware search."""

    steps: Count = option(2000, main=True, at_least=1)
    """Steps that the super-network is trained for."""
    population: Count = option(20, at_least=2)
    """Trials in a generation; the paper has 125."""
    parents: Count = option(5, at_least=2)
    """The best so far, of which the next generation are children; the paper has 25."""
    mutation: Real = option(0.3, at_least=0, at_most=1)
    """Probability that a mutant's choice is drawn anew, as in the paper."""
    crossover: Real = option(0.5, at_least=0, at_most=1)
    """How many of the children have two parents, as in the paper; the others are mutants of one."""
    retrain: Count = option(4)
    """How many winners are trained from scratch, spread over all of them; the paper trains one for each bound."""
    latency: Literal["measured", "predicted"] = option("measured")
    """Whether a candidate's latency is measured, or told by a network that has learnt from samples."""
    samples: Count = option(200, at_least=20)
    """Combinations that are measured for the predictor; the paper has 2,000."""
    width: Count = option(400, at_least=1)
    """Width of the predictor, as in the paper."""


class Hat(Strategy):
    """A super-network, evolution on inherited weights, winners from scratch."""

    def __init__(self, options: HatOptions, context: Context):
        if options.parents > options.population:
            raise PartError(
                f"{options.parents} parents cannot be chosen from a population of {options.population}",
                option="parents", fixes=(f"parents={options.population}, or fewer",),
            )  # fmt: skip
        self.options = options
        self.trained: TrainedSuper | None = None
        self.predictors: dict[int, LatencyPredictor] = {}
        self.figures: dict[int, tuple[float, float]] = {}
        """Of winners, by trial: the metric with inherited weights, and behind training from scratch."""
        self.untrained: dict[int, str] = {}
        """Of winners that could not be trained from scratch, by trial: why."""

    def sampler(self, seed: int) -> Any:
        samplers, draw = extra("optuna.samplers", "search"), random.Random(seed)

        def child(study: Any, space: Mapping[str, Any], parents: Sequence[Any]) -> dict[str, Any]:
            options = self.options
            # A study that goes on may list them in another order than one that has just chosen them.
            known = [one.params for one in sorted(parents, key=lambda trial: trial.number)]
            return child_of(draw, known, space, options.mutation, options.crossover)

        def best(study: Any, trials: Sequence[Any]) -> list[Any]:
            larger = [direction.name == "MAXIMIZE" for direction in study.directions]
            return fittest(trials, larger, self.options.parents)

        with warnings.catch_warnings():
            # Both arguments are called experimental; the version of optuna is pinned.
            warnings.simplefilter("ignore")
            return samplers.NSGAIISampler(
                population_size=self.options.population, seed=seed, child_generation_strategy=child,
                elite_population_selection_strategy=best,
            )  # fmt: skip

    def begin(self, ground: Ground) -> None:
        self.trained = trained_super(ground, self.options.steps)

    def quality(self, candidate: Candidate, ground: Ground) -> Mapping[str, float]:
        assert self.trained is not None, "a search begins before it measures"
        return self.trained.measured(candidate.spec, candidate.chosen)

    def latency(self, candidate: Candidate, length: int, ground: Ground) -> float:
        if self.options.latency == "measured":
            return ground.latency(candidate.spec, length)
        if length not in self.predictors:
            samples = measured_latencies(ground, length, self.options.samples)
            self.predictors[length] = LatencyPredictor(ground.choices, samples, self.options.width, ground.seed)
        return self.predictors[length].seconds(candidate.chosen)

    def winners(self, winners: Sequence[Candidate], ground: Ground) -> Mapping[int, Mapping[str, float]]:
        assert self.trained is not None, "a search begins before it ends"
        metric, found = self.trained.work.task.metric, {}
        chosen = spread(winners, self.options.retrain)
        for place, one in enumerate(chosen):
            ground.show(f"trains trial {one.number} from scratch", place / len(chosen))
            try:
                inherited = self.quality(one, ground)[metric]
                retrained = ground.train(one, ground.folder / "from-scratch" / str(one.number))[metric]
            except (ValueError, RuntimeError) as error:  # the others are worth a report
                self.untrained[one.number] = (str(error) or type(error).__name__).splitlines()[0]
                continue
            self.figures[one.number] = (inherited, retrained)
            found[one.number] = {f"inherited_{metric}": inherited, f"retrained_{metric}": retrained}
        return found

    def describe(self) -> Sequence[str]:
        if self.trained is None:
            return ()
        metric, valid = self.trained.work.task.metric, self.trained.valid
        word = metric.replace("_", " ")
        said = [
            f"the super-network learnt for {self.options.steps:,} steps; with inherited weights its largest model has "
            f"{valid[metric]:.3f} {word}, its smallest {valid[f'smallest_{metric}']:.3f}"
        ]
        if len(self.figures) > 2:
            rank = rank_correlation(*zip(*self.figures.values(), strict=True))
            count = len(self.figures)
            said.append(f"{word} of {count} winners, inherited against retrained: rank correlation {rank:.2f}")
        elif self.figures:
            said.append(f"{len(self.figures)} retrained: too few to tell whether inherited weights rank them rightly")
        said += [f"trial {number} could not be trained from scratch: {why}" for number, why in self.untrained.items()]
        said += [predictor.describe(length) for length, predictor in sorted(self.predictors.items())]
        return said


def spread(winners: Sequence[Candidate], count: int) -> list[Candidate]:
    """So many of a list, evenly, its ends among them; all where it has no more."""
    if len(winners) <= count or count < 2:
        return list(winners[:count])
    return [winners[round(place * (len(winners) - 1) / (count - 1))] for place in range(count)]


# Evolution ---------------------------------------------------------------------------------------------------------


def child_of(
    draw: random.Random, parents: Sequence[Mapping[str, Any]], space: Mapping[str, Any], mutation: float,
    crossover: float,
) -> dict[str, Any]:  # fmt: skip
    """One child, as a value for each choice of the space.

    Args:
        draw: what chance comes from.
        parents: their values.
        space: choices with their values, as optuna's categorical distributions.
        mutation: probability that a choice of a mutant is drawn anew.
        crossover: probability that the child has two parents, and no mutation.
    """
    if draw.random() < crossover and len(parents) > 1:
        pair = draw.sample(list(parents), 2)
        return {path: draw.choice(pair)[path] for path in space}
    one = draw.choice(list(parents))
    return {
        path: draw.choice(among.choices) if draw.random() < mutation else one[path] for path, among in space.items()
    }


def fittest(trials: Sequence[Any], larger: Sequence[bool], count: int) -> list[Any]:
    """The best trials: those that keep all bounds before others; then by how many fronts nothing beats them; in a front
    those with the most room around them, then the earliest.

    Args:
        trials: optuna's, finished.
        larger: for each objective whether more is better.
        count: how many at most.
    """
    broken = {trial.number: sum(max(0.0, v) for v in trial.constraints.values()) for trial in trials}
    chosen = []
    for much in sorted(set(broken.values())):
        left = sorted((t for t in trials if broken[t.number] == much), key=lambda t: t.number)
        while left and len(chosen) < count:
            points = [[-v if up else v for v, up in zip(t.values, larger, strict=True)] for t in left]
            best = front(points)
            room = crowding([points[i] for i in best])
            order = sorted(range(len(best)), key=lambda i: -room[i])
            chosen += [left[best[i]] for i in order]
            left = [t for i, t in enumerate(left) if i not in best]
    return chosen[:count]


def crowding(values: Sequence[Sequence[float]]) -> list[float]:
    """How far the neighbours of each point lie apart, summed over the objectives as shares of their ranges."""
    room = [0.0] * len(values)
    for axis in range(len(values[0]) if values else 0):
        order = sorted(range(len(values)), key=lambda i: values[i][axis])
        low, high = values[order[0]][axis], values[order[-1]][axis]
        room[order[0]] = room[order[-1]] = math.inf
        for before, i, behind in zip(order, order[1:], order[2:], strict=False):
            room[i] += (values[behind][axis] - values[before][axis]) / (high - low) if high > low else 0.0
    return room


@hookimpl
def components():
    return [
        Component(
            kind="strategy", name="hat", options=HatOptions, build=Hat,
            also=("super-network", "supernet", "weight-sharing"),
        )
    ]  # fmt: skip
