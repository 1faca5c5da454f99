"""What every component owes, and the base of the contracts of all kinds.

A contract is a class of tests that runs each of them for each expression:

    class TestMean(MemoryContract):
        expressions = ("acme/mean(4)", "acme/mean(factor=3)")
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import attrs
import pytest

from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.diagnostics.render import text
from xcompose.schema import OptionSchema
from xcompose.testing.collect import seed_of
from xcompose.testing.stand import Around, Stand, name_of

if TYPE_CHECKING:
    from xcompose.registry import Component, Registry

SECTIONS = ("Maths", "Shapes", "Cost", "Limits", "Paper")
"""The blocks of a card."""
KEPT: dict[tuple[Any, ...], Stand] = {}
"""Stands that were built, the newest ones: all tests of an expression use the same."""
MOST_KEPT = 100
NAMED: dict[str, dict[str, int]] = {}
"""The texts that the classes of a name have tried, numbered."""
ANY_LENGTH = (1, 2, 67, 150)
"""Lengths of sequences that are tried."""


def card_fault(card: str) -> str:
    """Which blocks a card lacks; empty where it has all of them, in order."""
    at = {name: re.search(rf"^{name}\s+\S", card, re.MULTILINE) for name in SECTIONS}
    missing = [name for name, found in at.items() if not found]
    if missing:
        return f"it has no {' and no '.join(missing)}"
    places = [found.start() for found in at.values() if found]
    return "" if places == sorted(places) else f"its blocks do not stand in the order {', '.join(SECTIONS)}"


def default_fault(option: OptionSchema) -> str:
    """Why an option refuses its own default; empty where it does not."""
    values = option.default if isinstance(option.default, list | tuple) else (option.default,)
    words = (option.type.of or option.type).words
    for value in values:
        if words and isinstance(value, str) and value not in words:
            return f"the default {value!r} of '{option.name}' is none of its words {', '.join(words)}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        bounds = {
            f"at least {option.at_least}": option.at_least is None or value >= option.at_least,
            f"at most {option.at_most}": option.at_most is None or value <= option.at_most,
            f"above {option.above}": option.above is None or value > option.above,
        }
        for bound, kept in bounds.items():
            if not kept:
                return f"the default {value} of '{option.name}' is not {bound}"
    return ""


def foreign_imports(source: str) -> list[str]:
    """What a plugin's module imports of xcompose besides `xcompose.api`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
            if node.module == "xcompose":
                names = [f"xcompose.{alias.name}" for alias in node.names]
        found += [n for n in names if n.split(".")[0] in ("xcompose", "xcompose_plugins") and n != "xcompose.api"]
    return found


class Contract:
    """What every component owes. Derive from the contract of a kind, not from this."""

    kind: ClassVar[str]
    expressions: ClassVar[Sequence[str]] = ()
    """Components with options, as a spec writes them; each is tested."""
    plugin: ClassVar[str | tuple[str, ...]] = ""
    """The module under test, where its package is not installed."""
    types: ClassVar[Sequence[str]] = ()
    """Model types to try it in; not said: those of `decoder` and `encoder` that do not refuse it."""
    model: ClassVar[Mapping[str, Any]] = {}
    """More keys of the model around it: {"length": 40}."""
    layer: ClassVar[Mapping[str, Any]] = {}
    """More keys of the layer around it: {"ffn": "mlp(2x)"}."""
    layers: ClassVar[int] = 1
    """How many layers the model has."""
    spec: ClassVar[str] = ""
    """A whole spec with THIS where the expression goes, in place of the one that the kit would write."""
    card: ClassVar[bool] = True
    """Whether the module has a card of its own."""
    examples: ClassVar[int] = 10
    """How many shapes are drawn in each test that draws some."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Each expression is a test of its own."""
        if isinstance(self.expressions, str):
            raise pytest.UsageError(
                f"{type(self).__name__}.expressions is one text; write a tuple: ({self.expressions!r},)"
            )
        if not self.expressions:
            raise pytest.UsageError(
                f"{type(self).__name__} tests nothing: it has no `expressions`; write, say, ('acme/mean(4)',)"
            )
        if "expression" in metafunc.fixturenames:
            metafunc.parametrize("expression", list(self.expressions), ids=list(self.expressions))

    @pytest.fixture(autouse=True)
    def _xc_setting(self, request: pytest.FixtureRequest, xc_registry: Registry) -> None:
        self._request, self.registry = request, xc_registry
        self.seed = seed_of(request.config)

    def stands(self, expression: str) -> tuple[Stand, ...]:
        """The specs in which an expression is tried; fails where none of them composes."""
        __tracebackhide__ = True
        refused: list[Diagnostic] = []
        found = []
        tried = (name_of(expression),) if self.kind == "model" else self.types or ("decoder", "encoder")
        for type_ in tried[:1] if self.spec else tried:
            stand = self._stand(expression, type_)
            try:
                stand.compose()
            except SpecError as error:
                refused += error.diagnostics
                if self.types:
                    found.clear()
                    break
                self._left_out(expression, type_, error)
                continue
            found.append(stand)
        if not found and self._test() == "test_a_spec_with_it_composes":
            self.fails(refused)
        if not found:
            pytest.skip("no spec with it composes: see test_a_spec_with_it_composes")
        return tuple(found)

    def _left_out(self, expression: str, type_: str, error: SpecError) -> None:
        """Say once which type of model is not tried, and why: it may be a slip."""
        if self._test() == "test_a_spec_with_it_composes":
            said = f"'{expression}' is not tried in models of type '{type_}': {error.diagnostics[0].message}"
            warnings.warn(f"{said}; if that is meant, name the others in the class: types = (...)", stacklevel=2)

    def part(self, expression: str) -> Any:
        """What an expression builds, for an oracle: the working part, with random weights, in a model of width 16 with
        2 heads and 13 tokens; of a fixed pattern its options, of an optimizer or a schedule the function."""
        __tracebackhide__ = True
        return self.stands(expression)[0].made()[0].part

    def _stand(self, expression: str, type_: str) -> Stand:
        __tracebackhide__ = True
        around = Around(self.kind, self.model, self.layer, self.layers, self.spec)
        written = around.text(expression, type_, self.registry)
        key = (id(self.registry), self.kind, expression, written, self.seed)
        if key not in KEPT:
            name = self._name(written)
            KEPT[key] = Stand(self.kind, expression, written, name, self.registry, self.seed)
            for old in list(KEPT)[:-MOST_KEPT]:
                del KEPT[old]
        stand = KEPT[key]
        stand.again = self.again(expression)
        return stand

    def _name(self, written: str) -> str:
        """A name for a text: findings quote the text of that name, so each text has one of its own."""
        known = NAMED.setdefault(type(self).__name__, {})
        number = known.setdefault(written, len(known) + 1)
        return f"{type(self).__name__}{f'-{number}' if number > 1 else ''}.xc.yaml"

    def again(self, expression: str) -> str:
        """The command that runs this test again."""
        short = name_of(expression).rpartition("/")[2].replace("-", " and ")
        return f"pytest -k '{self._test().removeprefix('test_')} and {short}' --xc-seed {self.seed}"

    def _test(self) -> str:
        """The name of the test that runs."""
        return getattr(self._request.node, "originalname", "") or self._request.node.name

    def component(self, expression: str) -> Component:
        """The component that an expression calls; fails where there is none."""
        __tracebackhide__ = True
        try:
            return self._stand(expression, "decoder").component
        except LookupError as error:
            hint = "install the package (pip install -e .), or name its module in the class: plugin = 'acme_mean.mean'"
            raise pytest.fail.Exception(f"{error}\n  = hint: {hint}", pytrace=False) from None

    def fails(self, findings: Sequence[Diagnostic]) -> NoReturn:
        """Fail with findings, as `xcompose check` shows them."""
        __tracebackhide__ = True
        pytest.fail(text(findings), pytrace=False)

    def breaks(self, stand: Stand, message: str, measured: str = "", hint: str = "") -> NoReturn:
        """Fail because of a contract that is broken.

        Args:
            stand: where it was measured.
            message: the contract, and that it is broken.
            measured: the fact.
            hint: the likely slip.
        """
        __tracebackhide__ = True
        self.fails([stand.finding(message, measured, hint)])

    # what every component owes

    def test_there_is_a_card_with_its_blocks(self, expression: str) -> None:
        component = self.component(expression)
        if not self.card:
            pytest.skip("card = False")
        fault = card_fault(component.card)
        if fault:
            hint = "xcompose show prints it: first line what it is, then Maths, Shapes, Cost, Limits, Paper"
            where = f"the docstring of {component.options.__module__}"
            self.breaks(self._stand(expression, "decoder"), f"{where} is no card: {fault}", hint=hint)

    def test_every_option_has_a_sentence(self, expression: str) -> None:
        silent = [option.name for option in self.component(expression).schema.options if not option.note]
        if silent:
            message = f"option '{silent[0]}' has no sentence"
            measured = f"{len(silent)} of {len(self.component(expression).schema.options)} options: {', '.join(silent)}"
            hint = "a string below the field, which `xcompose show` prints"
            self.breaks(self._stand(expression, "decoder"), message, measured, hint)

    def test_defaults_keep_their_own_bounds(self, expression: str) -> None:
        for option in self.component(expression).schema.options:
            if fault := default_fault(option):
                self.breaks(self._stand(expression, "decoder"), fault, hint="a spec that wrote it would be refused")

    def test_its_module_imports_the_api_only(self, expression: str) -> None:
        module = sys.modules[self.component(expression).options.__module__]
        foreign = foreign_imports(inspect.getsource(module))
        if foreign:
            message = f"{module.__name__} imports {', '.join(foreign)}"
            hint = "from xcompose.api import ...: everything else may change with any release"
            self.breaks(self._stand(expression, "decoder"), message, hint=hint)

    def test_a_spec_with_it_composes(self, expression: str) -> None:
        for stand in self.stands(expression):
            _ = stand.node

    def test_an_unknown_option_is_refused(self, expression: str) -> None:
        more = "no_such_option=1"
        written = f"{expression[:-1]}, {more})" if expression.endswith(")") else f"{expression}({more})"
        if self.kind == "model":
            pytest.skip("a model's options are keys of the spec")
        for stand in self.stands(expression)[:1]:
            changed = stand.text.replace(expression, written, 1)
            other = attrs.evolve(stand, expression=written, text=changed, name=self._name(changed))
            with pytest.raises(SpecError, match="no_such_option"):
                _ = other.spec

    def test_frozen_it_means_the_same(self, expression: str) -> None:
        from xcompose.spec.freeze import freeze
        from xcompose.spec.resolve import check_text

        for stand in self.stands(expression):
            frozen = freeze(stand.spec)
            again, found = check_text(frozen, f"frozen {stand.name}", catalogue=self.registry.catalogue)
            if again is None:
                self.fails(found)
            for part in ("model", "addons", "task", "train"):
                if getattr(again, part) != getattr(stand.spec, part):
                    hint = "a default that depends on how the option is written"
                    self.breaks(stand, "with all its options written out it means something else", frozen, hint)


class BuiltContract(Contract):
    """What every component that is part of a model owes beside that."""

    bfloat16: ClassVar[bool] = True
    """Whether it promises to be as good in bfloat16 as rounding allows."""

    def certified(self, expression: str, *names: str) -> None:
        """Fail with what certificates of `xcompose.verify` find: `causal`, or `deterministic.steady`."""
        __tracebackhide__ = True
        for stand in self.stands(expression):
            for name in names:
                module, _, function = name.partition(".")
                certify = getattr(importlib.import_module(f"xcompose.verify.{module}"), function or "certify")
                found = [f for f in certify(stand.subject, self.seed) if f.severity != "hint"]
                if found:
                    self.fails(stand.told(found))

    def test_planned_and_built_it_has_the_same_tensors(self, expression: str) -> None:
        for stand in self.stands(expression):
            planned, built = (
                {n: tuple(t.shape) for n, t in m.state_dict().items()} for m in (stand.planned, stand.build())
            )
            if planned != built:
                odd = sorted(set(planned.items()) ^ set(built.items()))[0][0]
                shapes = (found.get(odd, "absent") for found in (planned, built))
                measured = f"'{odd}' is {' on the meta device, for real it is '.join(map(str, shapes))}"
                hint = "a tensor whose shape depends on data, or on where it lies"
                self.breaks(stand, "on the meta device it has other tensors than for real", measured, hint)

    def test_a_copy_answers_alike(self, expression: str) -> None:
        import torch

        for stand in self.stands(expression):
            subject = stand.subject
            model, tokens = subject.model(), subject.tokens(2, self.seed)
            with torch.no_grad():
                one, two = (subject.call(m, tokens).logits for m in (model, copy.deepcopy(model)))
            if not torch.equal(one, two):
                hint = "something outside of parameters and buffers, such as a function that holds on to the module"
                self.breaks(stand, "a deep copy of its model answers differently", hint=hint)

    def test_any_length_is_answered_or_refused(self, expression: str) -> None:
        for stand in self.stands(expression):
            for n in ANY_LENGTH:
                try:
                    planned, real = stand.takes(n), stand.answers(n)
                except Exception as error:  # a plugin may raise anything
                    measured = f"{n} tokens: {type(error).__name__}: {error}".partition("\n")[0]
                    hint = "a part that has a limit raises TooLong(message, limit)"
                    self.breaks(stand, "a sequence is neither answered nor refused", measured, hint)
                if planned != real:
                    words = {True: "takes", False: "refuses"}
                    measured = f"{n} tokens: planned it {words[planned]} them, for real it {words[real]} them"
                    self.breaks(stand, "on the meta device other lengths are refused than for real", measured)

    def test_it_sees_no_future(self, expression: str) -> None:
        self.certified(expression, "causal")

    def test_what_it_declares_is_what_it_reads(self, expression: str) -> None:
        self.certified(expression, "alive")

    def test_padding_changes_nothing(self, expression: str) -> None:
        self.certified(expression, "padding")

    def test_decoding_equals_parallel(self, expression: str) -> None:
        self.certified(expression, "decode")

    def test_a_gradient_reaches_every_parameter(self, expression: str) -> None:
        self.certified(expression, "gradients")

    def test_equal_seeds_give_equal_results(self, expression: str) -> None:
        self.certified(expression, "deterministic.steady", "deterministic")

    def test_sequences_know_nothing_of_each_other(self, expression: str) -> None:
        self.certified(expression, "batches")

    def test_attention_is_what_its_parts_define(self, expression: str) -> None:
        self.certified(expression, "plans")

    def test_the_stream_flows_on(self, expression: str) -> None:
        self.certified(expression, "streams")

    def test_what_is_still_has_no_gradient(self, expression: str) -> None:
        self.certified(expression, "still")

    def test_replicas_agree(self, expression: str) -> None:
        self.certified(expression, "replicas")

    def test_saving_and_loading_is_exact(self, expression: str) -> None:
        self.certified(expression, "saving", "stored")

    def test_the_work_that_is_counted_is_done(self, expression: str) -> None:
        self.certified(expression, "work")

    def test_it_is_fit_for_bfloat16(self, expression: str) -> None:
        if not self.bfloat16:
            pytest.skip("bfloat16 = False")
        self.certified(expression, "precision.certify")
