"""Which executor every read got, and why: collected where somebody listens, free where nobody does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from xcompose.attention.reads import Choice

_listener: ContextVar[list[Choice] | None] = ContextVar("listener", default=None)


@contextmanager
def recording() -> Iterator[list[Choice]]:
    """Collect the choices of every `attend` inside the block, in the order of the calls."""
    choices: list[Choice] = []
    token = _listener.set(choices)
    try:
        yield choices
    finally:
        _listener.reset(token)


def report(read: str, executor: str, reason: str) -> None:
    """Tell whoever listens which executor a read got."""
    choices = _listener.get()
    if choices is not None:
        choices.append(Choice(read, executor, reason))
