"""How far a student is from its teacher: formulas that compare logits, hidden states, attention maps and relations.

All of them are scalars, at least in single precision, 0 where both agree; gradients flow to the student. Divergences
are KL(teacher || student). No entry is infinite, so that what is left out has a gradient of 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

NEVER = -1e9
"""The logarithm of a probability of 0."""


def wide(t: Tensor) -> Tensor:
    """In single precision at least."""
    return t.to(torch.promote_types(t.dtype, torch.float32))


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of log-probabilities (... m): (...)."""
    return (teacher.exp() * (teacher - student)).sum(-1)


def soft_targets(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)) of logits (n v), the mean over n."""
    logs = [functional.log_softmax(wide(t) / temperature, -1).clamp(min=NEVER) for t in (student, teacher)]
    return temperature**2 * divergence(*logs).mean()


def squares(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean square of the difference of rows (n c)."""
    return (wide(student) - wide(teacher)).square().mean()


def angles(student: Tensor, teacher: Tensor) -> Tensor:
    """One minus the cosine of the angle between rows (n c), the mean over n."""
    return (1 - functional.cosine_similarity(wide(student), wide(teacher), -1)).mean()


def map_divergence(student: Tensor, teacher: Tensor, rows: Tensor | None) -> Tensor:
    """KL(teacher || student) of attention weights, the mean over heads and queries.

    The teacher's weights are those among the pairs that the student may read; a query without such pairs is left out.
    Where the numbers of heads differ, the means of the weights over heads are compared.

    Args:
        student, teacher: logits (b h n m), -inf where a query may not read.
        rows: (b n) bool, queries that count; None: all.
    """
    student, teacher = wide(student), wide(teacher)
    readable = student > -torch.inf
    if student.shape[1] != teacher.shape[1]:
        readable = readable.any(1, keepdim=True)
    own, _ = _weights(student)
    theirs, asks = _weights(teacher.masked_fill(~readable, -torch.inf))
    if student.shape[1] != teacher.shape[1]:
        own = own.logsumexp(1, keepdim=True) - math.log(own.shape[1])
        count = asks.sum(1, keepdim=True).clamp(min=1)
        theirs = theirs.masked_fill(~asks[..., None], NEVER).logsumexp(1, keepdim=True)
        theirs = theirs - count[..., None].to(theirs.dtype).log()
        asks = asks.any(1, keepdim=True)
    return _mean(divergence(own, theirs), asks if rows is None else asks & rows[:, None])


def _weights(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of weights (b h n m), and which queries (b h n) read anything."""
    reads = (logits > -torch.inf).any(-1)
    logits = logits.masked_fill(~reads[..., None], 0.0)
    return functional.log_softmax(logits, -1).clamp(min=NEVER), reads


def map_squares(student: Tensor, teacher: Tensor, rows: Tensor | None) -> Tensor:
    """The mean square of the difference of logits, over heads and the pairs that both may read.

    Where the numbers of heads differ, the means of the logits over heads are compared. Arguments as `map_divergence`.
    """
    student, teacher = wide(student), wide(teacher)
    seen = [t > -torch.inf for t in (student, teacher)]
    own, theirs = (t.masked_fill(~there, 0.0) for t, there in zip((student, teacher), seen, strict=True))
    if student.shape[1] != teacher.shape[1]:
        own, theirs = own.mean(1, keepdim=True), theirs.mean(1, keepdim=True)
        seen = [there.all(1, keepdim=True) for there in seen]
    both = seen[0] & seen[1]
    return _mean((own - theirs).square(), both if rows is None else both & rows[:, None, :, None])


def _mean(t: Tensor, counts: Tensor) -> Tensor:
    """The mean of the entries that count, 0 where none does."""
    counts = counts.expand_as(t)
    return t.masked_fill(~counts, 0.0).sum() / counts.sum().clamp(min=1)


def relation_divergence(student: Tensor, teacher: Tensor, heads: int, rows: Tensor | None, causal: bool) -> Tensor:
    """KL(teacher || student) of softmax(x x^T / sqrt(d)), x being rows of width d in each of some heads; the mean over
    heads and rows.

    Args:
        student, teacher: (b n w) and (b n u); the widths may differ, and `heads` divides both.
        heads: of the relation, whatever heads there are in the mixer.
        rows: (b n) bool, those that count; None: all.
        causal: whether a row is related to itself and those before it only.
    """
    n = student.shape[1]
    others = torch.ones(n, n, dtype=torch.bool, device=student.device)
    others = others.tril() if causal else others
    related = others if rows is None else others & rows[:, None, None, :]
    own, theirs = (_weights(_products(wide(t), heads).masked_fill(~related, -torch.inf))[0] for t in (student, teacher))
    found = divergence(own, theirs)
    return found.mean() if rows is None else _mean(found, rows[:, None])


def _products(x: Tensor, heads: int) -> Tensor:
    """(b r n n) from rows (b n w)."""
    x = x.unflatten(-1, (heads, -1)).transpose(1, 2)
    return x @ x.mT / math.sqrt(x.shape[-1])
