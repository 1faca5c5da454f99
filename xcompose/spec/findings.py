"""Collects findings: all at once, one for each place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import attrs

from xcompose.diagnostics import Diagnostic, Span, SpecError

MOST = 200
"""How many errors of one spec are kept."""

TOO_MANY: dict[str, Any] = {
    "code": "XC092", "message": f"{MOST} mistakes: reading stops", "span": None, "label": "", "path": "", "notes": (),
    "fixes": ("mend those that are shown first",), "severity": "error",
}  # fmt: skip


class Refused(Exception):
    """A place is wrong and has been reported; whatever needs its value says nothing more."""


class Exhausted(Exception):
    """The spec expands too far: nothing more is read."""


class Broken:
    """The value of a place that has been reported."""

    def __repr__(self) -> str:
        return "broken"


BROKEN = Broken()


class Findings:
    """What is wrong with a spec so far.

    Args:
        spec: its name, for findings.
        homes: which section a key belongs to, for keys that stand outside of it.
        most: how many errors are kept; None keeps all.
    """

    def __init__(self, spec: str = "", homes: Mapping[str, str] | None = None, most: int | None = None):
        self.spec, self.homes = spec, homes or {}
        self.diagnostics: list[Diagnostic] = []
        self.opened = 0
        """How many other specs were opened for this one, each as often as it is named."""
        self._left = most
        self._seen: set[object] = set()

    def add(self, diagnostic: Diagnostic) -> None:
        """Keep a finding, unless its place has one already.

        Raises:
            Exhausted: it is one error too many.
        """
        place = diagnostic.span or (diagnostic.code, diagnostic.message)
        if (diagnostic.severity, place) not in self._seen:
            self._seen.add((diagnostic.severity, place))
            self.diagnostics.append(diagnostic if diagnostic.spec else attrs.evolve(diagnostic, spec=self.spec))
            if diagnostic.severity == "error" and self._left is not None:
                self._count(diagnostic)

    def _count(self, diagnostic: Diagnostic) -> None:
        assert self._left is not None
        self._left -= 1
        if not self._left:
            self.diagnostics.append(attrs.evolve(diagnostic, **TOO_MANY))
            raise Exhausted

    def report(self, code: str, message: str, span: Span | None = None, label: str = "", **facts: Any) -> None:
        """Add a finding of the schema stage."""
        self.add(Diagnostic(code, message, span, label, **{"stage": "schema", "spec": self.spec, **facts}))

    def refuse(self, code: str, message: str, span: Span | None = None, label: str = "", **facts: Any) -> NoReturn:
        """Report a place and give it up."""
        self.report(code, message, span, label, **facts)
        raise Refused

    def take(self, error: SpecError, path: str = "") -> NoReturn:
        """Keep the findings of an error, as findings about a place, and give the place up."""
        for diagnostic in error.diagnostics:
            self.add(diagnostic if diagnostic.path or not path else attrs.evolve(diagnostic, path=path))
        raise Refused

    @property
    def failed(self) -> bool:
        return any(d.severity == "error" for d in self.diagnostics)
