"""No output sees a later token: each future is replaced, and gradients are asked; each part alone, then the model."""

from __future__ import annotations

import torch
from torch import Tensor

from xcompose.compose.parts import Causal, Embedding, Mixer
from xcompose.diagnostics import Diagnostic
from xcompose.verify.measure import gradients, moved, spread
from xcompose.verify.rows import ASKED, last_axis, slopes, weights_of
from xcompose.verify.sizes import has_dropout
from xcompose.verify.subject import Part, Subject, alone, blame, rows

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Largest change of a past output that is rounding."""
GRADIENT = 1e-12
CODE = "XC070"


def certify(subject: Subject, seed: int = 0) -> list[Diagnostic]:
    """Findings about parts that see the future; about the whole model only where no part does so alone.

    A model that may choose by the future (`causal: value`) is held to its gradients only.
    """
    if subject.causal == "none":
        return []
    found = blame((p for p in subject.parts() if p.causal), lambda part: _part(subject, part, seed))
    if not found and subject.causal == "strict":
        # The executors that train in float32 are not those that answer in float64.
        single = (p for p in subject.parts(torch.float32) if p.causal)
        found = blame(single, lambda part: _moved(subject, part, seed, torch.float32))
    return found or _whole(subject, seed) or _training(subject, seed)


def kind(subject: Subject, seed: int = 0) -> Causal:
    """What a model is, whatever the spec promises.

    `strict` if replacing the future changes nothing in the past, `value` if at least no gradient comes from the future,
    else `none`; `none` also where one answer stands for all positions.
    """
    with torch.no_grad():
        rowwise = last_axis(subject.call(subject.model(), subject.tokens(1, seed)).logits).shape[1] == subject.n
    if not rowwise:
        return "none"
    if _ahead(_whole_moved(subject, seed), TOLERANCE[torch.float64]) is None:
        return "strict"
    return "value" if _gradient_ahead(*slopes(subject, seed)) is None else "none"


def _part(subject: Subject, part: Part, seed: int) -> Diagnostic | None:
    if subject.causal == "strict" and (finding := _moved(subject, part, seed, torch.float64)):
        return finding
    if isinstance(part.module, Embedding) or part.place.kind == "output":
        return None
    x = rows(part, subject.n, seed, torch.float64)
    asked = spread(subject.n, ASKED)
    weights = weights_of(part.dim, seed)
    return _gradient_finding(
        subject, part, gradients(alone(part, subject.n, subject.elsewhere), x, asked, weights), asked
    )


def _moved(subject: Subject, part: Part, seed: int, dtype: torch.dtype) -> Diagnostic | None:
    run = alone(part, subject.n, subject.elsewhere)
    if isinstance(part.module, Embedding):
        x, other = two_texts(subject, seed)
    else:
        x, other = rows(part, subject.n, seed, dtype), rows(part, subject.n, seed + 1, dtype)
    with torch.no_grad():
        if run(x).shape[:2] != (1, subject.n):
            return None
        matrix = moved(run, x, other, future=True)
    ahead = _ahead(matrix, TOLERANCE[dtype])
    return _finding(subject, part, matrix, ahead, dtype) if ahead else None


def _finding(subject: Subject, part: Part | None, matrix: Tensor, ahead: int, dtype: torch.dtype) -> Diagnostic:
    i, p = _worst(matrix)
    what = "rows" if part else "tokens"
    measured = f"output {i} moved by {float(matrix[i, p]):.2g} when the {what} from {p} on were replaced"
    # A leak that only the single-precision executors have is a different fault, and must be said.
    where = "" if dtype == torch.float64 else " in float32"
    title = part.place.title if part else "the model"
    return subject.finding(
        CODE, f"{title} sees the future{where}", part.place if part else None, measured,
        measured=f"outputs see up to {ahead} token{'s' * (ahead > 1)} ahead, of {subject.n}",
        hint=_hint(ahead, subject.n, part),
    )  # fmt: skip


def _hint(ahead: int, n: int, part: Part | None) -> str:
    if part is None:
        return "no part does so alone: look at how the layers are joined"
    if ahead == 1:
        return f"in the plugin '{part.place.name}', look for a mask, shift or summary that ends one position too late"
    if ahead >= n // 2:
        return f"in the plugin '{part.place.name}', look for a missing causal rule, or a statistic over all positions"
    return f"in the plugin '{part.place.name}', look for a block or summary that is visible before its last token"


def _ahead(matrix: Tensor, tolerance: float) -> int | None:
    """The farthest look ahead, from [output, first replaced row]; None where there is none."""
    seen = (matrix > tolerance).triu(1)
    pairs = seen.nonzero()
    return int((pairs[:, 1] - pairs[:, 0]).max()) if len(pairs) else None


def _worst(matrix: Tensor) -> tuple[int, int]:
    upper = matrix.triu(1)
    index = int(upper.argmax())
    return index // matrix.shape[1], index % matrix.shape[1]


def _gradient_ahead(matrix: Tensor, asked: list[int]) -> tuple[int, int, float] | None:
    """The largest gradient from a later row: (output, row, size); None where there is none."""
    later = torch.arange(matrix.shape[1]) > torch.as_tensor(asked)[:, None]
    matrix = matrix * later
    if float(matrix.max()) <= GRADIENT:
        return None
    index = int(matrix.argmax())
    return asked[index // matrix.shape[1]], index % matrix.shape[1], float(matrix.max())


def _gradient_finding(
    subject: Subject, part: Part | None, matrix: Tensor, asked: list[int], when: str = ""
) -> Diagnostic | None:
    worst = _gradient_ahead(matrix, asked)
    if worst is None:
        return None
    i, j, size = worst
    title = part.place.title if part else "the model"
    return subject.finding(
        CODE, f"{title} has a gradient from the future{when}", part.place if part else None,
        f"output {i} has a gradient of {size:.2g} with respect to row {j}", hint=_hint(j - i, subject.n, part),
    )  # fmt: skip


def _whole(subject: Subject, seed: int) -> list[Diagnostic]:
    if subject.causal == "strict":
        matrix = _whole_moved(subject, seed)
        ahead = _ahead(matrix, TOLERANCE[torch.float64])
        if ahead:
            return [_finding(subject, None, matrix, ahead, torch.float64)]
    finding = _gradient_finding(subject, None, *slopes(subject, seed))
    return [finding] if finding else []


def _training(subject: Subject, seed: int) -> list[Diagnostic]:
    """Mixers that drop weights while they train may do so by other executors than those that answer. What is dropped
    differs from call to call, so gradients are asked: none comes from the future, whatever is dropped."""
    if subject.node is None or not has_dropout(subject.node):
        return []
    model = subject.build_redrawn().double().train()
    asked = spread(subject.n, ASKED)

    def ahead(part: Part) -> Diagnostic | None:
        x, run = rows(part, subject.n, seed, torch.float64), alone(part, subject.n, subject.elsewhere)
        found = gradients(run, x, asked, weights_of(part.dim, seed))
        return _gradient_finding(subject, part, found, asked, " while it trains")

    with torch.random.fork_rng(devices=[]):
        return blame((p for p in subject.parts_in(model) if p.causal and isinstance(p.module, Mixer)), ahead)


def _whole_moved(subject: Subject, seed: int) -> Tensor:
    x, other = two_texts(subject, seed)
    model = subject.model()
    with torch.no_grad():
        return moved(lambda tokens: last_axis(subject.call(model, tokens).logits), x, other, future=True)


def two_texts(subject: Subject, seed: int) -> tuple[Tensor, Tensor]:
    """Two sequences (1 n ...) of what the model reads that differ everywhere."""
    x = subject.tokens(1, seed)
    return x, subject.replaced(x, seed + 1)
