"""In bfloat16 a model gives what it gives in float64, but for the rounding of the numbers that it multiplies.

Bound    a number with 8 significant bits is off by 2^-9 of itself at most, by half of that as a rule; from its rows to
         its answer a part rounds about ten times, and errors that know nothing of each other add up in squares: some
         0.4 %, root mean square of the error by that of the answer; parts of 33 small specs were off by
         0.27 % in the median, 0.54 % at most.  Where terms of an answer cancel it is more, by as much as they cancel:
         2^-6 = 1.6 %, three times the worst that was measured, leaves room for that. It is a margin, and not proved.
         A model in which p mixers, feed-forward networks and outputs stand behind each other: sqrt(p) times as much.
         Where contents choose who reads whom, rounding turns choices between scores that are nearly alike, and a key
         more or less changes a row by more than rounding does. There the median row may be off by 2^-3, part by part;
         such a model as a whole has no bound.

Both sides have weights that bfloat16 can hold, so what is measured is what happens to rows. Statistics, running sums
and choices must have more bits whatever the error: what enters them is watched.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from xcompose.attention.island import casting
from xcompose.compose.numbers import matrices, store_in
from xcompose.compose.parts import Embedding, Mixer
from xcompose.diagnostics import Diagnostic
from xcompose.verify.subject import Part, Subject, alone, blame, outermost, parts_of, rows

CODE = "XC069"
LOW = torch.bfloat16
BOUND, OF_CHOICES = 2**-6, 2**-3
FAR = 512
"""How many rows parts get where the model takes so many: sums that lose digits lose few of them on a short text."""

aten = torch.ops.aten
STATISTICS = {
    aten._softmax: "a softmax", aten._safe_softmax: "a softmax", aten._log_softmax: "a softmax",
    aten.exp: "exponentials", aten.logsumexp: "a logarithm of a sum", aten.logcumsumexp: "a logarithm of a sum",
    aten.cumsum: "a running sum", aten.topk: "a choice", aten.sort: "a choice", aten.argmax: "a choice",
    aten.argmin: "a choice",
}  # fmt: skip
"""Operators that need more bits than products, and what people call them."""


@attrs.frozen
class _Forms:
    """One model three times, with the same weights."""

    exact: nn.Module
    """In float64."""
    automatic: nn.Module
    """Weights in float32, products in bfloat16."""
    stored: nn.Module
    """Matrices in bfloat16, too."""

    @classmethod
    def of(cls, subject: Subject) -> _Forms:
        model: Any = subject.build_redrawn().float().eval()
        with torch.no_grad():
            for parameter in matrices(model):
                parameter.copy_(parameter.to(LOW))
        model.works_in = LOW
        stored: Any = copy.deepcopy(model)
        store_in(stored, LOW)
        return cls(copy.deepcopy(model).double(), model, stored)


def certify(subject: Subject, seed: int = 0) -> list[Diagnostic]:
    """Findings about parts, or the whole model where none is to blame, that are not fit for bfloat16: errors where the
    spec asks for it, else warnings."""
    forms = _Forms.of(subject)
    parts = [part for part in subject.parts_in(forms.exact) if not isinstance(part.module, Embedding)]
    found = blame(parts, lambda part: _part(subject, forms, part, seed)) or list(_whole(subject, forms, parts, seed))
    severity = "error" if subject.low else "warning"
    return [attrs.evolve(finding, severity=severity) for finding in found]


def _part(subject: Subject, forms: _Forms, part: Part, seed: int) -> Diagnostic | None:
    n = subject.far if part.prefix == 0 and subject.far else subject.n
    x = rows(part, n, seed, LOW)
    wanted = _answers(alone(part, n, subject.elsewhere), x.double())
    for form in (forms.automatic, forms.stored):
        same = attrs.evolve(part, module=form.get_submodule(part.at))
        watch = _Watch()
        try:
            with watch, casting(x.device, LOW):
                answer = _answers(alone(same, n, subject.elsewhere), x.float())
        except Exception as error:  # a plugin may raise anything, and that is a finding about it
            return _finding(subject, part, f"it raises {type(error).__name__}: {error}".partition("\n")[0])
        if watch.seen:
            return _finding(subject, part, f"it takes {watch.seen[0]} of numbers that were rounded to 8 bits")
        choosing = chooses(subject, part)
        if fault := _fault(answer, wanted, OF_CHOICES if choosing else BOUND, by_row=choosing):
            return _finding(subject, part, fault)
    return None


def _whole(subject: Subject, forms: _Forms, parts: list[Part], seed: int) -> Iterator[Diagnostic]:
    tokens, exact, found = subject.tokens(2, seed), forms.exact, []
    for form in (exact, forms.automatic, forms.stored):
        try:
            with casting(tokens.device, None if form is exact else LOW):
                found.append(_answers(lambda t, form=form: subject.call(form, t).logits, tokens))
        except Exception as error:  # as above
            yield _finding(subject, None, f"it raises {type(error).__name__}: {error}".partition("\n")[0])
            return
    behind = sum(part.place.kind not in ("embedding", "norm") for part in outermost(parts_of(exact, subject)))
    bound = torch.inf if any(chooses(subject, part) for part in parts) else BOUND * max(1, behind) ** 0.5
    for answer in found[1:]:
        if fault := _fault(answer, found[0], bound):
            yield _finding(subject, None, fault)
            return


def _answers(run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.no_grad():
        return run(x)


def chooses(subject: Subject, part: Part) -> bool:
    """Whether contents decide who reads whom in a part."""
    mixer = part.module
    if not isinstance(mixer, Mixer) or part.cross:
        return False
    return not all(group.exact for group in mixer.visible(part.prefix + subject.n))


def _fault(answer: Tensor, wanted: Tensor, bound: float, *, by_row: bool = False) -> str:
    """What is wrong with an answer (... e); empty where nothing is."""
    if not answer.isfinite().all():
        return "its answer is not a number"
    off, size = (_square(t, by_row) for t in (answer.double() - wanted, wanted))
    error = float((off.median() / size.mean().clamp_min(torch.finfo(size.dtype).tiny)).sqrt())
    if error <= bound:
        return ""
    return f"its answer is {100 * error:.2g} % off that in float64; rounding alone explains {100 * bound:.2g} %"


def _square(t: Tensor, by_row: bool) -> Tensor:
    """The mean square, of each row (... e) or of all."""
    return t.square().mean(-1) if by_row else t.square().mean()


def _finding(subject: Subject, part: Part | None, fault: str) -> Diagnostic:
    title = part.place.title if part else "the model"
    look = "look for statistics that stand on no `island`, and for differences of numbers that are nearly alike"
    hint = f"in the plugin '{part.place.name}', {look}" if part else ""
    if not subject.low:
        hint += f"{'; ' if hint else ''}without `precision(bf16)` it does no harm"
    return subject.finding(
        CODE, f"{title} is not fit for bfloat16", part.place if part else None, fault, hint=hint, stage="numerics"
    )


class _Watch(TorchDispatchMode):
    """Notes the statistics that are taken of rounded numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = STATISTICS.get(func._overloadpacket)
        if name and any(isinstance(arg, Tensor) and arg.dtype == LOW for arg in args):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))
