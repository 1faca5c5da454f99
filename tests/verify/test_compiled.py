"""The stage that compiles and exports: off by default, and it finds what a compiler refuses."""

from __future__ import annotations

import torch
from small_models import Windowed, subject

from xcompose.attention.reads import Axis
from xcompose.compose.parts import Mixed
from xcompose.verify import compiled


class AsksData(Windowed):
    """Looks at a value to decide what to do."""

    def mix(self, x: torch.Tensor, axis: Axis, source=None) -> Mixed:
        return super().mix(x, axis) if float(x.sum()) > 0 else Mixed(x)


class Constant(Windowed):
    """Gives something else once it is traced."""

    def mix(self, x: torch.Tensor, axis: Axis, source=None) -> Mixed:
        mixed = super().mix(x, axis)
        return Mixed(mixed.x + 1) if torch.compiler.is_compiling() else mixed


def test_a_model_without_data_dependent_python_compiles_and_exports():
    assert compiled.certify(subject(""), seed=3) == []


def test_a_model_that_asks_data_is_refused_by_both():
    found = compiled.certify(subject(mixers=lambda: [AsksData()]), seed=3)

    assert [(f.code, f.message, f.stage) for f in found] == [
        ("XC079", "torch.compile(fullgraph=True) refuses the model", "compile"),
        ("XC079", "torch.export refuses the model", "compile"),
    ]


def test_a_model_that_changes_when_it_is_compiled_is_found():
    found = compiled.certify(subject(mixers=lambda: [Constant()]), seed=3)

    assert "torch.compile(fullgraph=True) gives something else" in [f.message for f in found]
