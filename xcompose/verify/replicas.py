"""Processes that train one model on parts of a batch stay one model: two replicas, made as torch's data-parallel
wrapper makes them, with other random states and other batches, in one process.

A replica is built anew, from another seed, and then gets parameters and buffers of the first; a plan that was drawn
when it was built and is no buffer differs from there on. Gradients are averaged, statistics summed, as between
processes. What is random on purpose in training alone (options `dropout` and `noise`) is left out.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from xcompose.compose.observe import Tally
from xcompose.compose.parts import AfterStep, Embedding
from xcompose.compose.quantized import quantized
from xcompose.diagnostics import Diagnostic
from xcompose.verify.deterministic import SAME
from xcompose.verify.measure import distance
from xcompose.verify.rows import last_axis, weights_of
from xcompose.verify.subject import Part, Subject, alone, blame, parts_of, rows

CODE = "XC066"
LATER, PAUSE = 1000, 25
"""How often modules are told that a step is over, behind the measured one, since they may redraw by a schedule; and
after how many of these they are looked at."""
RATE = 1e-3


def certify(subject: Subject, seed: int = 0) -> list[Diagnostic]:
    """Findings about parts, or the whole model where none is to blame, whose replicas or copies differ."""
    with torch.random.fork_rng(devices=[]):
        first = subject.learning()
        second = _replica(subject, first)
        return _answers(subject, first, second, seed) or list(_steps(subject, first, second, seed))


def _replica(subject: Subject, model: nn.Module) -> nn.Module:
    """Another process's model: built there, then given parameters and buffers of this one."""
    if any(True for _ in quantized(model)):
        return copy.deepcopy(model)  # numbers in few bits are loaded, never built from a seed
    torch.manual_seed(31)
    made = (subject.quiet or subject.build)(31).double().train()
    with torch.no_grad():
        for mine, theirs in zip(_tensors(made).values(), _tensors(model).values(), strict=True):
            mine.copy_(theirs)
    return made


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _answers(subject: Subject, first: nn.Module, second: nn.Module, seed: int) -> list[Diagnostic]:
    there = {part.at: part for part in parts_of(second, subject)}

    def apart(part: Part) -> Diagnostic | None:
        if isinstance(part.module, Embedding):
            x = subject.tokens(2, seed)
        else:
            x = rows(part, subject.n, seed, torch.float64, batch=2)
        results = []
        for noise, one in enumerate((part, there[part.at])):
            torch.manual_seed(noise)
            with torch.no_grad():
                results.append(alone(one, subject.n, subject.elsewhere)(x))
        change = distance(*results)
        return _differ(subject, part, change) if change > SAME else None

    return blame(subject.parts_in(first), apart)


def _differ(subject: Subject, part: Part, change: float) -> Diagnostic:
    return subject.finding(
        CODE, f"replicas of {part.place.title} give two results", part.place,
        f"in training mode outputs of one input differ by {change:.2g} between two processes",
        hint="draw from a seed that the spec says and keep the draw in a buffer, or call it `noise` in an option",
        stage="numerics",
    )  # fmt: skip


def _steps(subject: Subject, first: nn.Module, second: nn.Module, seed: int) -> Iterator[Diagnostic]:
    _step(subject, (first, second), seed)
    with torch.no_grad():
        for mine, theirs in zip(_counting(first), _counting(second), strict=True):
            _wait(mine, theirs)
    there = _tensors(second)
    for name, tensor in _tensors(first).items():
        if not torch.equal(tensor, there[name]):
            yield _drifted(subject, first, name)
            return
    yield from _copies(subject, first, seed)


def _step(subject: Subject, models: Sequence[nn.Module], seed: int) -> None:
    """One step of training, each model on its own half of a batch."""
    tally = Tally()
    for number, model in enumerate(models):
        torch.manual_seed(100 + number)
        tokens = subject.tokens(2, seed + number)
        with tally.watching(model):
            out = subject.call(model, tokens)
        logits = last_axis(out.logits)
        loss = (logits @ weights_of(logits.shape[-1], seed).to(logits)).sum() + sum(out.losses.values())
        if loss.requires_grad:
            loss.backward()
    with torch.no_grad():
        for same in zip(*(model.parameters() for model in models), strict=True):
            found = [p.grad for p in same if p.grad is not None]
            for parameter in same:
                if found and parameter.requires_grad:
                    parameter.add_(sum(found[1:], found[0]), alpha=-RATE / len(models))
        for model in models:
            own = Tally()
            own.sums = dict(tally.sums)
            own.teach(model)
            for module in _counting(model):
                module.after_step()


def _wait(mine: Any, theirs: Any) -> None:
    """Let two modules take steps until the numbers of the first have moved by a schedule, or for long enough."""
    before = {name: t.clone() for name, t in _tensors(mine).items() if t.is_floating_point()}
    for _ in range(LATER // PAUSE):
        for module in (mine, theirs):
            for _ in range(PAUSE):
                module.after_step()
        now = _tensors(mine)
        if not all(torch.equal(t, now[name]) for name, t in before.items()):
            return


def _counting(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, AfterStep)]


def _drifted(subject: Subject, model: nn.Module, name: str) -> Diagnostic:
    inside = [part for part in parts_of(model, subject) if name.startswith(f"{part.at}.")]
    part = max(inside, key=lambda part: len(part.at), default=None)
    title, place = (part.place.title, part.place) if part else ("the model", None)
    return subject.finding(
        CODE, f"replicas of {title} drift apart", place,
        f"after steps with equal gradients '{name}' differs between two processes",
        hint="what changes between steps comes from gradients, from statistics of all replicas, or from the weights "
        "themselves, never from the global random state or from one process's batch",
        stage="numerics",
    )  # fmt: skip


def _copies(subject: Subject, model: nn.Module, seed: int) -> Iterator[Diagnostic]:
    """A copy, and what a worker unpacks, answer as the model does; a warning where it cannot be packed."""
    tokens = subject.tokens(2, seed)
    model.eval()
    what, copied = "the model in a worker", None
    try:
        copied = pickle.loads(pickle.dumps(model))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        what, copied = "a copy of the model", copy.deepcopy(model)
        found = subject.finding(
            CODE, "the model cannot be sent to a worker", None, f"pickle refuses it: {error}",
            hint="keep functions of a module's file in it, not ones that are made inside others", stage="numerics",
        )  # fmt: skip
        yield attrs.evolve(found, severity="warning")
    torch.manual_seed(5)
    with torch.no_grad():
        wanted, found = (subject.call(one, tokens).logits for one in (model, copied))
    if not torch.equal(found, wanted):
        yield subject.finding(
            CODE, f"{what} answers differently", None, f"outputs differ by {distance(found, wanted):.2g}",
            hint="what matters belongs into parameters and buffers, never beside the model", stage="numerics",
        )  # fmt: skip
