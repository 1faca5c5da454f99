"""The kit as a whole: it measures what `check` measures, for every kind and every component that ships."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Literal

import pytest

from xcompose import testing
from xcompose.api import option, options
from xcompose.registry import load
from xcompose.schema import KINDS, option_schemas
from xcompose.testing.contract import BuiltContract, card_fault, default_fault, foreign_imports
from xcompose.testing.stand import name_of
from xcompose.verify import stages

HERE = Path(__file__).parent
CONTRACTS = {getattr(testing, name).kind: getattr(testing, name) for name in testing._HOME if name.endswith("Contract")}
NOT_HERE = {
    ("addon", "fusion"): "it joins adapters that stand below it in the list",
    ("addon", "distill"): "it wants a spec and weights of a teacher",
    ("task", "classify"): "it reads a corpus of several classes", ("task", "classify-pixels"): "it reads images",
    ("task", "pixels"): "it reads images", ("task", "points"): "it reads images",
    ("task", "translate"): "it reads pairs of lines",
    ("strategy", "hat"): "it trains a super-network", ("recurrence", "none"): "it is nothing",
}  # fmt: skip
"""Built-in components that only their own tests hold to something, and why."""


def test_there_is_a_contract_for_every_kind():
    assert set(CONTRACTS) == set(KINDS)


def test_it_measures_every_certificate():
    named = set()
    for contract in (BuiltContract, *CONTRACTS.values()):
        for node in ast.walk(ast.parse(inspect.getsource(inspect.getmodule(contract)))):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if called and node.func.attr == "certified":
                named |= {argument.value.removesuffix(".certify") for argument in node.args[1:]}
    wanted = {
        f"{c.__module__.rpartition('.')[2]}.{c.__name__}".removesuffix(".certify")
        for c in (*stages.CONTRACTS, *stages.NUMERICS)
    }

    assert named == wanted


def test_every_component_that_ships_is_held_to_it():
    tested = set()
    for path in HERE.glob("test_builtin_*.py"):
        for cls in (n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ClassDef)):
            contract = getattr(testing, cls.bases[0].id)
            for line in cls.body:
                if isinstance(line, ast.Assign) and line.targets[0].id == "expressions":
                    tested |= {(contract.kind, name_of(one)) for one in ast.literal_eval(line.value)}
    shipped = {(c.kind, c.full_name) for c in load().components()}

    assert tested | set(NOT_HERE) == shipped


@pytest.mark.parametrize(("card", "fault"), [
    ("What\n\nMaths    a\nShapes   b\nCost     c\nLimits   d\nPaper    e\n", ""),
    ("What\n\nMaths    a\nCost     c\nShapes   b\nLimits   d\nPaper    e\n",
     "its blocks do not stand in the order Maths, Shapes, Cost, Limits, Paper"),
    ("What\n\nMaths    a\nCost     c\nLimits   d\n", "it has no Shapes and no Paper"),
])  # fmt: skip
def test_what_is_wrong_with_a_card(card, fault):
    assert card_fault(card) == fault


def test_what_a_plugin_may_import():
    source = "import torch\nfrom xcompose.api import option\nimport xcompose.verify\nfrom xcompose import build\n"

    assert foreign_imports(source) == ["xcompose.verify", "xcompose.build"]


@options
class Some:
    fine: float = option(0.5, above=0, at_most=1)
    word: Literal["a", "b"] = option("c")
    many: tuple[int, ...] = option((1, 0), at_least=1)
    zero: float = option(0.0, above=0)


def test_defaults_are_asked_against_words_and_bounds():
    assert [default_fault(one) for one in option_schemas(Some)] == [
        "", "the default 'c' of 'word' is none of its words a, b", "the default 0 of 'many' is not at least 1",
        "the default 0.0 of 'zero' is not above 0",
    ]  # fmt: skip
