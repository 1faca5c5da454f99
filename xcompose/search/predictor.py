"""Tells how long a model takes from the choices that make it, having learnt from some that were measured."""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from xcompose.search.ground import Ground
from xcompose.train.folder import write_atomically

Sample = tuple[Mapping[str, str], float]
"""A combination of choices, and the seconds it takes."""

HELD_OUT = 5
"""One of so many samples is kept from a predictor, to see how far off it is."""
TRIES = 50
"""Combinations drawn for each sample, at most, until enough are legal and new."""


def measured_latencies(ground: Ground, length: int, count: int) -> list[Sample]:
    """Measure combinations drawn at random, each once. What was measured before is read from the strategy's folder.

    Args:
        ground: of the search.
        length: tokens of the sequence.
        count: how many; fewer where there are no more.

    Raises:
        SpecError, ValueError: too few can be measured; that of the last one which cannot.
    """
    file = ground.folder / f"latency-{length}.json"
    known: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
    draw, found = random.Random(f"{ground.seed} latency"), dict[str, float]()
    refused: ValueError | None = None
    for _ in range(TRIES * count):
        if len(found) == count:
            break
        name = json.dumps({path: draw.choice(values) for path, values in ground.choices.items()}, sort_keys=True)
        if name in found:
            continue
        if name not in known:
            try:
                known[name] = ground.latency(ground.resolve(json.loads(name)), length)
            except ValueError as error:
                refused = error
                continue
            write_atomically(file, json.dumps(known, indent=1).encode())
            ground.show(f"measures latency at {length:,} for a predictor", len(found) / count)
        found[name] = known[name]
    if len(found) < HELD_OUT and refused is not None:
        raise refused
    return [(json.loads(name), seconds) for name, seconds in found.items()]


class LatencyPredictor:
    """A network from choices to seconds.

    A choice whose values are all numbers is one feature, the value as a share of the largest; any other has a feature
    for each of its values, 1 for the one that is chosen. Four layers with ReLU lead to the logarithm of the seconds.

    Args:
        choices: path to all values.
        samples: what was measured; every fifth is held out.
        width: of the layers.
        seed: of their first weights, and of the order of samples.
    """

    layers, steps, batch, rate = 4, 1000, 128, 1e-3

    def __init__(self, choices: Mapping[str, Sequence[str]], samples: Sequence[Sample], width: int, seed: int):
        self.choices = choices
        x = torch.stack([self.features(chosen) for chosen, _ in samples])
        y = torch.tensor([seconds for _, seconds in samples]).log()
        held = torch.arange(len(samples)) % HELD_OUT == HELD_OUT - 1
        self.count, self.held_out = int((~held).sum()), int(held.sum())
        self._mean, self._deviation = y[~held].mean(), y[~held].std().clamp(min=1e-6)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sizes = [x.shape[1], *[width] * self.layers, 1]
            layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
            self.net = nn.Sequential(*layers[:-1])
            self._learn(x[~held], (y[~held] - self._mean) / self._deviation)
        truth, told = y[held].exp().tolist(), self._told(x[held]).tolist()
        self.error = statistics.median(abs(a - b) / a for a, b in zip(truth, told, strict=True))
        """How far off it is for what was held out: the median, as a share."""
        self.rank = rank_correlation(truth, told)

    def features(self, chosen: Mapping[str, str]) -> Tensor:
        """(x) what the network reads of a combination."""
        found: list[float] = []
        for path, values in self.choices.items():
            numbers = {value: _number(value) for value in values}
            if None in numbers.values():
                found += [float(chosen[path] == value) for value in values]
            else:
                largest = max(abs(n or 0.0) for n in numbers.values()) or 1.0
                found.append((numbers[chosen[path]] or 0.0) / largest)
        return torch.tensor(found)

    def _learn(self, x: Tensor, y: Tensor) -> None:
        optimizer = torch.optim.Adam(self.net.parameters(), self.rate)
        for _ in range(self.steps):
            rows = torch.randint(len(x), (min(self.batch, len(x)),))
            loss = (self.net(x[rows])[:, 0] - y[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def _told(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return (self.net(x)[:, 0] * self._deviation + self._mean).exp()

    def seconds(self, chosen: Mapping[str, str]) -> float:
        """What a combination is said to take."""
        return float(self._told(self.features(chosen)[None]))

    def describe(self, length: int) -> str:
        """How good it is, for people."""
        return (
            f"latency at {length:,} is told by a network that learnt from {self.count} measured combinations; for "
            f"{self.held_out} others it is {self.error:.0%} off (median), rank correlation {self.rank:.2f}"
        )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's: the correlation of ranks, equal values having the mean of theirs; NaN where all are equal."""

    def ranks(values: Sequence[float]) -> list[float]:
        order = sorted(values)
        return [order.index(value) + (order.count(value) - 1) / 2 for value in values]

    if len(set(a)) < 2 or len(set(b)) < 2:
        return float("nan")
    return statistics.correlation(ranks(a), ranks(b))
