"""Assertions about what the checker says of a spec."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.diagnostics.render import text

if TYPE_CHECKING:
    from xcompose.registry import Registry

NAME = "spec"
"""What findings call a spec that is given as text."""


def diagnostics_of(
    spec: str | os.PathLike[str], *, registry: Registry | None = None, compose: bool = True
) -> tuple[Diagnostic, ...]:
    """Everything that is said of a spec before anything is measured: errors, warnings and hints.

    Args:
        spec: its text (of more than one line), or its path, `FILE` or `FILE@VARIANT`.
        registry: where components are looked up; None is everything installed.
        compose: whether its parts are put together, too, which imports torch; else it is only read.
    """
    from xcompose.registry import load
    from xcompose.spec import resolve

    known = registry or load()
    if isinstance(spec, str) and "\n" in spec:
        read, found = resolve.check_text(spec, NAME, catalogue=known.catalogue)
    else:
        read, found = resolve.check(Path(spec) if not isinstance(spec, str) else spec, (), known.catalogue)
    if compose and read is not None and read.model is not None:
        from xcompose.compose.build import plan_model

        try:
            plan_model(read, registry=known)
        except SpecError as error:
            found = [*found, *error.diagnostics]
    return tuple(found)


def assert_diagnostics(
    spec: str | os.PathLike[str], expected: Iterable[str], *, registry: Registry | None = None, compose: bool = True
) -> None:
    """Fail unless exactly these errors and warnings are found; hints do not count.

    Args:
        spec, registry, compose: as for `diagnostics_of`.
        expected: `XC013@9:19` (code, line, column), `XC013@9`, or `XC013` for one anywhere.
    """
    __tracebackhide__ = True
    found = [d for d in diagnostics_of(spec, registry=registry, compose=compose) if d.severity != "hint"]
    wanted = Counter(expected)
    unexpected = []
    for finding in found:
        match = next((said for said in _spellings(finding) if wanted[said] > 0), None)
        if match is None:
            unexpected.append(finding)
        else:
            wanted[match] -= 1
    missing = sorted(wanted.elements())
    if not missing and not unexpected:
        return
    lines = []
    if missing:
        lines.append(f"missing:    {', '.join(missing)}")
    if unexpected:
        lines.append(f"unexpected: {', '.join(_spellings(d)[0] for d in unexpected)}")
    said = text(unexpected or found)
    pytest.fail("\n".join([*lines, *(["", said] if said else ["", "nothing is wrong with this spec"])]), pytrace=False)


def assert_valid(spec: str | os.PathLike[str], *, registry: Registry | None = None, compose: bool = True) -> None:
    """Fail unless there is neither an error nor a warning; arguments as for `diagnostics_of`."""
    __tracebackhide__ = True
    assert_diagnostics(spec, (), registry=registry, compose=compose)


def _spellings(finding: Diagnostic) -> tuple[str, ...]:
    """The ways to write a finding, the most exact one first."""
    if finding.span is None:
        return (finding.code,)
    line, column = finding.span.line, finding.span.column
    return (f"{finding.code}@{line}:{column}", f"{finding.code}@{line}", finding.code)
