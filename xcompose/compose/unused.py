"""Options that mean nothing where they stand: refused, so that nobody believes that they do something."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from xcompose.diagnostics import PartError


def written(options: Any, name: str) -> bool:
    """Whether an option has another value than it has where nothing is written."""
    return getattr(options, name) != attrs.fields_dict(type(options))[name].metadata["xcompose"]["default"]


def refuse_unused(options: Any, names: Iterable[str], what: str, reason: str, *mends: str) -> None:
    """Refuse options that change nothing here.

    Args:
        names: of the options.
        what: who would use them: position 'rotary'.
        mends: what gives them a meaning.

    Raises:
        PartError: one of them has a value that is not its default.
    """
    for name in names:
        if written(options, name):
            raise PartError(
                f"{what} has no use for '{name}' here", label=reason, option=name, fixes=(f"leave {name} out", *mends)
            )
