"""Measures candidates: here, one after the other, or in several processes at once."""

from __future__ import annotations

import math
import multiprocessing as mp
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs

from xcompose.diagnostics import SpecError
from xcompose.search.candidates import said
from xcompose.search.ground import Changed, Ground, refuse_changed
from xcompose.search.strategy import Candidate, Hopeless, Strategy

if TYPE_CHECKING:
    from xcompose.spec.model import Spec

PATIENCE = 60
"""Seconds that processes get to save their work when the user stops a search."""


@attrs.frozen
class Outcome:
    """What measuring a candidate gave."""

    state: Literal["done", "stopped", "failed", "interrupted"]
    metrics: Mapping[str, float] = attrs.field(factory=dict)
    reason: str = ""
    seconds: float = 0.0


def measured(strategy: Strategy, ground: Ground, candidate: Candidate) -> Outcome:
    """Ask a strategy for the quality of a candidate."""
    begin = time.perf_counter()

    def outcome(state: Any, metrics: Mapping[str, float] | None = None, reason: str = "") -> Outcome:
        return Outcome(state, dict(metrics or {}), reason, round(time.perf_counter() - begin, 3))

    try:
        metrics = strategy.quality(candidate, ground)
    except Hopeless as hopeless:
        return outcome("stopped", reason=hopeless.reason)
    except SpecError as error:
        return outcome("failed", reason=said(error.diagnostics))
    except KeyboardInterrupt:
        return outcome("interrupted")
    except Exception as error:  # a plugin may raise anything, and that fails this trial only
        return outcome("failed", reason=f"{type(error).__name__}: {error}")
    broken = [name for name, value in metrics.items() if not math.isfinite(value)]
    if broken:
        return outcome("failed", metrics, f"{broken[0]} is {metrics[broken[0]]}")
    return outcome("done", metrics)


class Measuring(Protocol):
    """Takes candidates, and gives their outcomes back."""

    def free(self) -> bool:
        """Whether it can take one more."""
        ...

    def give(self, candidate: Candidate) -> None: ...

    def hear(self) -> tuple[Candidate, Outcome]:
        """The next outcome, as soon as there is one."""
        ...

    def end(self) -> None:
        """Stop all that is under way."""
        ...


class Here:
    """Measures one candidate at a time, in this process."""

    def __init__(self, strategy: Strategy, ground: Ground):
        self.strategy, self.ground = strategy, ground
        self.waiting: list[Candidate] = []

    def free(self) -> bool:
        return not self.waiting

    def give(self, candidate: Candidate) -> None:
        self.waiting.append(candidate)

    def hear(self) -> tuple[Candidate, Outcome]:
        candidate = self.waiting.pop()
        return candidate, measured(self.strategy, self.ground, candidate)

    def end(self) -> None:
        self.waiting.clear()


@attrs.frozen
class Orders:
    """What a process needs to make the same ground as the first one."""

    reference: str
    sets: tuple[str, ...]
    seed: int
    folder: Path
    data: Path | None
    shares: tuple[float, ...]
    accelerator: str
    sources: Mapping[str, str] = attrs.field(factory=dict)


class Team:
    """Measures several candidates at once, each in a process of its own."""

    def __init__(self, ground: Ground, processes: int):
        self.ground = ground
        orders = Orders(
            ground.reference, tuple(ground.sets), ground.seed, ground.folder, ground.data, tuple(ground.shares),
            ground.accelerator, dict(ground.sources),
        )  # fmt: skip
        self.workers = [_Worker(orders) for _ in range(processes)]

    def free(self) -> bool:
        return any(worker.at is None for worker in self.workers)

    def give(self, candidate: Candidate) -> None:
        next(worker for worker in self.workers if worker.at is None).give(candidate)

    def hear(self) -> tuple[Candidate, Outcome]:
        while True:
            busy = {worker.wire: worker for worker in self.workers if worker.at is not None}
            for wire in wait(list(busy)):
                assert isinstance(wire, Connection)
                answer = busy[wire].hear(self.ground)
                if answer is not None:
                    return answer

    def end(self) -> None:
        """Let each process save its work, then end it."""
        busy = [worker for worker in self.workers if worker.at is not None]
        for worker in busy:
            worker.interrupt()
        deadline = time.monotonic() + PATIENCE
        for worker in busy:
            with suppress(KeyboardInterrupt):  # a second Ctrl-C: no more patience
                worker.drain(deadline)
        for worker in self.workers:
            worker.end()


class _Worker:
    """A process, the wire to it, and the candidate it is at."""

    def __init__(self, orders: Orders):
        self.orders = orders
        self.at: Candidate | None = None
        self.begin()

    def begin(self) -> None:
        context = mp.get_context("spawn")
        self.wire, other = context.Pipe()
        self.process = context.Process(target=_work, args=(other, self.orders), daemon=True)
        self.process.start()
        other.close()

    def give(self, candidate: Candidate) -> None:
        self.at = candidate
        order = (candidate.number, dict(candidate.chosen), candidate.folder)
        try:
            self.wire.send(order)
        except OSError:  # it died while it had nothing to do
            self.again()
            self.wire.send(order)

    def again(self) -> int | None:
        """Put a new process in the place of one that died, whose exit code is given back."""
        self.process.join()
        self.wire.close()
        code = self.process.exitcode
        self.begin()
        return code

    def hear(self, ground: Ground) -> tuple[Candidate, Outcome] | None:
        """Its outcome; None for what is said on the way."""
        assert self.at is not None
        candidate = self.at
        try:
            kind, *said = self.wire.recv()
            if kind == "judge":
                self.wire.send(ground.judge(candidate, *said))
                return None
        except (EOFError, ConnectionResetError, BrokenPipeError):
            self.at = None
            return candidate, Outcome("failed", reason=_died(self.again()))
        if kind == "show":
            ground.show(*said)
            return None
        if kind == "changed":
            raise Changed(said[0])
        self.at = None
        return candidate, said[0]

    def interrupt(self) -> None:
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGINT)

    def drain(self, deadline: float) -> None:
        """Wait until it has saved its work."""
        with suppress(EOFError, OSError):
            while self.wire.poll(max(0.0, deadline - time.monotonic())):
                kind, *_ = self.wire.recv()
                if kind == "judge":
                    self.wire.send("")
                if kind in ("outcome", "changed"):
                    return

    def end(self) -> None:
        self.wire.close()
        self.process.terminate()
        self.process.join()


def _died(code: int | None) -> str:
    how = f"exit code {code}"
    if code is not None and code < 0:
        how = "killed, most likely for want of memory" if -code == signal.SIGKILL else signal.Signals(-code).name
    return f"the process that measured it died: {how}"


def _work(wire: Connection, orders: Orders) -> None:
    """What a process does: measure each candidate that it is given, until the wire is cut."""
    os.setpgrp()  # Ctrl-C is for the first process, which tells the others
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)
    with suppress(BrokenPipeError, EOFError):  # the first process is gone
        try:
            strategy, ground = _prepared(wire, orders)
            while True:
                number, chosen, folder = wire.recv()
                candidate = Candidate(number, chosen, ground.resolve(chosen), folder)
                wire.send(("outcome", measured(strategy, ground, candidate)))
        except Changed as error:
            wire.send(("changed", error.diagnostics))


def _prepared(wire: Connection, orders: Orders) -> tuple[Strategy, Ground]:
    from xcompose import registry
    from xcompose.spec import load

    known = registry.load()
    spec = load(orders.reference, orders.sets, catalogue=known.catalogue)
    refuse_changed(orders.sources)
    ground = Ground(
        spec=spec, reference=orders.reference, sets=orders.sets, choices=spec.search["choices"], seed=orders.seed,
        folder=orders.folder, data=orders.data, registry=known, shares=orders.shares, accelerator=orders.accelerator,
        sources=orders.sources, show=partial(_show, wire), judge=partial(_judge, wire),
    )  # fmt: skip
    strategy = strategy_of(spec, ground)
    strategy.begin(ground)
    return strategy, ground


def _show(wire: Connection, text: str, share: float) -> None:
    wire.send(("show", text, share))


def _judge(wire: Connection, candidate: Candidate, share: float, metrics: Mapping[str, float]) -> str:
    wire.send(("judge", share, dict(metrics)))
    return wire.recv()


def strategy_of(spec: Spec, ground: Ground) -> Strategy:
    """The strategy of a spec, built for its model.

    Raises:
        SpecError: it refuses its options, or the model does not compose.
    """
    from xcompose.compose.build import plan_model
    from xcompose.compose.objectives import part_builder

    model = plan_model(spec, registry=ground.registry)
    return part_builder(model, ground.registry, spec.name)(spec.search["strategy"])


def team(strategy: Strategy, ground: Ground, jobs: int) -> Measuring:
    """What measures with so many processes."""
    return Here(strategy, ground) if jobs == 1 else Team(ground, jobs)
