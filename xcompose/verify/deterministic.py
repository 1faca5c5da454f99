"""The same seed gives the same result: in two builds, in two evaluations, after another batch, in training without
dropout, and in the precision that training uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from xcompose.compose.parts import Embedding, Mixer
from xcompose.compose.quantized import quantized
from xcompose.compose.weights import plain_tensors
from xcompose.diagnostics import Diagnostic
from xcompose.verify.measure import distance
from xcompose.verify.subject import Part, Subject, alone, blame, parts_of, rows

CODE = "XC076"
SAME = 1e-12
"""Evaluations of one function differ by rounding at most; nothing else may."""
SINGLE = 1e-4
"""How far float32 may be from float64, relative to the largest output (gradients: of the largest gradient)."""


def certify(subject: Subject, seed: int = 0) -> list[Diagnostic]:
    """Findings about models, or mixers where one is to blame, that give several results for one input."""
    with torch.random.fork_rng(devices=[]):
        # Who gives two results in evaluation cannot be compared with anything else.
        found = _builds(subject) or steady(subject, seed) or _training(subject, seed)
    return found or blame(subject.parts(), lambda part: _single(subject, part, seed))


def steady(subject: Subject, seed: int = 0) -> list[Diagnostic]:
    """Findings about parts, or the whole model, that answer one question in two ways while nothing is trained; measured
    once for a subject and seed."""
    key = ("steady", seed)
    if key not in subject.cache:
        with torch.random.fork_rng(devices=[]):
            subject.cache[key] = list(_evaluations(subject, seed))
    return subject.cache[key]


def is_deterministic(subject: Subject, seed: int = 0) -> bool:
    """Whether evaluating twice gives the same."""
    return not steady(subject, seed)


def _builds(subject: Subject) -> list[Diagnostic]:
    first, second = (plain_tensors(_build(subject, noise)) for noise in (1, 2))
    for name in dict.fromkeys([*first, *second]):
        if difference := _difference(name, first.get(name), second.get(name)):
            finding = subject.finding(
                CODE, "two builds from one seed differ", None, difference,
                hint="draw random numbers from the seed that is given, never from the clock", stage="numerics",
            )  # fmt: skip
            return [finding]
    return []


def _difference(name: str, a: Tensor | None, b: Tensor | None) -> str:
    """How a tensor of two builds differs; empty where it does not."""
    if a is None or b is None:
        return f"'{name}' is in one of them only"
    if a.shape != b.shape or a.dtype != b.dtype:
        shown = (f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in (a, b))
        return f"'{name}' is {' in one of them, in the other one '.join(shown)}"
    return "" if torch.equal(a, b) else f"'{name}' differs in {int((a != b).sum())} places"


def _build(subject: Subject, noise: int) -> nn.Module:
    torch.manual_seed(noise)
    return subject.build(11)


def _evaluations(subject: Subject, seed: int) -> Iterator[Diagnostic]:
    guilty = blame(subject.parts(), lambda part: _part(subject, part, seed))
    yield from guilty
    if guilty:
        return
    model, tokens = subject.model(), subject.tokens(2, seed)
    other = subject.tokens(3, seed + 1, max(2, subject.n // 2))
    change = _twice(lambda: subject.call(model, tokens).logits, between=lambda: subject.call(model, other))
    if change > SAME:
        yield _random(subject, None, change)


def _part(subject: Subject, part: Part, seed: int) -> Diagnostic | None:
    """A part answers twice, and another batch of shorter rows in between."""
    short = max(2, subject.n // 2)
    if isinstance(part.module, Embedding):
        x, other = subject.tokens(2, seed), subject.tokens(3, seed + 1, short)
    else:
        x = rows(part, subject.n, seed, torch.float64, batch=2)
        other = rows(part, short, seed + 1, torch.float64, batch=3)
    run, between = (alone(part, n, subject.elsewhere) for n in (subject.n, short))
    change = _twice(lambda: run(x), between=lambda: between(other))
    return _random(subject, part, change) if change > SAME else None


def _twice(run: Callable[[], Tensor], between: Callable[[], Any] = lambda: None) -> float:
    with torch.no_grad():
        torch.manual_seed(1)
        first = run()
        between()
        torch.manual_seed(2)
        return distance(run(), first)


def _random(subject: Subject, part: Part | None, change: float) -> Diagnostic:
    title = part.place.title if part else "the model"
    return subject.finding(
        CODE, f"evaluating {title} twice gives two results", part.place if part else None,
        f"outputs of one input differ by {change:.2g}",
        hint="draw once, keep the draw in a buffer, and let no batch change what the next one gets",
    )  # fmt: skip


def _training(subject: Subject, seed: int) -> list[Diagnostic]:
    """Without dropout, training mode computes what evaluation computes."""
    model = subject.learning()
    tokens = subject.tokens(2, seed)
    for part, change in _train_and_eval(subject, model, tokens, seed):
        if change > SAME:
            title = part.place.title if part else "the model"
            finding = subject.finding(
                CODE, f"{title} computes something else in training than in evaluation", part.place if part else None,
                f"without dropout, outputs of one input differ by {change:.2g}",
                hint="only dropout may ask whether it is training", stage="numerics",
            )  # fmt: skip
            return [finding]
    return []


def _train_and_eval(
    subject: Subject, model: nn.Module, tokens: Tensor, seed: int
) -> Iterator[tuple[Part | None, float]]:
    for part in parts_of(model, subject):
        if isinstance(part.module, Mixer):
            run, x = alone(part, subject.n, subject.elsewhere), rows(part, subject.n, seed, torch.float64, batch=2)
            with torch.no_grad():
                model.train()
                trained = run(x)
                model.eval()
                yield part, distance(trained, run(x))
    with torch.no_grad():
        trained = subject.call(model.train(), tokens).logits
        yield None, distance(trained, subject.call(model.eval(), tokens).logits)


def _single(subject: Subject, part: Part, seed: int) -> Diagnostic | None:
    """In float32, outputs and gradients are those of float64: other executors run there, and training uses them.

    Mixers whose contents decide who reads whom are left out, and those that round their rows to integers: another last
    bit may turn a decision, or a step.
    """
    mixer = part.module
    if any(layer.scheme.dynamic for _, layer in quantized(mixer)):
        return None
    if not isinstance(mixer, Mixer) or not (part.cross or all(g.exact for g in mixer.visible(part.prefix + subject.n))):
        return None
    same = next(p for p in subject.parts(torch.float32) if p.place.key == part.place.key)
    results = []
    for one, dtype in ((part, torch.float64), (same, torch.float32)):
        x = rows(part, subject.n, seed, dtype, batch=2).requires_grad_()
        out = alone(one, subject.n, subject.elsewhere)(x)
        direction = rows(part, subject.n, seed + 9, dtype, batch=2)
        (gradient,) = torch.autograd.grad((out * direction).sum(), x)
        results.append((out.detach().double(), gradient.double()))
    (out, gradient), (out32, gradient32) = results
    for what, a, b in (("outputs", out32, out), ("gradients", gradient32, gradient)):
        change = distance(a, b)
        if change > SINGLE:
            return subject.finding(
                CODE, f"{part.place.title} gives something else in float32", part.place,
                f"{what} differ from those in float64 by {change:.2g}",
                hint="sums in single precision, or a fast executor that is wrong: `xcompose build --explain` names it",
                stage="numerics",
            )  # fmt: skip
    return None
