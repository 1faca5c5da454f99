"""What a run keeps of its spec: the text with every default, and beside it those of the specs that it names.

A run's folder may lie anywhere, and the files that its spec came from may change or vanish; so the models that the
spec names are written into the folder, and the kept text names these.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import attrs

from xcompose.registry import Registry
from xcompose.spec import Node, Spec, SpecName, freeze, load
from xcompose.spec.frozen import signed
from xcompose.spec.yaml import SUFFIX

OWN = "spec"
"""What the file of the run's own spec is called."""


class Kept(NamedTuple):
    """Texts of specs, which load back."""

    text: str
    others: Mapping[str, str]
    """Of the specs that it names, by the names of their files beside it: `teacher.xc.yaml`."""


def kept(spec: Spec, how: Mapping[str, Any], registry: Registry) -> Kept:
    """What a run keeps.

    Args:
        spec: as it was read.
        how: its settings of training, with every default.
        registry: where components are looked up.

    Raises:
        SpecError: a spec that is named does not load.
    """
    folder = Path(spec.file).parent if spec.file else Path()
    files: dict[SpecName, str] = {}
    names = attrs.evolve(spec, train=how)
    how = {key: _moved(value, key, folder, files) for key, value in how.items()}
    others = {
        file: freeze(attrs.evolve(load(name, catalogue=registry.catalogue), task=None, train={}, expect=()))
        for name, file in files.items()
    }
    return Kept(signed(attrs.evolve(spec, train=how), registry.catalogue, folder, names=names), others)


def _moved(value: Any, option: str, folder: Path, files: dict[SpecName, str]) -> Any:
    """A value whose specs are named as if they lay in `folder`; which they are goes into `files`."""
    match value:
        case SpecName():
            files.setdefault(value, _free(option, files))
            return SpecName(str(folder.resolve() / files[value]))
        case Node(options=options):
            return attrs.evolve(value, options={k: _moved(v, k, folder, files) for k, v in options.items()})
        case Mapping():
            return {key: _moved(item, key, folder, files) for key, item in value.items()}
        case tuple():
            return tuple(_moved(item, option, folder, files) for item in value)
    return value


def _free(option: str, files: Mapping[SpecName, str]) -> str:
    taken = {f"{OWN}{SUFFIX}", *files.values()}
    names = (f"{option}{'' if count == 1 else f'-{count}'}{SUFFIX}" for count in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)
