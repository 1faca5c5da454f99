"""What a reference stands for: a name of `each`, of `let`, or any path from the root."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from xcompose.diagnostics import Diagnostic, Span, SpecError
from xcompose.diagnostics.suggest import suggest
from xcompose.schema import ValueType
from xcompose.spec import renames, tree
from xcompose.spec.findings import BROKEN, Refused
from xcompose.spec.merge import Fixed, Given, Stack, heads, lookups, until_null
from xcompose.spec.paths import Here, Nowhere, step, walk
from xcompose.spec.references import CHAIN, evaluate, part, places
from xcompose.spec.resolver import shape

if TYPE_CHECKING:
    from xcompose.spec.resolver import Place, Resolver

NUMBERS = ("count", "length", "width")
PLAIN = (*NUMBERS, "real", "flag", "word")


def follow(resolver: Resolver, reference: tree.Reference, given: Given, place: Place) -> Stack:
    """What stands where a reference points, newest first; a sum gives its number.

    Raises:
        Refused: it points nowhere, in a circle, or at something that is wrong itself.
    """
    resolver.count_step(given.span)
    looked = _Looked(resolver, given, place, reference)
    try:
        found = evaluate(reference, looked, (), place.path)
    except SpecError as error:
        resolver.findings.take(_with_names(error, looked), place.path)
    if isinstance(found, int):
        return [Given(Fixed(found, given.span), given.source, given.path)]
    stack = looked.stacks[id(found)][1]
    resolver.used.setdefault(place.path, []).append((given, stack))
    trail = given.trail + tuple(looked.names)
    if len(trail) > CHAIN:
        names = " -> ".join(trail)
        resolver.findings.refuse(
            "XC022", f"more than {CHAIN} references in a chain", given.span, names, path=place.path
        )
    return [attrs.evolve(g, trail=trail) for g in stack]


def _with_names(error: SpecError, looked: _Looked) -> SpecError:
    """The error with what may have been meant, which takes a look at all names."""
    if error.diagnostics[0].code != "XC021":
        return error
    unknown = error.diagnostics[0].message.split("'")[1]
    return SpecError(attrs.evolve(error.diagnostics[0], fixes=tuple(suggest(unknown, looked.candidates()))))


@attrs.frozen(eq=False)
class Whole:
    """What a reference may stand for as a whole, and arithmetic cannot use."""

    value: Any

    def __str__(self) -> str:
        return shape(self.value).strip("'")


class _Looked:
    """Looks names up for one reference, and keeps what it found."""

    def __init__(self, resolver: Resolver, given: Given, place: Place, reference: tree.Reference):
        self.resolver, self.given, self.place, self.reference = resolver, given, place, reference
        self.names: list[str] = []
        self.stacks: dict[int, tuple[Any, Stack]] = {}

    def candidates(self) -> list[str]:
        """Names that exist, for suggestions."""
        sections = self.resolver.sections
        model = [f"model.{name}" for name in heads(sections.get("model", []))]
        return [*self.given.names, *heads(sections.get("let", [])), *model]

    def __call__(self, name: str) -> Any:
        resolver = self.resolver
        self._no_circle(name)
        self.names.append(name)
        resolver.walking.append(name)
        try:
            here = self._find(name)
            return self._value(name, here)
        except Nowhere:
            raise KeyError(name) from None
        finally:
            resolver.walking.pop()

    def _no_circle(self, name: str) -> None:
        before = [*self.given.trail, *self.resolver.walking]
        if name in before:
            circle = [*before[before.index(name) :], name]
            message = f"reference cycle: {' -> '.join(circle)}"
            raise SpecError(Diagnostic("XC022", message, self._span, path=self.place.path, stage="schema"))
        if len(before) >= CHAIN:
            message = f"more than {CHAIN} references in a chain"
            raise SpecError(Diagnostic("XC022", message, self._span, " -> ".join(before), stage="schema"))

    @property
    def _span(self) -> Span:
        return self.given.span

    def _find(self, name: str) -> Here:
        head, _, rest = name.partition(".")
        below = rest.split(".") if rest else []
        let = self.resolver.sections.get("let", [])
        renamed: dict[int, str] = {}
        if head in self.given.names:
            return step(self.resolver, Here(None, [self.given.names[head]]), below)
        if head in heads(let):
            return step(self.resolver, Here(None, lookups(let, head)), below)
        here = walk(self.resolver, name.split("."), renamed)
        if renamed and self.reference.inner is not None:
            for start, end in places(self.reference, name):
                path = part(self.reference.inner, start, end)
                renames.segment(self.resolver, self.place, self.given.source, path, renamed)
        return here

    def _value(self, name: str, here: Here) -> Any:
        resolver = self.resolver
        if here.place is not None and here.place.type.name in PLAIN:
            place = here.place
            value = here.key_of.value(place.name) if here.key_of else resolver.typed(place, here.stack)
            if value is BROKEN:
                raise Refused
            if here.place.type.name in NUMBERS and isinstance(value, int):
                return value
            return self._keep(Fixed(value, self.given.span), [Given(Fixed(value, self.given.span), self.given.source)])
        stack = here.stack
        if not stack and here.place is not None:
            stack = resolver.default(here.place)
        if not until_null(stack):
            raise Nowhere
        reference = resolver.reference(stack[0], ValueType("any"))
        if reference is not None:
            return reference
        value = stack[0].value
        return self._keep(value if isinstance(value, tree.Scalar) and "${" not in value.text else Whole(value), stack)

    def _keep(self, value: Any, stack: Stack) -> Any:
        self.stacks[id(value)] = (value, stack)
        return value
