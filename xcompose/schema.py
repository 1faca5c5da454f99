"""What a component is called and which options it takes, as plain data.

A plugin declares its options as an attrs class (`options`, `option`); `schema_of` turns that class into a
`ComponentSchema`, which is all that the spec language knows of a component. Nothing here imports torch, so a spec is
parsed and checked against the schema of every installed plugin in a fraction of a second.

The place decides what a value is: each option has a `ValueType`, one of the types of the spec language. In an option
class they are written as annotations:

    Count, Length   int      whole, not negative
    Real            float
    Width           int      features; `4x` in a spec is four times the model's width
    bool            flag
    Literal["a"]    word     one of the words listed, never a reference
    Text            str      free text
    Budget          a `spec.values.Budget`: 200 steps, 3 epochs, 2M tokens, 60 trials, 90s, 2min
    Layers          a sequence of layers
    Part.pattern    a component of that kind (its options object), one attribute for each kind
    SpecRef         the name of another spec
    tuple[T, ...]   list of T       dict[str, T]   mapping of names to T       T | None   optional
    an option class                 a record: a mapping with those options
"""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

import attrs

KINDS = (
    "model", "mixer", "pattern", "score", "memory", "recurrence", "position", "ffn", "norm", "residual",
    "embedding", "output", "init", "addon", "task", "optimizer", "schedule", "strategy",
)  # fmt: skip
"""Every kind of component, in the words of the spec language."""

TypeName = Literal[
    "count", "length", "real", "width", "flag", "word", "text", "budget", "component", "layers", "blocks", "section",
    "spec", "list", "map", "record", "any",
]  # fmt: skip


@attrs.frozen
class ValueType:
    """One type of the spec language."""

    name: TypeName
    words: tuple[str, ...] = ()
    """The words to choose from, for `word`."""
    kind: str = ""
    """The kind of component, for `component`."""
    of: ValueType | None = None
    """The type of the elements, for `list` and `map`."""
    optional: bool = False
    """Whether the option may stay unset (`None`)."""
    fields: tuple[OptionSchema, ...] = ()
    """What a `record` holds: a mapping with the keys of an option class."""


Count = Annotated[int, ValueType("count")]
Length = Annotated[int, ValueType("length")]
Real = Annotated[float, ValueType("real")]
Width = Annotated[int, ValueType("width")]
Text = Annotated[str, ValueType("text")]
Budget = Annotated[Any, ValueType("budget")]
Layers = Annotated[Any, ValueType("layers")]
Blocks = Annotated[Any, ValueType("blocks")]
Section = Annotated[Any, ValueType("section")]
"""A mapping that may hold `layers`, `length`, `grid`, `blocks` and every layer key; the rest comes from the model."""
SpecRef = Annotated[str, ValueType("spec")]
AnyValue = Annotated[Any, ValueType("any")]


class Part:
    """Annotations for options that hold a component: `pattern: Part.pattern`."""

    model = Annotated[Any, ValueType("component", kind="model")]
    mixer = Annotated[Any, ValueType("component", kind="mixer")]
    pattern = Annotated[Any, ValueType("component", kind="pattern")]
    score = Annotated[Any, ValueType("component", kind="score")]
    memory = Annotated[Any, ValueType("component", kind="memory")]
    recurrence = Annotated[Any, ValueType("component", kind="recurrence")]
    position = Annotated[Any, ValueType("component", kind="position")]
    ffn = Annotated[Any, ValueType("component", kind="ffn")]
    norm = Annotated[Any, ValueType("component", kind="norm")]
    residual = Annotated[Any, ValueType("component", kind="residual")]
    embedding = Annotated[Any, ValueType("component", kind="embedding")]
    output = Annotated[Any, ValueType("component", kind="output")]
    init = Annotated[Any, ValueType("component", kind="init")]
    addon = Annotated[Any, ValueType("component", kind="addon")]
    task = Annotated[Any, ValueType("component", kind="task")]
    optimizer = Annotated[Any, ValueType("component", kind="optimizer")]
    schedule = Annotated[Any, ValueType("component", kind="schedule")]
    strategy = Annotated[Any, ValueType("component", kind="strategy")]


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED = _Required()
"""The default of an option that has none."""


def option(
    default: Any = REQUIRED,
    *,
    main: bool = False,
    inherited: bool = False,
    layer: bool = False,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    shares: bool = False,
    note: str = "",
    renamed_from: tuple[str, ...] = (),
) -> Any:
    """Declare one option of an option class.

    Args:
        default: the value when the spec does not write the option, in Python terms. For a component write what a spec
            would say, for example `"softmax"` or `"mlp(4x)"`; for a width `"4x"` or a number. Without it the option is
            required; `None` makes it optional.
        main: the option takes the unnamed argument, `window(256)`; a list takes all unnamed arguments. At most one.
        inherited: unset, it takes the value that the layer has under the same name (`heads`, `bias`, `position` ...).
        layer: a key of a model that a layer may write too (model types only).
        at_least, at_most, above: bounds of a number (each element's, for a list).
        shares: a list of components whose elements may carry a number, `heads(3*a, b)`; the value is then a tuple of
            `(share, component)` pairs.
        note: the sentence that explains the option, where there is no docstring below the field.
        renamed_from: what it was called before, oldest first; a spec that says so is read with a warning, and
            `xcompose migrate` rewrites it.

    Raises:
        TypeError: `renamed_from` is no tuple of names.
    """
    if isinstance(renamed_from, str) or not all(isinstance(name, str) for name in renamed_from):
        raise TypeError(f'`renamed_from` takes a tuple of names, such as ("old",), found {renamed_from!r}')
    metadata = {
        "xcompose": dict(
            default=default, main=main, inherited=inherited, layer=layer, at_least=at_least, at_most=at_most,
            above=above, shares=shares, note=note, renamed_from=tuple(renamed_from),
        )
    }  # fmt: skip
    return attrs.field(default=attrs.NOTHING if default is REQUIRED else default, metadata=metadata, kw_only=True)


_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(option, attrs.field))
def options(cls: type[_T]) -> type[_T]:
    """Make a frozen, keyword-only attrs class of an option class. One field a line, one sentence below each."""
    return attrs.frozen(kw_only=True, eq=True)(cls)


@attrs.frozen
class OptionSchema:
    """One option, as data."""

    name: str
    type: ValueType
    default: Any = REQUIRED
    """As given to `option`: the spelling a spec would use for components and widths."""
    note: str = ""
    main: bool = False
    inherited: bool = False
    layer: bool = False
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    shares: bool = False
    renamed_from: tuple[str, ...] = ()
    """What it was called before, oldest first."""

    @property
    def required(self) -> bool:
        return self.default is REQUIRED


@attrs.frozen
class ComponentSchema:
    """A component, as the spec language sees it."""

    kind: str
    name: str
    """Without namespace and version: `window`."""
    namespace: str = ""
    """Empty for the built-in ones."""
    version: int = 1
    summary: str = ""
    """The first sentence of the plugin's card."""
    options: tuple[OptionSchema, ...] = ()
    also: tuple[str, ...] = ()
    """Names other people use for it; for messages only."""
    distribution: str = "xcompose"
    renamed_from: tuple[str, ...] = ()
    """What it was called before, oldest first, within its namespace."""

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def option(self, name: str) -> OptionSchema | None:
        return next((o for o in self.options if o.name == name), None)

    @property
    def main(self) -> OptionSchema | None:
        return next((o for o in self.options if o.main), None)


TYPES = (
    "there are bool, int, float, str, Literal[...], tuple[T, ...], dict[str, T], T | None, classes marked with "
    "@options, and of xcompose.api AnyValue, Blocks, Budget, Count, Layers, Length, Part.KIND, Real, Section, SpecRef, "
    "Text and Width"
)
"""The types that an option can have, in the words of a message."""


def type_of(annotation: Any) -> ValueType:
    """Translate the annotation of an option into a type of the spec language.

    Raises:
        TypeError: the annotation has no counterpart in the spec language.
    """
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is Annotated:
        found = [m for m in annotation.__metadata__ if isinstance(m, ValueType)]
        return found[0] if found else type_of(arguments[0])
    if origin in (typing.Union, types.UnionType) and len(arguments) == 2 and type(None) in arguments:
        inner = next(a for a in arguments if a is not type(None))
        return attrs.evolve(type_of(inner), optional=True)
    if origin is Literal:
        return ValueType("word", words=tuple(str(a) for a in arguments))
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return ValueType("list", of=type_of(arguments[0]))
    if origin is dict and arguments[0] is str:
        return ValueType("map", of=type_of(arguments[1]))
    plain = {bool: "flag", int: "count", float: "real", str: "text"}
    if annotation in plain:
        return ValueType(plain[annotation])  # type: ignore[arg-type]
    if isinstance(annotation, type) and attrs.has(annotation):
        return ValueType("record", fields=option_schemas(annotation))
    raise TypeError(f"an option cannot have the type {annotation!r}; {TYPES}")


@functools.cache
def _sentences(cls: type) -> dict[str, str]:
    """The string below each field of a class, by field name. Needs the source; without it there are none."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = tree.body[0].body  # type: ignore[attr-defined]
    found = {}
    for field, below in zip(body, body[1:], strict=False):
        is_field = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if is_field and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[field.target.id] = inspect.cleandoc(str(below.value.value))  # type: ignore[union-attr]
    return found


def option_schemas(cls: type) -> tuple[OptionSchema, ...]:
    """The options of an option class, inherited ones first.

    Raises:
        TypeError: a field is not declared with `option`, has no type of the spec language, two fields are main, or
            an old name is that of another field.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    sentences: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        sentences.update(_sentences(base) if attrs.has(base) else {})
    found = []
    for field in attrs.fields(cls):
        if "xcompose" not in field.metadata:
            raise TypeError(f"{cls.__name__}.{field.name} is not declared with `option(...)`")
        facts = dict(field.metadata["xcompose"])
        note = facts.pop("note") or sentences.get(field.name, "")
        found.append(OptionSchema(name=field.name, type=type_of(hints[field.name]), note=note, **facts))
    if len([o for o in found if o.main]) > 1:
        raise TypeError(f"{cls.__name__} marks more than one option as main")
    _no_name_twice(cls, found)
    return tuple(found)


def _no_name_twice(cls: type, found: list[OptionSchema]) -> None:
    taken: dict[str, str] = {option.name: option.name for option in found}
    for option in found:
        for old in option.renamed_from:
            if old in taken:
                raise TypeError(
                    f"{cls.__name__}.{option.name} was renamed from '{old}', which is a name of '{taken[old]}'"
                )
            taken[old] = option.name


Builder = Callable[..., Any]
