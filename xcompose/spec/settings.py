"""The sections of a spec, and the settings of training and search with their defaults."""

from __future__ import annotations

from typing import Any

from xcompose.schema import AnyValue, Budget, Count, Length, Part, Real, Text, ValueType, option, options, type_of


@options
class EvalOptions:
    """When to measure on the validation set."""

    every: Count = option(500, at_least=1)
    """Steps between two measurements."""
    batches: Count = option(20, at_least=1)
    """How many batches to measure on."""


@options
class SaveOptions:
    """When to save."""

    every: Count = option(500, at_least=1)
    """Steps between two checkpoints."""


@options
class TrainOptions:
    """How long and how to train."""

    budget: Budget = option("1000 steps")
    """How long."""
    batch: Count = option(8, at_least=1)
    """Sequences in a batch."""
    length: Length | None = option(None, at_least=1)
    """Positions in a sequence; the model's length, else 1024."""
    eval: EvalOptions = option({})
    """When to measure."""
    save: SaveOptions = option({})
    """When to save."""
    goal: AnyValue = option(None)
    """What to reach: metric to range; missed, the command fails."""
    lr: Real = option(3e-4, above=0)
    """Learning rate at its height."""
    optimizer: Part.optimizer = option("adamw")
    """How weights move."""
    schedule: Part.schedule = option("cosine")
    """How the learning rate moves."""
    clip: Real = option(1.0, at_least=0)
    """Largest norm of the gradient; 0 does not clip."""
    seed: Count = option(0)
    """Of weights and of the order of the data."""
    recompute: bool = option(False)
    """Whether activations are computed again in the backward pass."""
    addons: tuple[Part.addon, ...] = option(())
    """Changes of training only."""


@options
class SearchOptions:
    """What to search, and how."""

    choices: AnyValue = option(None)
    """Path to a list of values."""
    minimize: tuple[str, ...] = option(())
    """Metrics, `params`, `trainable`, `state at 64Ki`, `memory at 4Ki`, `time at 4Ki`, `latency at 4Ki`."""
    within: AnyValue = option(None)
    """What every candidate must keep, as in `expect`."""
    budget: Budget = option("60 trials")
    """How long: trials that were measured, or a time."""
    seed: Count = option(0)
    """Of the search."""
    strategy: Part.strategy = option("evolve")
    """How candidates are chosen."""


@options
class FrozenOptions:
    """What a frozen spec meant when it was frozen; `xcompose freeze` writes it, and nobody else."""

    language: Count = option()
    """The version of the language."""
    plugins: dict[str, Text] = option()
    """By distribution: its version."""
    meaning: Text = option()
    """A digest of model, addons, task and training."""
    components: dict[str, dict[str, Text]] = option({})
    """By kind and name: the distribution, and a digest of the options."""
    expect: Text | None = option(None)
    """A digest of what it expects."""
    specs: tuple[Text, ...] = option(())
    """Of each spec that it names, in their order, a digest of model and addons."""
    parameters: Count | None = option(None)
    """How many numbers the model held."""
    tensors: Text | None = option(None)
    """A digest of the names and shapes of the model's tensors."""
    reads: Text | None = option(None)
    """A length, and a digest of who may read whom in a text of it."""


DEFAULT_LENGTH = 1024
ADDONS = ValueType("list", of=ValueType("component", kind="addon"))
TASK = ValueType("component", kind="task", optional=True)
SECTIONS: dict[str, ValueType] = {
    "addons": ADDONS,
    "task": TASK,
    "train": type_of(TrainOptions),
    "search": type_of(SearchOptions),
    "frozen": type_of(FrozenOptions),
}
"""The sections with a type of their own; `model` and `let` are read apart."""

VERSION = 1
"""Of the language."""

INHERITED = ("let", "model", "addons", "task", "train", "search", "expect")
"""What `extends` brings."""

KEYS = ("xcompose", "name", "about", "paper", "extends", *INHERITED, "variants", "frozen")
"""Every section."""

VARIED = ("name", "about", "paper", *INHERITED)
"""What a variant or an override may change."""


def settings_of(values: dict[str, Any], length: int | None) -> dict[str, Any]:
    """Training settings with the length filled in."""
    return {**values, "length": values["length"] or length or DEFAULT_LENGTH}
