"""Marks for torch.compile, without the four seconds that importing its compiler takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def constant(function: F) -> F:
    """Mark a function whose result the compiler may take as a constant.

    The same mark as `torch.compiler.assume_constant_result`, which imports the whole compiler to set it.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
