"""Who may read whom in a model, as one digest: what frozen specs compare, beside names and shapes of tensors.

It sees predicates of patterns, spans of slots, directions, and heads. It does not see numbers: a score, a norm or an
ffn that computes something else from the same rows and the same weights leaves the digest as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from xcompose.compose.parts import Mixer
from xcompose.spec.frozen import LONGEST
from xcompose.verify.facts import Facts

HALVED = tuple(LONGEST >> step for step in range(LONGEST.bit_length()))
DIGITS = 24


def sight(facts: Facts) -> str:
    """A length that the model takes and the digest at it, `512 8499a7f6..`; empty where it takes none of those tried.

    The length is the longest that is tried, so that wide windows end within it.
    """
    own = facts.model.options.length
    tried = [own, *HALVED] if own and own <= LONGEST else HALVED
    n = next((n for n in tried if facts.takes(n)), 0)
    return f"{n} {sight_at(facts, n)}" if n else ""


def sight_at(facts: Facts, n: int) -> str:
    """The digest at a length; empty where a mixer does not take it."""
    seen = hashlib.sha256()
    try:
        for _, _, mixer in facts.mixers():
            for line in _said(mixer, n):
                seen.update(line)
    except ValueError:  # as `Facts.takes`
        return ""
    return seen.hexdigest()[:DIGITS]


def _said(mixer: Mixer, n: int) -> Iterator[bytes]:
    """Head by head, however they are grouped: whether positions alone decide, and the matrix."""
    yield b"mixer"
    try:
        groups = mixer.visible(n)
    except NotImplementedError:
        yield b"says nothing"
        return
    for group in groups:
        matrix = np.asarray(group.matrix, dtype=bool)
        line = f"{group.exact} {matrix.shape}".encode() + hashlib.sha256(np.packbits(matrix).tobytes()).digest()
        yield from [line] * group.heads
