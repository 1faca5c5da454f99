"""What an attention owes a score with logits of its own: channels of the queries, terms, and refusals.

    logit_ij = weigh(turn(q_i)) turn(k_j) s + what position and pattern add + what the score adds

What a score needs of a row to make its logits are further channels of that row's query, behind the d of products. A
score without `content` has no products: d is 0, no key is projected and none is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from xcompose.attention.groups import Group, Wrapped, of_heads
from xcompose.attention.pattern import Pattern
from xcompose.attention.reads import Score, Term
from xcompose.compose.parts import Context, Memory, Position
from xcompose.diagnostics import PartError

SOME = 192
"""So many positions show whether the slots of a memory stand for one each."""


class Channels(Wrapped):
    """A term that is given some channels of the queries."""

    def __init__(self, term: Term, channels: slice):
        super().__init__(term)
        self.channels = channels

    def around(self, term: Term) -> Term:
        return Channels(term, self.channels)

    def bias(self, q: Tensor, labels: Tensor) -> Tensor:
        return self.term.bias(q[..., self.channels], labels)


def with_score(groups: Iterable[Group], score: Score, heads: int, width: int) -> tuple[Group, ...]:
    """The groups of a layer with the terms of its score beside those of position and pattern.

    Args:
        heads: h of the layer.
        width: channels d that products have; the other terms see these, the score's the ones behind them.
    """
    own, behind = slice(0, width), slice(width, None)
    added = [Channels(term, behind) for term in score.terms(heads, width)]
    found = []
    for group in groups:
        terms = [Channels(term, own) for term in group.terms] if score.asks else group.terms
        found.append(group._replace(terms=(*terms, *of_heads(added, group.heads.start, group.count, heads))))
    return tuple(found)


def refuse_without_content(options: Any, context: Context, pattern: Pattern, position: Position, heads: int) -> None:
    """Refuse what would need queries and keys, where the score has none.

    Args:
        options: of the attention.
        heads: h of the layer.
    """
    learned = any(part.learned for _, part in pattern.groups(heads))
    checks = (
        (learned, "pattern", "its choice looks at queries and keys", "pattern=dense"),
        (position.turns, "position", "it turns queries and keys", "position=none in this layer"),
        (options.shared_qk, "shared_qk", "", "shared_qk=false"),
        (options.add_query, "add_query", "", "add_query=false"),
        (options.scale != "head", "scale", "it divides products of queries and keys", "leave scale out"),
    )
    for wrong, name, reason, fix in checks:
        if wrong:
            value = getattr(options, name)
            value = f"'{context.name(value)}'" if name in ("pattern", "position") else str(value).lower()
            raise PartError(
                f"score '{context.name(options.score)}' cannot be used with {name} {value}", option=name,
                label=f"{reason}, and this score has none" if reason else "this score has no queries and keys",
                fixes=(fix, "score=softmax"),
            )  # fmt: skip


def refuse_summaries(options: Any, context: Context, memories: Mapping[str, Memory]) -> None:
    """Refuse slots that are not tokens, beside a score whose terms speak of tokens."""
    for name, memory in memories.items():
        if memory.tokens is None or not _tokens(memory):
            kind = name.partition(" ")[0]
            raise PartError(
                f"score '{context.name(options.score)}' cannot be used with {kind} "
                f"'{context.name(getattr(options, kind))}'",
                label="its logits belong to places of the sequence, and a slot of this memory is not one of them",
                option=kind, fixes=(f"{kind}=null", "score=softmax"),
            )  # fmt: skip


def _tokens(memory: Memory) -> bool:
    start, end, at = (np.asarray(part) for part in memory.spans(SOME))
    return bool((start == end).all() and (start == at).all() and (at >= 0).all())
