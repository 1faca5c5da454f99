"""A stand: the smallest spec in which a component works, and what is built of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import yaml

from xcompose.diagnostics import Diagnostic, Note, SpecError
from xcompose.registry import Component, Registry
from xcompose.spec.catalogue import Found
from xcompose.spec.model import Layer, Node, Section, Spec
from xcompose.spec.resolve import load_text

if TYPE_CHECKING:
    from xcompose.verify.subject import Subject

THIS = "THIS"
"""Stands in a spec where the expression goes."""
INSIDE = {
    "pattern": "attention(pattern=THIS, silence=zero)",
    "score": "attention(score=THIS)",
    "memory": "attention(pattern=window(4), memory=THIS)",
}
"""Kinds that work inside a mixer, and how they are written there."""
OF_A_LAYER = ("mixer", "ffn", "norm", "residual", "recurrence")
BESIDE = ("task", "optimizer", "schedule", "strategy")
"""Kinds that no model is made of: they are built for one."""
OF_THE_MODEL = ("embedding", "output", "init", "position")
TRAIN = {"budget": "4 steps", "batch": 2, "length": 16}


def name_of(expression: str) -> str:
    """What an expression calls: `acme/mean` of `acme/mean(4)`."""
    return expression.partition("(")[0].strip()


@attrs.frozen
class Around:
    """What stands around a component."""

    kind: str
    model: Mapping[str, Any] = attrs.field(factory=dict)
    """Keys of `model` beside those that every stand has."""
    layer: Mapping[str, Any] = attrs.field(factory=dict)
    """Keys of its layer."""
    layers: int = 1
    spec: str = ""
    """A whole spec with THIS in it, in place of all that."""

    def text(self, expression: str, type_: str, registry: Registry) -> str:
        """The spec around an expression, in a model of a type."""
        if self.spec:
            return self.spec.replace(THIS, expression)
        whole: dict[str, Any] = {"xcompose": 1, "model": self._model(expression, type_, registry)}
        train_addon = self.kind == "addon" and _belongs_to_training(registry, expression)
        if self.kind == "addon" and not train_addon:
            whole["addons"] = [expression]
        if self.kind == "task":
            whole["task"] = expression
        if self.kind in ("optimizer", "schedule") or train_addon:
            whole["task"] = "copy(5)"
            whole["train"] = {**TRAIN, **({"addons": [expression]} if train_addon else {self.kind: expression})}
        if self.kind == "strategy":
            whole |= {"task": "copy(5)", "train": dict(TRAIN), "search": _search(expression)}
        return yaml.dump(whole, Dumper=_Plainly, sort_keys=False, width=1000).replace(THIS, expression)

    def _model(self, expression: str, type_: str, registry: Registry) -> dict[str, Any]:
        layer: dict[str, Any] = {"mixer": INSIDE.get(self.kind, "attention")}
        layer |= {self.kind: expression} if self.kind in OF_A_LAYER else {}
        layer |= self.layer
        stack = {"layers": [layer] if self.layers == 1 else [{"repeat": self.layers, **layer}]}
        found: dict[str, Any] = {"type": name_of(expression) if self.kind == "model" else type_}
        found |= {"dim": 16, "heads": 2, "vocab": 13, "ffn": "mlp(1x)"}
        found |= {self.kind: expression} if self.kind in OF_THE_MODEL else {}
        known = registry.catalogue.find("model", found["type"])
        for option in known.schema.options if isinstance(known, Found) else ():
            if option.type.name == "layers":
                found |= stack
            elif option.type.name == "section":
                found[option.name] = stack
        return {**found, **self.model}


class _Plainly(yaml.SafeDumper):
    """Writes what stands twice twice: the language knows no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _belongs_to_training(registry: Registry, expression: str) -> bool:
    found = registry.catalogue.find("addon", name_of(expression))
    if not isinstance(found, Found):
        return False
    return registry.component("addon", found.name).facts.get("stage", "model") == "train"


def _search(expression: str) -> dict[str, Any]:
    choices = {"model.dim": [8, 16, 24], "model.heads": [1, 2], "model.layers": [1, 2]}
    return {"choices": choices, "minimize": ["params"], "budget": "6 trials", "strategy": expression, "seed": 3}


def nodes(value: Any) -> Iterator[Node]:
    """Every component in a tree of options, the outer ones first."""
    if isinstance(value, Node):
        yield value
    if isinstance(value, Node | Layer | Section):
        value = value.options
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for item in value:
            yield from nodes(item)


@attrs.frozen
class Made:
    """A part that was built of a component, and with what."""

    part: Any
    options: Any
    context: Any


@attrs.define(eq=False, slots=False)
class Stand:
    """A component in its spec."""

    kind: str
    expression: str
    text: str
    name: str
    """Of the spec, as findings show it."""
    registry: Registry
    seed: int = 0
    again: str = ""
    """The command that runs the test again."""
    _taken: dict[int, bool] = attrs.field(factory=dict, init=False)

    @functools.cached_property
    def spec(self) -> Spec:
        """The spec, resolved.

        Raises:
            SpecError: it is refused.
        """
        return load_text(self.text, self.name, catalogue=self.registry.catalogue)

    @functools.cached_property
    def node(self) -> Node:
        """The component in the spec."""
        spec = self.spec
        name = self.component.full_name
        whole = (spec.model, spec.addons, spec.task, spec.train, spec.search)
        found = next((n for n in nodes(whole) if n.kind == self.kind and n.name == name), None)
        assert found is not None, f"the spec around {self.expression} holds no {self.kind} '{name}':\n{self.text}"
        return found

    @functools.cached_property
    def component(self) -> Component:
        """The component.

        Raises:
            LookupError: there is none of that name.
        """
        found = self.registry.catalogue.find(self.kind, name_of(self.expression))
        if not isinstance(found, Found):
            raise LookupError(f"{found.message}{': ' if found.label else ''}{found.label}")
        return self.registry.component(self.kind, found.name)

    @functools.cached_property
    def planned(self) -> Any:
        """The model on the meta device.

        Raises:
            SpecError: its parts refuse each other.
        """
        from xcompose.compose.build import plan_model

        return plan_model(self.spec, registry=self.registry)

    def build(self, seed: int | None = None, registry: Registry | None = None) -> Any:
        """The model, in single precision."""
        from xcompose.compose.build import build_model

        used = self.seed if seed is None else seed
        return build_model(self.spec, seed=used, registry=registry or self.registry, device="cpu")

    def compose(self) -> None:
        """Put everything together that the spec names.

        Raises:
            SpecError: parts that refuse each other.
        """
        from xcompose.compose.objectives import part_builder

        build = part_builder(self.planned, self.registry, self.name)
        for node in (self.spec.task, *([self.node] if self.kind in BESIDE else ())):
            if node is not None:
                build(node)

    def takes(self, n: int) -> bool:
        """Whether the model takes sequences of n."""
        from xcompose.verify.facts import Facts

        if n not in self._taken:
            self._taken[n] = Facts(self.planned).takes(n)
        return self._taken[n]

    def answers(self, n: int) -> bool:
        """Whether the model, built for real, answers sequences of n; False where it refuses them."""
        import torch

        model = self.subject.model(torch.float32)
        try:
            with torch.no_grad():
                self.subject.call(model, self.subject.tokens(1, self.seed, n))
        except ValueError:
            return False
        return True

    def lengths(self, among: Sequence[int]) -> list[int]:
        """Those lengths that the model takes; at least the one that certificates measure with."""
        return [n for n in among if self.takes(n)] or [self.subject.n]

    def longest(self, most: int) -> int:
        """The longest sequence that the spec admits, up to so many tokens."""
        return min(most, self.planned.options.length or most)

    @functools.cached_property
    def subject(self) -> Subject:
        """What certificates measure."""
        from xcompose.verify import sizes
        from xcompose.verify.stages import subject_of

        assert self.spec.model is not None
        n = sizes.length_for(self.spec.model, self.registry)
        legal = next((m for m in (*range(n, 2 * n + 1), *range(n - 1, 0, -1)) if self.takes(m)), 0)
        assert legal, f"the model around {self.expression} takes no length up to {2 * n}"
        return subject_of(self.spec, self.planned, legal, self, self.name)

    def made(self) -> tuple[Made, ...]:
        """The parts that are built of the component, in a model for real: one for each place where it stands."""
        if self.component.build is None:
            from xcompose.compose.composer import Composer

            options = Composer(self.registry).options(self.node)
            return (Made(options, options, None),)
        if self.kind in BESIDE or self.component.facts.get("stage") == "train":
            from xcompose.compose.objectives import part_builder

            return (Made(part_builder(self.planned, self.registry, self.name)(self.node), None, None),)
        import torch

        found: list[Made] = []
        original = self.component.build

        def build(options: Any, context: Any) -> Any:
            part = original(options, context)
            if torch.empty(0).device.type != "meta":  # where it is planned, before it is built
                found.append(Made(part, options, context))
            return part

        noted = attrs.evolve(self.component, build=build)
        kept = {(c.kind, c.full_name): c for c in self.registry.components()}
        self.build(registry=Registry({**kept, (self.kind, noted.full_name): noted}))
        return tuple(found)

    def finding(self, message: str, measured: str = "", hint: str = "") -> Diagnostic:
        """What is wrong with the component, where the spec names it."""
        said = {"measured": measured, "hint": hint, "again": self.again}
        notes = tuple(Note(f"{word}: {text}") for word, text in said.items() if text)
        try:
            span, path = self.node.span, self.node.path
        except SpecError:
            span, path = None, ""
        return Diagnostic("XC053", message, span=span, path=path, notes=notes, stage="contracts", spec=self.name)

    def told(self, findings: Sequence[Diagnostic]) -> tuple[Diagnostic, ...]:
        """Findings of certificates, with the command that runs this test again."""
        again = Note(f"again: {self.again}")
        return tuple(
            attrs.evolve(f, notes=(*(n for n in f.notes if not n.text.startswith("again:")), again)) for f in findings
        )


Find = Callable[["Subject", int], list[Diagnostic]]
"""A certificate."""
