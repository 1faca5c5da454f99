"""Collecting what is wrong with many parts, so that a user sees all of it at once."""

from __future__ import annotations

from types import TracebackType

import attrs

from xcompose.diagnostics import Diagnostic, SpecError


@attrs.define
class Findings:
    """Collects the findings of a stage.

    Used as a context manager it takes in a `SpecError` of the block and goes on behind it; any other exception passes.
    """

    found: list[Diagnostic] = attrs.field(factory=list)

    def __enter__(self) -> Findings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, SpecError):
            return False
        self.add(*error.diagnostics)
        return True

    def add(self, *diagnostics: Diagnostic) -> None:
        """Take these in, each once: a block that is used three times is wrong once."""
        self.found += [d for d in dict.fromkeys(diagnostics) if d not in self.found]

    def settle(self) -> None:
        """Go on only if nothing was found.

        Raises:
            SpecError: with everything that was found.
        """
        if self.found:
            raise SpecError(self.found)
