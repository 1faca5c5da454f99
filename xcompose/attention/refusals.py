"""What an attention cannot be composed of, and why: refused before anything is computed.

Every function is given the options of the attention, of which it asks for `pattern`, `memory`, `recurrence`,
`position`, `score` and `dropout`, and the context that the attention is built in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xcompose.attention.checks import (
    between_clocks,
    prefix_stable,
    reads_no_token,
    selection,
    silent_query,
    spans_are_prefix,
)
from xcompose.attention.pattern import Pattern
from xcompose.attention.reads import Score
from xcompose.attention.summarised import spans_of
from xcompose.compose.parts import Context, Memory
from xcompose.diagnostics import PartError

SHORT = 32
"""A sequence of this length shows every query that may read nothing: the first ones, whose past is short."""
LONG = 192
"""The same where only some rows are asked, and perhaps not the first ones."""
NO_END = 2**62
"""The longest text, where no length is written."""


def refuse_pattern(options: Any, context: Context, pattern: Pattern, heads: int) -> None:
    """Refuse patterns that mean nothing here, or would look ahead."""
    if options.pattern is None:
        if options.memory is not None:
            raise PartError(
                f"beside memory '{context.name(options.memory)}' the pattern must be written",
                label="without it every query would read all tokens, too",
                fixes=("pattern=none reads the memory alone", "pattern=dense reads all tokens, too"), option="memory",
            )  # fmt: skip
        return
    name = context.name(options.pattern)
    if context.role == "cross":
        if reason := between_clocks(pattern, heads):
            raise PartError(
                f"cross-attention cannot use pattern '{name}'", label=reason, fixes=("pattern=dense",), option="pattern"
            )
        return
    if context.causal == "none":
        return
    if reason := prefix_stable(pattern, heads):
        fixes = ("count from the start: global(first=...)", "use it in an encoder")
        raise PartError(f"a decoder cannot use pattern '{name}'", label=reason, fixes=fixes, option="pattern")
    if reason := selection(pattern, context.causal, heads):
        strict = {part.strict_form: None for _, part in pattern.groups(heads) if part.strict_form}
        fixes = (*strict, "use it in an encoder", "model.causal: value admits it, and gives up exact decoding")
        raise PartError(f"a decoder cannot use pattern '{name}'", label=reason, fixes=fixes, option="pattern")


def refuse_beside_means(
    options: Any, context: Context, pattern: Pattern, memories: Mapping[str, Memory], heads: int
) -> None:
    """Refuse slots beside a pattern whose answer is the mean of several softmaxes."""
    for name in memories:
        means = [part for _, part in pattern.groups(heads) if part.merge == "mean"]
        if means:
            kind, decodes = name.partition(" ")[0], context.role == "self" and context.causal != "none"
            strict = {part.strict_form: None for part in means if decodes and part.strict_form}
            raise PartError(
                f"{kind} '{context.name(getattr(options, kind))}' cannot be used with pattern "
                f"'{context.name(options.pattern)}' in this form",
                label="each cluster has a softmax of its own, and slots beside the tokens would belong to none",
                fixes=(*strict, f"{kind}: none in this layer"), option=kind,
            )  # fmt: skip


def refuse_memories(
    options: Any, context: Context, memories: Mapping[str, Memory], causal: bool, heads: int = 1
) -> None:
    """Refuse slots that nobody reads, that would show the future, that contents cannot choose, and patterns of slots
    that ask for the end."""
    for name, memory in memories.items():
        kind = name.partition(" ")[0]
        if memory.pattern.empty:
            raise PartError(
                f"{kind} '{context.name(getattr(options, kind))}' is read by nobody", option=kind,
                label="its own pattern allows none of its slots", fixes=("pattern=dense inside it", "leave it out"),
            )  # fmt: skip
        if reason := unchosen(memory, context, heads):
            raise PartError(
                f"{kind} '{context.name(getattr(options, kind))}' cannot let contents choose among its slots",
                label=reason, option=kind, fixes=("pattern=dense inside it",),
            )  # fmt: skip
    if not causal:
        return
    for name, memory in memories.items():
        kind = name.partition(" ")[0]
        reason = (
            spans_are_prefix(memory.spans)
            or prefix_stable(memory.pattern, heads)
            or selection(memory.pattern, context.causal, heads)
        )
        if reason:
            raise PartError(
                f"a decoder cannot use {kind} '{context.name(getattr(options, kind))}'", label=reason,
                fixes=("use it in an encoder", "a causal summary: conv(3)"), option=kind,
            )  # fmt: skip


def unchosen(memory: Memory, context: Context, heads: int) -> str | None:
    """Why contents cannot choose slots of a memory as its pattern lets them; None where they can, or do not choose."""
    parts = [part for _, part in memory.pattern.groups(heads) if part.learned]
    if any(part.merge == "mean" for part in parts):
        return "each cluster has a softmax of its own, and the slots of a memory belong to the softmax of the tokens"
    if any(part.selects == "prefix" for part in parts):
        return "this form keeps the rows that can still be read itself, and a memory keeps its own slots"
    if parts and (context.role == "cross" or not is_rows(memory)):
        return "they choose among the rows of the sequence, one for each query, and its slots are others"
    return None


def is_rows(memory: Memory) -> bool:
    """Whether its slots are the rows of the sequence, all of them and no other."""
    n = LONG
    return all(np.array_equal(part, np.arange(n)) for part in memory.spans(n))


def refuse_idle(options: Any, context: Context, pattern: Pattern, memories: Mapping[str, Memory], heads: int) -> None:
    """Refuse a pattern that means to read tokens and cannot, where nothing else uses their keys and values."""
    if pattern.empty or not memories or any(uses_keys(memory) for memory in memories.values()):
        return
    causal = context.role == "self" and context.causal != "none"
    if reads_no_token(pattern, context.length or NO_END, causal, heads, context.prefix):
        raise PartError(
            f"pattern '{context.name(options.pattern)}' reads no token, however long the text", option="pattern",
            label="nothing would use the keys and values of this layer", fixes=("pattern=none, which says so",),
        )  # fmt: skip


def uses_keys(memory: Memory) -> bool:
    """Whether a memory works on the layer's own projections of keys and values."""
    return memory.looks or not memory.projects


def refuse_silence(options: Any, context: Context, reads: Sequence[tuple[Pattern, Memory | None]], heads: int) -> None:
    """Refuse what leaves a query without any key: the layer says nothing there, and no test of leaks would find it."""
    causal = context.role == "self" and context.causal != "none"
    rows = context.rows if context.role == "self" else None
    n = context.prefix + min(SHORT if rows is None else LONG, context.length or LONG)
    slots = [(pattern, None if memory is None else spans_of(memory, n, context.prefix)) for pattern, memory in reads]
    if reason := silent_query(slots, n, causal, heads, rows=rows, prefix=context.prefix):
        kind = "pattern"
        if reads[0][0].empty:
            kind = "memory" if options.memory is not None else "recurrence"
        raise PartError(
            f"{kind} '{context.name(getattr(options, kind))}' leaves queries without a key", label=reason, option=kind,
            fixes=(
                "add the query itself: ... | window(0)", "add a slot that is always there: conv(3, null=learned)",
                "silence=zero, if an answer of zero is meant",
            ),
        )  # fmt: skip


def refuse_with_kernel(
    options: Any, context: Context, score: Score, pattern: Pattern, memories: Mapping[str, Memory],
    terms: bool,
) -> None:  # fmt: skip
    """A kernel is a sum over all keys: refuse what would need to know one key from another."""
    if score.whole and context.role == "self" and context.causal == "strict":
        raise PartError(
            f"a decoder cannot use score '{context.name(options.score)}' in this form", option="score",
            label="the features of a key depend on the whole sequence, so the past would change with the future",
            fixes=(
                "the form that looks at the past alone", "model.causal: value admits it, and gives up exact decoding",
            ),
        )  # fmt: skip
    kind = next(iter(memories), "").partition(" ")[0]
    checks = (
        (
            not pattern.full, "pattern", "a sum over keys has every key in it, so no pattern can leave one out",
            "leave pattern out",
        ),
        (
            bool(memories), kind, "its sums already hold the whole past, slots beside them are not supported",
            f"{kind}=null",
        ),
        (terms, "position", "a sum over keys cannot add a bias to one product of query and key", "position=rotary"),
        (options.dropout > 0, "dropout", "a sum over keys has no single weights to drop", "dropout=0"),
    )  # fmt: skip
    for wrong, name, reason, fix in checks:
        if wrong:
            value = options.dropout if name == "dropout" else f"'{context.name(getattr(options, name))}'"
            message = f"score '{context.name(options.score)}' cannot be used with {name} {value}"
            raise PartError(message, label=reason, fixes=(fix, "score=softmax"), option=name)
