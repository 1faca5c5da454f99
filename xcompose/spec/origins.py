"""Where the values of a spec come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from xcompose.diagnostics import Diagnostic, Span, SpecError
from xcompose.diagnostics.suggest import suggest
from xcompose.spec import tree
from xcompose.spec.expression import unparse
from xcompose.spec.merge import Fixed, Given, Stack
from xcompose.spec.model import Origin, Spec
from xcompose.spec.resolver import Resolver, as_tree

SHOWN = 80
NOWHERE = Span("default", 1, 1, 1, 1)


class Origins(Mapping[str, tuple[Origin, ...]]):
    """By path: who gave a place its value, newest first. Put into words when asked for."""

    def __init__(self, resolver: Resolver):
        self._trace, self._used, self._defaults = resolver.trace, resolver.used, resolver.defaults

    def __getitem__(self, path: str) -> tuple[Origin, ...]:
        return tuple(self._chain(path, self._trace[path]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._trace)

    def __len__(self) -> int:
        return len(self._trace)

    def _chain(self, path: str, stack: Stack) -> Iterator[Origin]:
        used = self._used.get(path, [])
        for given in stack:
            reference = next((pair for pair in used if pair[0] is given), None)
            if reference is None:
                yield Origin(text_of(given), given.span, by(given))
                continue
            for target in reference[1]:
                yield Origin(text_of(target), target.span, by(target))
            inside = given.inside
            yield Origin(unparse(inside) if inside is not None else text_of(given), given.span, "used at")
        default = self._defaults.get(path)
        if not stack and default is not None:
            yield Origin(_written(as_tree(default, NOWHERE)), None, "default")


def by(given: Given) -> str:
    """Who gave a value: `let.w`, `variants.tiny.let.w`, `--set let.w=16`, `default`."""
    source = given.source
    if source.role in ("set", "default"):
        return source.by
    return f"{source.by}.{given.path}" if source.by else given.path


def text_of(given: Given) -> str:
    """A value as it is written, on one line, shortened."""
    text = " ".join(_written(given.value).split())
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _written(value: object) -> str:
    match value:
        case tree.Scalar(text=text):
            return text
        case tree.Mapping(entries=entries):
            return "{" + ", ".join(f"{e.key.text}: {_written(e.value)}" for e in entries) + "}"
        case tree.Sequence(items=items):
            return "[" + ", ".join(_written(item) for item in items) + "]"
        case Fixed(value=fixed):
            return str(fixed)
    return unparse(value)  # type: ignore[arg-type]


def why(spec: Spec, path: str) -> tuple[Origin, ...]:
    """Who gave a place its value, newest first.

    Raises:
        SpecError: there is no such place, or nothing was written for it or below it.
    """
    if path in spec.origins:
        return spec.origins[path]
    fixes = tuple(suggest(path, spec.origins))
    raise SpecError(Diagnostic("XC029", f"{spec.name} has no place '{path}'", fixes=fixes, stage="schema"))
