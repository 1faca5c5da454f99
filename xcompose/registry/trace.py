"""Which hooks are called on which plugin, in which order, and how long each takes; afresh, from nothing kept."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from xcompose.registry.discovery import Found
from xcompose.registry.loader import Loader, refused


@attrs.frozen
class Call:
    """One step of loading a plugin."""

    plugin: str
    """Name of its entry point, or of its module for a built-in one."""
    distribution: str
    what: str
    """`import`, `refuse`, or the name of a hook."""
    seconds: float
    result: str
    """What it gave: `3 components`; or the error."""


def trace(found: Iterable[Found]) -> list[Call]:
    """Load plugins and write down every step."""
    loader, calls, begun = Loader(), [], [0.0]
    answers: list[tuple[str, float, str]] = []

    def before(hook: str, implementations: Sequence[Any], arguments: Mapping[str, Any]) -> None:
        begun[0] = time.perf_counter()

    def after(outcome: Any, hook: str, implementations: Sequence[Any], arguments: Mapping[str, Any]) -> None:
        if implementations:
            answers.append((hook, time.perf_counter() - begun[0], _told(outcome, hook)))

    loader.manager.add_hookcall_monitoring(before, after)
    for one in found:
        answers.clear()
        plugin = loader.load(one).plugin
        rest = max(plugin.seconds - sum(seconds for _, seconds, _ in answers), 0.0)
        step = "import" if refused(one) is None else "refuse"
        failed = plugin.error if plugin.error and not any(told.startswith("error") for _, _, told in answers) else ""
        calls.append(Call(one.title, one.distribution, step, rest, failed or one.module))
        calls += [Call(one.title, one.distribution, *answer) for answer in answers]
    return calls


def _told(outcome: Any, hook: str) -> str:
    if outcome.exception is not None:
        return f"error: {type(outcome.exception).__name__}: {outcome.exception}"
    answers = outcome.get_result()
    try:
        count = len(answers[0]) if answers else 0
    except TypeError:  # a generator, or nothing that can be counted: the loader says if it is wrong
        return type(answers[0]).__name__
    word = hook.removesuffix("s")
    return f"{count} {word}{'' if count == 1 else 's'}"
