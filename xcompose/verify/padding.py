"""Padding changes nothing: right, left and interior padding, rows of several lengths, and a row that is all padding."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from xcompose.attention.reads import Axis
from xcompose.compose.parts import Mixer, Output, Source
from xcompose.diagnostics import Diagnostic
from xcompose.verify.measure import distance
from xcompose.verify.rows import last_axis
from xcompose.verify.subject import Part, Subject, axis_of, blame, rows, source_of

CODE = "XC073"
TOLERANCE = 1e-10


def certify(subject: Subject, seed: int = 0) -> list[Diagnostic]:
    """Findings about mixers and outputs whose real rows notice rows that hold no token; about the model where none
    does."""
    found = blame((p for p in subject.parts() if isinstance(p.module, Mixer | Output)), partial(_part, subject, seed))
    first = None if found else next(_whole(subject, seed), None)
    return found if first is None else [first]


def _part(subject: Subject, seed: int, part: Part) -> Diagnostic | None:
    if isinstance(part.module, Output):
        return _output(subject, part, part.module, seed)
    return _mixer(subject, part, seed) or _source(subject, part, seed)


def _output(subject: Subject, part: Part, output: Output, seed: int) -> Diagnostic | None:
    """An output that answers for a sequence looks at the rows that hold its tokens."""
    n, real = subject.n, _lengths(subject.n)
    x = rows(part, n, seed, torch.float64, batch=len(real))
    valid = torch.arange(n) < torch.tensor(real)[:, None]
    axis = axis_of(part, n)
    with torch.no_grad():
        padded = torch.where(valid[..., None], x, 0.0)
        together = output(padded, Axis(axis.at, valid, total=axis.total))
        for row, length in enumerate(real):
            if length == 0:
                continue
            alone, mine = output(x[row : row + 1, :length], axis_of(part, length)), together[row : row + 1]
            change = distance(mine[:, :length] if output.each_row else mine, alone)
            if change > TOLERANCE:
                return _finding(subject, part, f"right padding to {n}", length, change)
    return None


def _mixer(subject: Subject, part: Part, seed: int) -> Diagnostic | None:
    """A mixer gets rows right-padded, absent ones zeroed; it must not notice how many there are."""
    n, real = subject.n, _lengths(subject.n)
    x = rows(part, n, seed, torch.float64, batch=len(real))
    valid = torch.arange(-part.prefix, n) < torch.tensor(real)[:, None]
    padded = torch.where(valid[..., None], x, 0.0)
    assert isinstance(part.module, Mixer)
    axis = _with_valid(part, n, valid)
    padded = padded.requires_grad_()
    out = part.module(padded, axis, None, source_of(part, len(real), subject.elsewhere, x.dtype)).x
    if finding := _gradient(subject, part, torch.where(valid[..., None], out, 0.0), padded):
        return finding
    out = out.detach()
    for row, length in enumerate(real):
        if length == 0:
            continue
        one = source_of(part, 1, subject.elsewhere, x.dtype)
        with torch.no_grad():
            lone = part.module(x[row : row + 1, : part.prefix + length], axis_of(part, length), None, one).x
        change = distance(out[row : row + 1, : part.prefix + length], lone)
        if change > TOLERANCE:
            return _finding(subject, part, f"right padding to {n}", length, change)
    return None


def _gradient(subject: Subject, part: Part, out: Tensor, padded: Tensor) -> Diagnostic | None:
    """Rows that hold no token, and sequences of nothing else, must not spoil what the others learn."""
    tensors = [padded, *(p for p in part.module.parameters() if p.requires_grad)]
    found = torch.autograd.grad(out.sum(), tensors, allow_unused=True) if out.requires_grad else ()
    wrong = sum(int((~torch.isfinite(gradient)).sum()) for gradient in found if gradient is not None)
    if not wrong:
        return None
    return subject.finding(
        CODE, f"padding breaks the gradient of {part.place.title}", part.place,
        f"with a sequence of nothing but padding in the batch, {wrong:,} numbers of the gradient are not finite",
        hint=f"in the plugin '{part.place.name}', look for a division by what may be nothing",
    )  # fmt: skip


def _source(subject: Subject, part: Part, seed: int) -> Diagnostic | None:
    """What stands behind the end of the other sequence is not read by a cross mixer."""
    if not part.cross:
        return None
    assert isinstance(part.module, Mixer)
    mixer, m = part.module, subject.elsewhere
    ends = (m, m - 1, max(1, m // 2))
    x, source = rows(part, subject.n, seed, torch.float64), rows(part, m, seed + 1, torch.float64)
    source = source[:, part.prefix :].expand(len(ends), -1, -1)
    valid = torch.arange(m) < torch.tensor(ends)[:, None]
    there = Source(torch.where(valid[..., None], source, 0.0), Axis(range(m), valid, total=m, clock="source"))
    with torch.no_grad():
        together = mixer(x.expand(len(ends), -1, -1).contiguous(), axis_of(part, subject.n), None, there).x
        for row, end in enumerate(ends):
            cut = Source(source[row : row + 1, :end], Axis(range(end), total=end, clock="source"))
            change = distance(together[row : row + 1], mixer(x, axis_of(part, subject.n), None, cut).x)
            if change > TOLERANCE:
                return _finding(subject, part, f"another sequence, padded to {m}", end, change)
    return None


def _with_valid(part: Part, n: int, valid: Tensor) -> Axis:
    axis = axis_of(part, n)
    return Axis(at=axis.at, valid=valid, total=axis.total, clock=axis.clock)


def _lengths(n: int) -> tuple[int, ...]:
    """Real lengths in one batch: all, one short, an odd one, one token, none."""
    return tuple(dict.fromkeys((n, n - 1, max(2, n * 5 // 8), 1, 0)))


def layouts(n: int) -> Iterator[tuple[str, Tensor]]:
    """Names and masks (n) of the ways in which a row may be padded."""
    some = torch.arange(n)
    real = max(2, n * 5 // 8)
    yield "no padding", torch.ones(n, dtype=torch.bool)
    yield "right padding", some < real
    yield "left padding", some >= n - real
    yield "padding in the middle", (some < real // 2) | (some >= n - (real - real // 2))
    yield "padding here and there", (some * 7919 + 3) % 5 > 1
    yield "one token, left", some == n - 1
    yield "nothing but padding", torch.zeros(n, dtype=torch.bool)


def _whole(subject: Subject, seed: int) -> Iterator[Diagnostic]:
    names, masks = zip(*layouts(subject.n), strict=True)
    mask = torch.stack(masks)
    tokens = subject.tokens(len(names), seed)
    there = mask.reshape(*mask.shape, *[1] * (tokens.dim() - 2))
    other = torch.where(there, tokens, subject.replaced(tokens, seed + 1))
    model = subject.model()
    with torch.no_grad():
        out = last_axis(subject.call(model, tokens, mask=mask).logits)
        again = last_axis(subject.call(model, other, mask=mask).logits)
        for row, name in enumerate(names):
            yield from _row(subject, name, tokens[row], mask[row], out[row], again[row])
        alone = last_axis(subject.call(model, tokens[1:2], mask=mask[1:2]).logits)[0]
    if distance(alone, out[1]) > TOLERANCE:
        measured = f"a row alone differs from itself in a batch of {len(names)} by {distance(alone, out[1]):.2g}"
        yield subject.finding(CODE, "rows of a batch change each other", None, measured)


def _row(subject: Subject, name: str, tokens: Tensor, mask: Tensor, out: Tensor, again: Tensor) -> Iterator[Diagnostic]:
    model, real = subject.model(), tokens[mask]
    if distance(out, again) > TOLERANCE:
        measured = f"{name}: outputs moved by {distance(out, again):.2g} when the tokens behind the mask were replaced"
        yield subject.finding(CODE, "padding changes the model's outputs", None, measured)
        return
    rowwise = len(out) == len(tokens)
    absent = out[~mask] if rowwise else out[:0]
    if not torch.equal(absent, torch.zeros_like(absent)):
        measured = f"{name}: padded places give {float(absent.abs().max()):.2g} instead of zeros"
        yield subject.finding(CODE, "padded places do not give zeros", None, measured)
    if not mask.any():
        if not torch.isfinite(out).all():
            measured = f"{name}: the outputs are not numbers"
            yield subject.finding(CODE, "a row of padding breaks the model", None, measured)
        return
    lone = last_axis(subject.call(model, real[None]).logits)[0]
    change = distance(out[mask] if rowwise else out, lone)
    if change > TOLERANCE:
        yield _finding(subject, None, name, int(mask.sum()), change)


def _finding(subject: Subject, part: Part | None, name: str, length: int, change: float) -> Diagnostic:
    title = part.place.title if part else "the model"
    fix = (
        f"in the plugin '{part.place.name}', look for absent rows in a sum, a count or a denominator"
        if part
        else "no mixer does so alone: look at positions, at the output, and at how rows are gathered"
    )
    return subject.finding(
        CODE, f"padding changes what {title} gives", part.place if part else None,
        f"{name}: outputs of {length} real rows differ by {change:.2g} from those rows alone", hint=fix,
    )  # fmt: skip
