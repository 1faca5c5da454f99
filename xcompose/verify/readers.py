"""No key that is still read is dropped, however long the text: patterns are asked, far beyond what is measured.

Certificates decode a few dozen tokens. A pattern that names its last reader too early shows there only where that
reader is near. Here `allows` is asked about queries up to a million positions later, at the sizes of the spec, without
any data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from xcompose.attention.checks import LATER, early_last_reader
from xcompose.attention.layer import SoftmaxReads
from xcompose.attention.pattern import Pattern
from xcompose.attention.visible import Places
from xcompose.diagnostics import Diagnostic
from xcompose.verify.decode import CODE
from xcompose.verify.facts import Facts
from xcompose.verify.subject import Place, Subject

SLOTS = 256
"""Rows whose slots are looked at."""


def certify(facts: Facts, subject: Subject) -> list[Diagnostic]:
    """Findings about mixers of a decoder whose caches would drop a key too early, one for each place.

    Args:
        facts: of the model as the spec has it.
        subject: what is measured, by which findings are named.
    """
    if subject.causal != "strict":
        return []
    longest = facts.model.options.length
    asked: list[Any] = []
    found = []
    for _, place, mixer in facts.mixers():
        if place.key in asked:
            continue
        asked.append(place.key)
        for pattern, heads, slots in _read(mixer, longest):
            if early := early_last_reader(pattern, longest, heads, slots):
                found.append(_finding(subject, place, pattern, early))
                break
    return found


def _read(mixer: nn.Module, longest: int | None) -> Iterator[tuple[Pattern, Sequence[int], Places | None]]:
    """Every pattern that decides what a cache of a mixer keeps, heads that it is about, and slots if not of tokens."""
    for inner in mixer.modules():
        if not isinstance(inner, SoftmaxReads) or not inner.causal:
            continue
        for group, limit in zip(inner.groups, inner.limits, strict=True):
            yield limit, range(group.heads.start, group.heads.stop), None
        for memory in inner.memories:
            yield memory.pattern, (0,), memory.spans(min(SLOTS, longest or SLOTS))


def _finding(subject: Subject, place: Place, pattern: Pattern, early: tuple[int, int, int]) -> Diagnostic:
    return subject.finding(
        CODE, f"{place.title} would drop a key that is still read", place,
        "key {}: `last_reader` says {}, but query {} reads it".format(*early),
        measured=f"`allows` of {type(pattern).__name__} was asked, up to {LATER[-1]:,} positions later",
        hint="give a later `last_reader`, or none: then keys are kept for ever",
    )  # fmt: skip
