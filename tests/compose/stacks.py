"""Specs drawn from what is installed: kinds, options, bounds and words are those of the schemas, sizes are small.

Nothing here names a mechanism, so whatever is installed takes part by itself. What is drawn may well be nonsense: half
the point is that nonsense is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from xcompose.registry import Component, load
from xcompose.schema import OptionSchema, ValueType

DEEPEST = 3
"""Components inside one another, in a layer."""
COUNTS = (1, 2, 3, 4, 1, 2, 4, 5, 6, 7, 8, 12, 16)
REALS = (0.1, 0.25, 0.5, 1.0, 2.0)
WIDTHS = ("1x", "2x", "0.5x", 24)
KINDS_DRAWN = (
    "model", "mixer", "pattern", "score", "memory", "recurrence", "position", "ffn", "norm", "residual", "embedding",
    "output", "init", "addon",
)  # fmt: skip
"""What a model and its addons are made of."""
STACK = ("mixer", "cross", "ffn", "norm", "residual", "position", "recurrence")
"""Keys of a layer that hold components."""
SIZES = ("dim", "heads", "kv_heads", "head_dim", "vocab", "length", "grid", "grid_block")
"""Keys that are drawn together, because they have to fit each other."""
OPERATORS = {"union": "|", "intersection": "&", "difference": "-"}
"""What the language writes between components."""
Draw = Callable[[st.SearchStrategy[Any]], Any]


@attrs.frozen
class Made:
    """A component with the options that somebody would write."""

    component: Component
    options: dict[str, Any]

    def inside(self) -> Iterator[Made]:
        """This one and all within it."""
        yield self
        yield from found_in(tuple(self.options.values()))


def found_in(value: Any) -> Iterator[Made]:
    """Every component in a tree of values."""
    if isinstance(value, Made):
        yield from value.inside()
    elif isinstance(value, dict):
        yield from found_in(tuple(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from found_in(item)


@attrs.frozen
class Case:
    """One drawn spec."""

    model: Made
    addons: tuple[Made, ...]

    @property
    def text(self) -> str:
        """As a user would write it."""
        options = {name: plain(value) for name, value in self.model.options.items()}
        whole: dict[str, Any] = {"xcompose": 1, "model": {"type": self.model.component.full_name, **options}}
        if self.addons:
            whole["addons"] = plain(list(self.addons))
        return yaml.safe_dump(whole, sort_keys=False, width=1000)

    @property
    def components(self) -> set[tuple[str, str]]:
        """(kind, name) of everything that is written."""
        return {(one.component.kind, one.component.full_name) for one in found_in([self.model, self.addons])}


def plain(value: Any) -> Any:
    """A value as YAML: a component as an expression, or as a mapping where it holds what no expression can say."""
    if isinstance(value, Made):
        if not any(isinstance(held, dict) for held in values_in(value)):
            return expression(value)
        main = value.component.schema.main
        options = {name: plain(held) for name, held in value.options.items()}
        if main and main.shares:
            options[main.name] = [{"shares": share, "use": plain(one)} for share, one in value.options[main.name]]
        return {"type": value.component.full_name, **options}
    if isinstance(value, dict):
        return {name: plain(held) for name, held in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def values_in(value: Any) -> Iterator[Any]:
    """Every value in a tree."""
    yield value
    inner = value.options if isinstance(value, Made) else value
    for item in inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list | tuple) else ():
        yield from values_in(item)


def expression(made: Made) -> str:
    """A component as the language writes it in one line."""
    schema = made.component.schema
    main = schema.main.name if schema.main else ""
    sign = OPERATORS.get(schema.name) if schema.kind == "pattern" else None
    if sign and len(made.options[main]) > 1:
        operands = [spelled(one) for one in made.options[main]]
        return f" {sign} ".join(f"({o})" if " " in o else o for o in operands)
    arguments = []
    for name, value in sorted(made.options.items(), key=lambda pair: pair[0] != main):
        if name != main:
            arguments.append(f"{name}={spelled(value)}")
        elif isinstance(value, list):
            arguments += [spelled(item) for item in value]
        else:
            arguments.append(spelled(value))
    return f"{schema.full_name}({', '.join(arguments)})" if arguments else schema.full_name


def spelled(value: Any) -> str:
    if isinstance(value, Made):
        return expression(value)
    if isinstance(value, list):
        return f"[{', '.join(map(spelled, value))}]"
    if isinstance(value, tuple):
        share, one = value
        return spelled(one) if share == 1 else f"{share}*{spelled(one)}"
    return str(value).lower() if isinstance(value, bool) else str(value)


@attrs.define
class Drawing:
    """One case in the making."""

    draw: Draw
    wanted: Component | None = None
    """What has to be in it, until it is."""
    calm: bool = False
    """Whether little is written beside it."""
    alike: bool = False
    """Whether layers are the same twice, as some add-ons need them."""

    def wants(self, kind: str) -> bool:
        return self.wanted is not None and self.wanted.kind == kind

    def chance(self, percent: int) -> bool:
        """Shrinks to no."""
        return self.draw(st.integers(0, 99)) >= 100 - percent

    def extra(self, percent: int) -> bool:
        """The same for what nobody asked for."""
        return self.chance(percent // 3 if self.calm and percent < 80 else percent)

    def one(self, among: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(among))

    def component(self, kind: str, depth: int = 0, percent: int = 25) -> Made:
        """The wanted component, or any of a kind, combinators less often than the rest.

        Args:
            percent: how often an option is written that need not be.
        """
        if self.wanted is not None and self.wants(kind):
            component, self.wanted, percent = self.wanted, None, 40
        else:
            there = [c for c in load().components(kind) if belongs(c)]
            leaves = [c for c in there if not joins(c)]
            deep = depth >= DEEPEST or len(leaves) == len(there) or not self.extra(30)
            component = self.one(leaves if deep and leaves else there)
        options: dict[str, Any] = {}
        for option in component.schema.options:
            if option.required or (not option.inherited and self.extra(self.share(option, percent))):
                options[option.name] = self.value(option, option.type, depth + 1)
        self.with_a_memory(component, options, depth)
        return Made(component, options)

    def with_a_memory(self, component: Component, options: dict[str, Any], depth: int) -> None:
        """Who writes a memory has to write a pattern, too: the language says so, and most people know it."""
        kinds = {o.type.kind: o for o in component.schema.options if o.type.name == "component"}
        memory, pattern = kinds.get("memory"), kinds.get("pattern")
        if memory and pattern and memory.name in options and pattern.name not in options and self.chance(85):
            options[pattern.name] = self.value(pattern, pattern.type, depth + 1)

    def share(self, option: OptionSchema, percent: int) -> int:
        """How often an option is written: components more often than numbers, those without a default the most."""
        if option.type.name != "component":
            return 80 if option.main else percent // 3
        if self.wants(option.type.kind):
            return 100
        return percent if option.default is not None else 2 * percent

    def value(self, option: OptionSchema, type: ValueType, depth: int) -> Any:
        match type.name:
            case "component" if option.shares:
                return (self.one((1, 1, 1, 1, 1, 3)), self.component(type.kind, depth))
            case "component":
                return self.component(type.kind, depth)
            case "list":
                assert type.of is not None
                least = 2 if inner(type.of).name in ("component", "record") else 1
                count = self.one((least, least, least, least, 3, 1))
                if type.of.name == "record":
                    return [self.record(type.of, depth, last=i == count - 1) for i in range(count)]
                return [self.value(option, type.of, depth) for _ in range(count)]
            case "word":
                return self.one(type.words)
            case "flag":
                return self.one((True, False))
            case "real":
                return self.one([x for x in REALS if within(option, x)])
            case "width":
                return self.one(WIDTHS)
            case "count" | "length":
                counts = COUNTS if option.at_least else (*COUNTS, 0)
                return self.one([x for x in counts if within(option, x)])
            case "text":
                return "text"
        raise AssertionError(f"no way is known to draw the {type.name} '{option.name}'")

    def record(self, type: ValueType, depth: int, last: bool) -> dict[str, Any]:
        """One of a list, whose last one says less as a rule: it takes what the others leave."""
        fields = [field for field in type.fields if field.required or self.chance(10 if last else 90)]
        return {field.name: self.value(field, field.type, depth) for field in fields}

    def layer(self, model: Component) -> dict[str, Any]:
        """A layer with a mixer of its own, and some of the other keys."""
        cross = any(o.name == "cross" for o in model.schema.options)
        keys = [key for key in STACK[1:] if (cross or key != "cross") and self.extra(100 if self.wants(key) else 15)]
        return {
            key: self.component("mixer" if key == "cross" else key, percent=30) for key in ("mixer", *keys)
        }  # fmt: skip

    def stack(self, model: Component) -> dict[str, Any]:
        """Layers, some of them for each of several values; one may be a block that is used, as it is or changed."""
        layers = [self.layer(model) for _ in range(1 if self.alike else self.one((1, 1, 1, 2)))]
        if self.alike:
            return {"layers": [{**layers[0], "repeat": 2}]}
        if self.chance(15):
            block, layers[0] = layers[0], {"use": "some"}
            if self.chance(50):
                layers[0] |= {"norm": self.component("norm")}
            if self.chance(30):
                layers[0] |= {"repeat": 2}
            return {"blocks": {"some": block}, "layers": layers}
        return {"layers": [self.each(layer) if self.chance(15) else layer for layer in layers]}

    def each(self, layer: dict[str, Any]) -> dict[str, Any]:
        """The layer twice, with two values of one of its numbers, if it has one."""
        numbers = [
            (made.options, option) for made in found_in(layer) for option in made.component.schema.options
            if option.type.name in ("count", "length", "real") and option.name in made.options
        ]  # fmt: skip
        if not numbers:
            return layer
        options, option = self.one(numbers)
        values = [options[option.name], self.value(option, option.type, DEEPEST)]
        options[option.name] = "${some}"
        return {"each": {"some": values}, **layer}

    def addons(self) -> list[Made]:
        """One or two, in any order."""
        found = [self.component("addon")]
        if self.chance(40):
            found.insert(self.one((1, 0)), self.component("addon"))
        return found

    def sizes(self, needed: set[str]) -> dict[str, Any]:
        """Sizes of a model that fit each other, as a rule."""
        heads = self.one((4, 2, 4) if self.calm else (4, 2, 4, 2, 1, 3))
        found = {"dim": self.one((32, 16, 24)), "vocab": self.one((13, 29)), "heads": heads}
        if self.extra(20):
            found["kv_heads"] = self.one((1, 2))
        if self.extra(10):
            found["head_dim"] = self.one((4, 8, 6))
        if self.chance(90 if "length" in needed else 15):
            found["length"] = self.one((40, 48, 33, 64))
        if self.chance(90 if "grid" in needed else 10):
            found["grid"] = [self.one((6, 5, 4)), self.one((6, 7, 8))]
            if self.chance(15):
                found["grid_block"] = [self.one((2, 1, 3)), self.one((2, 3, 4))]
        return found

    def case(self) -> Case:
        """A model, and sometimes add-ons."""
        addons = self.addons() if self.extra(100 if self.wants("addon") else 10) else []
        self.alike = bool(addons) and not self.chance(30)
        model = self.model()
        options: dict[str, Any] = {}
        for option in model.schema.options:
            if option.type.name == "layers":
                options |= self.stack(model)
            elif option.type.name == "section":
                options[option.name] = self.stack(model)
            elif option.name in SIZES or option.type.name == "blocks" or option.name in STACK:
                continue
            elif option.required or self.extra(100 if self.wants(option.type.kind) else 10):
                options[option.name] = self.value(option, option.type, 0)
        asked = [one.component for one in found_in([*options.values(), addons])]
        needed = {need for one in [model, *asked] for need in one.facts.get("needs", ())}
        return Case(Made(model, {**self.sizes(needed), **options}), tuple(addons))

    def model(self) -> Component:
        """The wanted one, or one of a single stack as a rule."""
        if self.wanted is not None and self.wants("model"):
            model, self.wanted = self.wanted, None
            return model
        there = load().components("model")
        single = [c for c in there if all(inner(o.type).name != "section" for o in c.schema.options)]
        return self.one(there if self.extra(35) else single)


def belongs(component: Component) -> bool:
    """Whether it is part of a model; addons of training are not."""
    return component.facts.get("stage", "model") == "model"


def within(option: OptionSchema, value: float) -> bool:
    least, most, above = option.at_least, option.at_most, option.above
    return (least is None or value >= least) and (most is None or value <= most) and (above is None or value > above)


def inner(type: ValueType) -> ValueType:
    return inner(type.of) if type.of is not None else type


def joins(component: Component) -> bool:
    """Whether it cannot be written without another of its own kind, or a record of such."""
    return any(
        inner(o.type).name == "record" or inner(o.type).kind == component.kind
        for o in component.schema.options if o.required
    )  # fmt: skip


def installed() -> list[Component]:
    """Everything that models and their addons are made of."""
    return [component for kind in KINDS_DRAWN for component in load().components(kind) if belongs(component)]


@st.composite
def cases(draw: Draw, wanted: Component | None = None) -> Case:
    """Any spec at all that holds a component; it need not be legal."""
    return Drawing(draw, wanted or draw(st.sampled_from(installed())), draw(st.integers(0, 99)) < 75).case()


def drawn(wanted: Component, count: int) -> list[Case]:
    """The same cases with a component whenever they are asked for, while the same components are installed."""
    found: list[Case] = []

    @seed(f"{wanted.kind} {wanted.full_name}")
    @settings(
        max_examples=count, database=None, deadline=None, phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(cases(wanted))
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found
