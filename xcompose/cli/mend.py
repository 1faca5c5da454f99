"""What `xcompose check --fix` writes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from xcompose.cli.common import errors

MENDED = ("XC019", "XC043")
"""Findings whose edits leave the meaning as it is."""


def mend(references: Iterable[str]) -> None:
    """Make the exact edits of findings in their files, and say which on standard error.

    A file with errors is left alone: the check says what is wrong with it.
    """
    from xcompose import registry
    from xcompose.diagnostics import SpecError
    from xcompose.spec.files import split
    from xcompose.spec.migrate import migrate
    from xcompose.writing import replace

    catalogue = registry.load().catalogue
    for file in dict.fromkeys(split(reference)[0] for reference in references):
        try:
            found = migrate(file, catalogue, MENDED)
        except SpecError:
            continue
        if found.changes:
            replace(Path(file), found.data)
        for change in found.changes:
            errors.print(f"fixed {file}:{change.line}:{change.column}   {change.old} → {change.new}", markup=False)
