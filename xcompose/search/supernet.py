"""A super-network: one model that holds the weights of every combination of choices, and trains one of them a step.

Which combination a step trains follows from a seed and the number of the step alone, so replicas agree without talking
and a run that goes on draws what it would have drawn.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from xcompose.compose.build import build_model, plan_model
from xcompose.compose.model import Model
from xcompose.compose.observe import Tally
from xcompose.compose.parts import AfterStep
from xcompose.compose.tasks import Batch, Splits, Task
from xcompose.diagnostics import PartError, SpecError
from xcompose.registry import Registry
from xcompose.search.slices import Skeleton, Table, covering, places, started
from xcompose.spec.model import Spec

Chosen = Mapping[str, str]
"""A value for each choice, by its path, as an override writes it."""

PROBED = 128
"""Spaces of at most so many combinations are looked at wholly before the super-network is made."""
KEPT = 128
"""Skeletons that are kept for the next time."""
TRIES = 1000
"""Combinations that are drawn for a step until one is legal."""


@attrs.frozen(eq=False)
class Space:
    """Every combination there is."""

    choices: Mapping[str, tuple[str, ...]]
    """Path to values."""
    resolve: Callable[[Chosen], Spec]
    """From a combination to its spec."""
    registry: Registry

    @property
    def size(self) -> int:
        return math.prod(len(values) for values in self.choices.values())

    def every(self) -> Iterator[Chosen]:
        for values in itertools.product(*self.choices.values()):
            yield dict(zip(self.choices, values, strict=True))

    def drawn(self, draw: random.Random) -> Chosen:
        """One combination: for each choice each value alike."""
        return {path: draw.choice(values) for path, values in self.choices.items()}

    def plan(self, chosen: Chosen) -> Model:
        """Its model on the meta device.

        Raises:
            SpecError: it is illegal.
        """
        return plan_model(self.resolve(chosen), registry=self.registry)


def said(chosen: Chosen) -> str:
    """A combination for messages: `dim=64, layers=2`."""
    return ", ".join(f"{path.removeprefix('model.').removeprefix('let.')}={value}" for path, value in chosen.items())


def key_of(chosen: Chosen) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(chosen.items()))


@attrs.frozen(eq=False)
class Survey:
    """What was found out about a space before anything is trained."""

    table: Table
    largest: Chosen
    smallest: Chosen
    painters: tuple[Chosen, ...]
    """Combinations that together have every weight there is, the largest first."""
    seen: int
    """How many combinations were looked at."""
    illegal: int
    """How many of these are refused by the checks."""


def survey(space: Space) -> Survey:
    """Look at the combinations of a space: all of a small one, else those around its largest and its smallest.

    Raises:
        SpecError: none is legal; the message is that of the first.
        PartError: some cannot have weights in common.
    """
    found = _Probes(space)
    if space.size <= PROBED:
        for chosen in space.every():
            found.weigh(chosen)
    else:
        found.climb(1)
        found.climb(-1)
    if not found.models:
        assert found.first is not None, "a space has a combination"
        raise found.first
    table, planned = Table(), list(found.models.values())
    for chosen, model in planned:
        table.add(model, said(chosen))
    shapes = [{name: tuple(p[0].tensor.shape) for name, p in places(model).items()} for _, model in planned]
    weights = [sum(p.numel() for p in model.parameters()) for _, model in planned]
    return Survey(
        table, planned[weights.index(max(weights))][0], planned[weights.index(min(weights))][0],
        tuple(planned[number][0] for number in covering(shapes)), found.seen, found.seen - len(planned),
    )  # fmt: skip


class _Probes:
    """Combinations that were looked at, each once."""

    def __init__(self, space: Space):
        self.space = space
        self.models: dict[tuple[tuple[str, str], ...], tuple[Chosen, Model]] = {}
        self.first: SpecError | None = None
        self._weights: dict[tuple[tuple[str, str], ...], float] = {}

    @property
    def seen(self) -> int:
        return len(self._weights)

    def weigh(self, chosen: Chosen) -> float:
        """How many parameters it has; NaN where it is illegal."""
        key = key_of(chosen)
        if key not in self._weights:
            try:
                model = self.space.plan(chosen)
            except SpecError as error:
                self.first = self.first or error
                self._weights[key] = math.nan
            else:
                self.models[key] = (chosen, model)
                self._weights[key] = float(sum(p.numel() for p in model.parameters()))
        return self._weights[key]

    def climb(self, sign: int) -> None:
        """Choice by choice to what has the most parameters, or with -1 the fewest, until nothing has more."""
        best = {path: values[0] for path, values in self.space.choices.items()}
        moved = True
        while moved:
            moved = False
            for path, values in self.space.choices.items():
                for value in values:
                    other = {**best, path: value}
                    here, there = self.weigh(best), self.weigh(other)
                    if there * sign > here * sign or (math.isnan(here) and not math.isnan(there)):
                        best, moved = other, True


class SuperModel(nn.Module, AfterStep):
    """Weights for every combination, lent to one of them at a time.

    Args:
        space: what may be combined.
        found: its survey.
        seed: of the first weights, as for `build_model`.
        draws: seed of the combinations.
    """

    drawn: Tensor
    """Steps so far."""

    def __init__(self, space: Space, found: Survey, *, seed: int, draws: int):
        super().__init__()
        self.space, self.found, self.seed, self.draws = space, found, seed, draws
        self.weights = nn.Module()
        self.tally = Tally()
        self.register_buffer("drawn", torch.zeros((), dtype=torch.long))
        # The largest comes last, so that it starts as it would start alone.
        start = started(found.table, (self._built(chosen) for chosen in reversed(found.painters)))
        for name, tensor in start.items():
            _plant(self.weights, name, tensor, found.table)
        self._held = places_in(self.weights, start)
        self._skeletons: OrderedDict[tuple[tuple[str, str], ...], Skeleton] = OrderedDict()
        self._illegal: dict[tuple[tuple[str, str], ...], str] = {}
        self._lent: Skeleton | None = None
        self._chosen: tuple[int, Chosen] | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Every weight by its name in the models."""
        return {name: shelf[key] for name, (shelf, key) in self._held.items()}

    # Combinations --------------------------------------------------------------------------------------------------

    def skeleton(self, chosen: Chosen) -> Skeleton:
        """The model of a combination, without weights.

        Raises:
            SpecError: the checks refuse it.
            PartError: it has weights that the super-network has not.
        """
        key = key_of(chosen)
        if key not in self._skeletons:
            if key in self._illegal:
                raise PartError(self._illegal[key])
            try:
                model = self._built(chosen)
                self.found.table.refuse(model, said(chosen))
                self._refuse_larger(model, chosen)
            except (SpecError, PartError) as error:
                self._illegal[key] = str(error)
                raise
            self._skeletons[key] = Skeleton(model)
            if len(self._skeletons) > KEPT:
                self._skeletons.popitem(last=False)
        self._skeletons.move_to_end(key)
        return self._skeletons[key]

    def _built(self, chosen: Chosen) -> Model:
        spec = self.space.resolve(chosen)
        return build_model(spec, seed=self.seed, device="cpu", registry=self.space.registry, training=True)

    def _refuse_larger(self, model: Model, chosen: Chosen) -> None:
        if not self.found.table.holds(model):
            raise PartError(
                f"the super-network has no room for {said(chosen)}",
                label=f"of {self.space.size:,} combinations it looked at {self.found.seen:,}, none of them so large",
                fixes=("fewer choices", "choices that do not depend on each other"),
            )  # fmt: skip

    def combination(self) -> Chosen:
        """What the present step trains.

        Raises:
            PartError: nothing legal was drawn.
        """
        step = int(self.drawn)
        if self._chosen is None or self._chosen[0] != step:
            self._chosen = (step, self._draw(step))
        return self._chosen[1]

    def _draw(self, step: int) -> Chosen:
        draw = random.Random(f"{self.draws} {step}")
        for _ in range(TRIES):
            chosen = self.space.drawn(draw)
            try:
                self.skeleton(chosen)
            except (SpecError, PartError):
                continue
            return chosen
        raise PartError(
            f"of {TRIES} combinations drawn at random the checks refuse every one",
            fixes=("choices that go together more often",),
        )  # fmt: skip

    # Work ----------------------------------------------------------------------------------------------------------

    @contextmanager
    def using(self, chosen: Chosen) -> Iterator[Model]:
        """The model of a combination with its part of the weights, to look at; it trains where this one does."""
        self._give_back()
        skeleton = self.skeleton(chosen)
        with skeleton.lent(self.tensors()) as model:
            yield model.train(self.training)

    @contextmanager
    def stepping(self) -> Iterator[Model]:
        """The model of this step, to compute its loss. Its weights stay lent until the step is over, because what is
        computed again for a gradient needs them."""
        self._give_back()
        self._lent = self.skeleton(self.combination())
        self._lent.take(self.tensors())
        model = self._lent.model.train()
        with self.tally.watching(model):
            yield model

    def after_step(self) -> None:
        """Let the model of this step do what its parts do behind a step, and go on to the next."""
        if self._lent is not None:
            model = self._lent.model
            self._lent.take({name: tensor.detach() for name, tensor in self.tensors().items()})
            self.tally.teach(model)
            for module in model.modules():
                if isinstance(module, AfterStep):
                    module.after_step()
        self._give_back()
        self.drawn += 1

    def _give_back(self) -> None:
        if self._lent is not None:
            self._lent.give_back()
            self._lent = None

    def extracted(self, chosen: Chosen) -> Model:
        """The model of a combination with a copy of its part of the weights."""
        model, tensors = self._built(chosen), self.tensors()
        with torch.no_grad():
            for name, everywhere in places(model).items():
                everywhere[0].tensor.copy_(tensors[name][tuple(slice(n) for n in everywhere[0].tensor.shape)])
        return model.eval()


def places_in(root: nn.Module, names: Mapping[str, Any]) -> dict[str, tuple[dict[str, Any], str]]:
    """Where each name lies in a tree of modules."""
    found = {}
    for name in names:
        above, _, key = name.rpartition(".")
        module = root.get_submodule(above)
        found[name] = (module._parameters if key in module._parameters else module._buffers, key)
    return found


def _plant(root: nn.Module, name: str, tensor: Tensor, table: Table) -> None:
    """Put a tensor at its name in a tree of modules, so that a super-network's names are those of its models."""
    *above, key = name.split(".")
    module = root
    for step in above:
        if step not in module._modules:
            module.add_module(step, nn.Module())
        module = module.get_submodule(step)
    fact = table.facts[name]
    if fact.weight:
        module.register_parameter(key, nn.Parameter(tensor, requires_grad=fact.trained))
    else:
        module.register_buffer(key, tensor)


class Sampled(Task):
    """A task as a super-network learns it: each step by one combination; measured by the largest and the smallest.

    Args:
        task: what each of them learns.
    """

    def __init__(self, task: Task):
        self.task = task
        self.metric, self.higher_is_better, self.unit = task.metric, task.higher_is_better, task.unit
        self.opening, self.ending = task.opening, task.ending

    def splits(self, data: Any, length: int, seed: int) -> Splits:
        return self.task.splits(data, length, seed)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        assert isinstance(model, SuperModel), "only a super-network is sampled"
        if model.training:
            with model.stepping() as one:
                return self.task.loss(one, batch)
        with model.using(model.found.smallest) as small:
            least, others = self.task.loss(small, batch)
        with model.using(model.found.largest) as large:
            loss, metrics = self.task.loss(large, batch)
        smallest = {f"smallest_{name}": value for name, value in {"loss": least, **others}.items()}
        return loss, {**metrics, **smallest}
