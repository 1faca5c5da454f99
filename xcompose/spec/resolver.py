"""Types every place of a spec: the place decides what a value is, and how much of what was given counts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import attrs

from xcompose.diagnostics import Note, Span, SpecError
from xcompose.schema import REQUIRED, OptionSchema, ValueType
from xcompose.spec import expression, tree
from xcompose.spec.catalogue import Catalogue
from xcompose.spec.findings import BROKEN, Exhausted, Findings, Refused
from xcompose.spec.merge import DEFAULT, Fixed, Given, Stack, is_null

if TYPE_CHECKING:
    from xcompose.spec.files import Document
    from xcompose.spec.scopes import Scope

NESTING = 90
NODES = 5_000
STEPS = 10_000

NAMED = {
    "count": "a count",
    "length": "a length",
    "real": "a number",
    "width": "a width",
    "flag": "true or false",
    "text": "text",
    "budget": "a budget",
    "layers": "a sequence of layers",
    "blocks": "a mapping of names to layers",
    "section": "a mapping",
    "spec": "the name of a spec",
    "list": "a list",
    "map": "a mapping",
    "record": "a mapping",
    "any": "a value",
}


@attrs.frozen(eq=False)
class Place:
    """Where a value stands, and what it must be."""

    path: str
    type: ValueType
    span: Span
    """What made the place necessary; there defaults are reported."""
    default: Any = REQUIRED
    scope: Scope | None = None
    """The layer around it, or the model."""
    option: OptionSchema | None = None
    owner: str = ""
    """The component whose option it is."""
    heads: Fraction | None = None
    """How many heads the mechanism here has, as far as shares say."""

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def wants(self) -> str:
        """What this place takes, in words."""
        kind = self.type.kind
        if self.type.name == "component":
            return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
        if self.type.name == "word":
            return " or ".join(self.type.words)
        return NAMED[self.type.name]

    def below(
        self, name: str | int, type: ValueType, *, default: Any = REQUIRED, option: OptionSchema | None = None,
        owner: str | None = None, span: Span | None = None,
    ) -> Place:  # fmt: skip
        """A place inside this one."""
        owner = self.owner if owner is None else owner
        return Place(
            f"{self.path}.{name}", type, span or self.span, default, self.scope, option, owner, self.heads
        )  # fmt: skip


Reader = Callable[["Resolver", Place, Stack], Any]


class Resolver:
    """One resolution of one spec.

    Args:
        catalogue: the components there are.
        findings: collects what is wrong.
        sections: what was given for each section, newest first.
        document: the file.
    """

    def __init__(self, catalogue: Catalogue, findings: Findings, sections: dict[str, Stack], document: Document):
        self.catalogue, self.findings, self.sections, self.document = catalogue, findings, sections, document
        self.origin = document.root.span
        self.trace: dict[str, Stack] = {}
        self.defaults: dict[str, Any] = {}
        self.used: dict[str, list[tuple[Given, Stack]]] = {}
        self._nodes = self._steps = self._depth = 0
        self._parsed: dict[int, tuple[tree.Scalar, Any]] = {}
        self.walking: list[str] = []
        self.scope: Scope | None = None
        self.model_failed = False

    def typed(self, place: Place, stack: Stack) -> Any:
        """The value of a place, or `BROKEN` when it is reported."""
        from xcompose.spec.readers import READERS

        self.trace.setdefault(place.path, stack)
        self.defaults.setdefault(place.path, place.default)
        self._depth += 1
        try:
            if self._depth > NESTING:
                span = stack[0].span if stack else place.span
                self.findings.refuse("XC008", f"components nest deeper than {NESTING} levels", span, path=place.path)
            self._twice(place, stack)
            return READERS[place.type.name](self, place, stack)
        except Refused:
            return BROKEN
        finally:
            self._depth -= 1

    def _twice(self, place: Place, stack: Stack) -> None:
        for new, old in itertools.pairwise(stack):
            both_mappings = isinstance(new.value, tree.Mapping) and isinstance(old.value, tree.Mapping)
            if new.source is old.source and new.path == old.path and not both_mappings and old.source.role != "default":
                notes = (Note("and here", old.key or old.span),)
                self.findings.refuse(
                    "XC006", f"'{place.name}' is written twice", new.key or new.span, notes=notes, path=place.path
                )

    def count_node(self, span: Span) -> None:
        """Count one component towards the limit."""
        self._nodes += 1
        if self._nodes > NODES:
            self.findings.report("XC027", f"the spec has more than {NODES:,} components after expansion", span)
            raise Exhausted

    def count_step(self, span: Span) -> None:
        """Count a reference that is followed, or an item of layers, towards the limit: it may come to nothing."""
        self._steps += 1
        if self._steps > STEPS:
            self.findings.report("XC027", f"the spec has more than {STEPS:,} references and layers to expand", span)
            raise Exhausted

    def unfold(self, place: Place, stack: Stack) -> Iterator[Given]:
        """What counts for a place, newest first: references followed, nothing below a `null`."""
        from xcompose.spec.lookups import follow

        for given in stack:
            if is_null(given):
                return
            reference = self.reference(given, place.type)
            if reference is not None:
                yield from self.unfold(place, follow(self, reference, given, place))
                return
            yield given

    def first(self, place: Place, stack: Stack) -> Given | None:
        """The value that counts where nothing merges; the default if nothing was given."""
        found = next(self.unfold(place, stack), None)
        if found is None:
            found = next(self.unfold(place, self.default(place)), None)
        return found

    def default(self, place: Place) -> Stack:
        """The default of a place in the spelling of specs.

        Raises:
            Refused: there is none.
        """
        if place.default is REQUIRED:
            self.missing(place)
        if place.default is None:
            return []
        return [Given(as_tree(place.default, place.span), DEFAULT, place.path, at=place.span)]

    def missing(self, place: Place) -> None:
        """Refuse a place that must be written and is not."""
        owner = f"'{place.owner}'" if place.owner else "the spec"
        fix = f"write {place.name}: followed by {place.wants}"
        self.findings.refuse("XC012", f"{owner} needs '{place.name}'", place.span, path=place.path, fixes=(fix,))

    def reference(self, given: Given, type: ValueType) -> tree.Reference | None:
        """The reference that a value is, if it is one."""
        if isinstance(given.value, tree.Reference):
            return given.value
        if isinstance(given.value, tree.Scalar) and type.name != "text" and given.value.text.lstrip().startswith("${"):
            parsed = self.expression(given)
            return parsed if isinstance(parsed, tree.Reference) else None
        return None

    def expression(self, given: Given) -> tree.Expression:
        """The expression that a scalar holds."""
        return self._parse(given, expression.parse_expression)

    def sequence(self, given: Given) -> tuple[tree.Element, ...]:
        """The sequence that a scalar holds."""
        return self._parse(given, expression.parse_sequence)

    def _parse(self, given: Given, parse: Callable[[tree.Scalar, str], Any]) -> Any:
        scalar = given.value
        assert isinstance(scalar, tree.Scalar)
        known = self._parsed.get(id(scalar))
        if known is not None and known[1][0] is parse:
            return known[1][1]
        try:
            parsed = parse(scalar, given.path)
        except SpecError as error:
            self.findings.take(error, given.path)
        self._parsed[id(scalar)] = (scalar, (parse, parsed))
        return parsed

    def expected(self, place: Place, given: Given, label: str = "", fixes: tuple[str, ...] = ()) -> None:
        """Refuse a value of the wrong shape."""
        message = f"'{place.name}' wants {place.wants}, found {shape(given.value)}"
        self.findings.refuse("XC014", message, given.span, label, path=place.path, fixes=fixes)


def shape(value: Any) -> str:
    """What a value looks like, in a few words."""
    match value:
        case tree.Scalar(text=text) | tree.Literal_(text=text) | tree.Name(text=text):
            return f"'{text if len(text) <= 40 else text[:37] + '...'}'"
        case tree.Mapping():
            return "a mapping"
        case tree.Sequence() | tree.List():
            return "a list"
        case tree.Group():
            return "a sequence in brackets"
        case tree.Element(number=number) if number is not None:
            return f"'{number.text} *'"
        case tree.Call(name=name):
            return f"'{name}(...)'"
        case tree.Operation(operator=operator):
            return f"patterns joined by '{operator}'"
        case Fixed(value=fixed):
            return f"'{fixed}'"
    return f"'{value}'"


def as_tree(value: Any, span: Span) -> tree.Tree:
    """A default in Python terms, as a spec would write it."""
    if isinstance(value, dict):
        entries = (tree.Entry(tree.Scalar(str(k), span), as_tree(v, span)) for k, v in value.items())
        return tree.Mapping(tuple(entries), span)
    if isinstance(value, list | tuple):
        return tree.Sequence(tuple(as_tree(v, span) for v in value), span)
    if isinstance(value, bool):
        return tree.Scalar("true" if value else "false", span)
    return tree.Scalar("null" if value is None else str(value), span)
