"""How faults are planted in what is installed, and what `check` has to say of them.

A fault is a small change of one real mechanism: a method replaced, or a component of the registry by a faulty one of
its name. The spec beside it is sound, and passes `check` where nothing is planted. Only one of its layers uses the
faulty mechanism, never the first, so that to find the layer is a test of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from xcompose.registry import Registry, load
from xcompose.schema import options
from xcompose.verify.results import SpecReport
from xcompose.verify.runner import check_spec

FAULTS: list[Fault] = []
DECODER = {"type": "decoder", "length": 13, "dim": 16, "heads": 2, "vocab": 11}
ENCODER = {**DECODER, "type": "encoder"}


@attrs.frozen
class Fault:
    """One fault, and the finding that it must lead to."""

    name: str
    seen: str
    """Where public code had it."""
    spec: str
    plant: Callable[[Bed], None]
    code: str
    path: str
    message: str
    names: str = ""
    """What a note says of the layer, where the finding itself is about a promise of the whole spec."""
    sound: str = ""
    """The spec without its fault, where the spec is what is faulty."""
    variant: str = ""

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def fault(name: str, *, seen: str, finds: tuple[str, str, str], spec: str, **more: Any) -> Callable[..., Any]:
    """Enter the function below into the table: it plants the fault."""

    def enter(plant: Callable[[Bed], None]) -> Callable[[Bed], None]:
        code, path, message = finds
        FAULTS.append(Fault(name, seen, spec, plant, code, path, message, **more))
        return plant

    return enter


class Bed:
    """What faults are planted in: modules of this process, and a registry of this test."""

    def __init__(self, patch: pytest.MonkeyPatch):
        self._patch = patch
        self.by_name = dict(load().by_name)

    def replace(self, owner: Any, name: str, new: Any) -> Any:
        """Put something else in the place of a function or method; gives back what was there."""
        old = getattr(owner, name)
        self._patch.setattr(owner, name, new)
        return old

    def class_of(self, kind: str, name: str) -> Any:
        """What builds the working part of a component: its class, as a rule."""
        return self.by_name[kind, name].build

    def options_of(self, kind: str, name: str) -> Any:
        """The option class of a component; a fixed pattern is its own working part."""
        return self.by_name[kind, name].options

    def build(self, kind: str, name: str, build: Callable[[Any, Any], Any]) -> None:
        """Have a component build something else."""
        self.by_name[kind, name] = attrs.evolve(self.by_name[kind, name], build=build)

    def pattern(self, name: str, **methods: Any) -> None:
        """Give a fixed pattern other methods; under another class, since plans are kept by equality."""
        real = self.by_name["pattern", name].options
        self.by_name["pattern", name] = attrs.evolve(
            self.by_name["pattern", name], options=options(type(real.__name__, (real,), methods))
        )

    def registry(self) -> Registry:
        return Registry(self.by_name)


def text(model: Mapping[str, Any], *layers: str, **more: Any) -> str:
    """A spec: the model's keys, its layers (mixers, or mappings in braces), and what stands below the model."""
    lines = ["xcompose: 1", "model:", *(f"  {key}: {value}" for key, value in model.items() if value)]
    lines += ["  layers:", *(f"    - {layer}" for layer in layers)] if layers else []
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in more.items())]) + "\n"


def decoder(*layers: str, **model: Any) -> str:
    return text({**DECODER, **model}, *layers)


def encoder(*layers: str, **model: Any) -> str:
    return text({**ENCODER, **model}, *layers)


def checked(
    spec: str, folder: Path, patch: pytest.MonkeyPatch, plant: Callable[[Bed], None] | None, variant: str = ""
) -> SpecReport:
    """What `check` finds in a spec, or a variant of it, with a fault planted or without."""
    file = folder / "model.xc.yaml"
    file.write_text(spec)
    patch.setenv("XCOMPOSE_CACHE", "none")  # what a sound process found says nothing here
    bed = Bed(patch)
    if plant is not None:
        plant(bed)
    return check_spec(f"{file}@{variant}" if variant else str(file), registry=bed.registry())
