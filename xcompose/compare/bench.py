"""How fast mixers are, and how that grows: any list of cases, all in one process, taking turns.

Time is measured after a warm-up, case by case in turns, so that a slow minute of the machine hits all of them; the
median and the quartiles are kept. Peak memory is the most that torch's allocator held at once beside the inputs and the
parameters, read from its log in a run of its own (on a GPU: from its own counter).
"""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor, nn

from xcompose.attention.attend import attend
from xcompose.attention.counts import pairs as pairs_of
from xcompose.attention.pattern import Pattern
from xcompose.attention.reads import Axis, Read, Slots
from xcompose.compose.parts import Mixer
from xcompose.spec.formats import format_bytes, format_length

if TYPE_CHECKING:
    from rich.table import Table


@attrs.frozen
class BenchCase:
    """Something to measure at several lengths."""

    name: str
    run: Callable[..., Any]
    """A module or function of the inputs; gives a tensor, or a tuple that begins with one."""
    inputs: Callable[[int], tuple[Any, ...]]
    """What it is called with at a length; tensors that require a gradient get one."""
    pairs: Callable[[int], int] | None = None
    """How many (query, key) pairs it attends to at a length, all heads and sequences together."""
    yardstick: bool = False
    """Whether it is the dense layer that the others are compared with."""
    longest: int | None = None
    """The length up to which it is measured."""


@attrs.frozen
class Measured:
    """One case at one length."""

    case: str
    length: int
    seconds: float
    """median"""
    low: float
    """lower quartile, seconds"""
    high: float
    """upper quartile, seconds"""
    peak_bytes: int
    pairs: int | None = None
    ratio: float | None = None
    """How many times faster than the dense layer."""
    efficiency: float | None = None
    """Attended pairs per second, divided by those of the dense layer."""

    @property
    def pairs_per_second(self) -> float | None:
        return None if self.pairs is None else self.pairs / self.seconds


@attrs.frozen
class BenchResult:
    """Every case at every length, and how it was measured."""

    measured: tuple[Measured, ...]
    backward: bool
    repeats: int
    threads: int
    device: str

    @property
    def cases(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(m.case for m in self.measured))

    def of(self, case: str) -> tuple[Measured, ...]:
        """One case at all of its lengths."""
        return tuple(m for m in self.measured if m.case == case)

    def growth(self, case: str) -> tuple[float, float] | None:
        """The exponents x of time and of peak memory in n^x, fitted over the lengths; None where there is but one."""
        found = self.of(case)
        if len(found) < 2:
            return None
        lengths = [m.length for m in found]
        return exponent(lengths, [m.seconds for m in found]), exponent(lengths, [max(1, m.peak_bytes) for m in found])

    def to_json(self) -> str:
        """Everything as one JSON object."""
        growth = {case: self.growth(case) for case in self.cases}
        return json.dumps(
            attrs.asdict(self)
            | {
                "torch": torch.__version__,
                "growth": {case: found and {"time": found[0], "memory": found[1]} for case, found in growth.items()},
            },
            indent=2,
        )

    def table(self) -> Table:
        """One row a case and length, for the terminal."""
        from rich.table import Table

        table = Table(title="forward and backward" if self.backward else "forward", title_justify="left")
        table.add_column("case")
        for heading in ("length", "time", "quartiles", "memory", "pairs/s", "dense ×", "efficiency", "growth"):
            table.add_column(heading, justify="right")
        for case in self.cases:
            found = self.of(case)
            for place, m in enumerate(found):
                growth = self.growth(case) if place == len(found) - 1 else None
                table.add_row(case if place == 0 else "", *_cells(m, growth), end_section=place == len(found) - 1)
        table.caption = (
            f"{self.device}, {_counted(self.threads, 'thread')}, median of {_counted(self.repeats, 'run')}; "
            "growth: exponents of time and memory in n"
        )
        return table

    def plot(self, path: str | Path) -> None:
        """Time and peak memory over length, both axes logarithmic; the ending of the path says the format."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 4), layout="constrained")
        panels = figure.subplots(1, 2)
        for case in self.cases:
            found = self.of(case)
            lengths = [m.length for m in found]
            (line,) = panels[0].plot(lengths, [m.seconds for m in found], marker="o", label=case)
            panels[0].fill_between(lengths, [m.low for m in found], [m.high for m in found], alpha=0.2)
            panels[1].plot(lengths, [m.peak_bytes / 2**20 for m in found], marker="o", color=line.get_color())
        what = "forward and backward" if self.backward else "forward"
        for panel, label in zip(panels, (f"seconds, {what}", "peak memory, MiB"), strict=True):
            panel.set(xscale="log", yscale="log", xlabel="tokens", ylabel=label)
            panel.set_xticks(sorted({m.length for m in self.measured}))
            panel.xaxis.set_major_formatter(lambda n, _: format_length(int(n)))
            panel.minorticks_off()
            panel.grid(alpha=0.3)
        panels[0].legend()
        figure.savefig(path)


def run_bench(
    cases: Sequence[BenchCase], lengths: Sequence[int], *, backward: bool = False, repeats: int = 5, memory: bool = True
) -> BenchResult:
    """Measure every case at every length.

    Args:
        backward: forward and backward, instead of forward alone without gradients.
        repeats: how often each is timed; cases take turns.
        memory: whether peak memory is measured, which takes one more run of each.

    Raises:
        ValueError: no case, no length, or two yardsticks.
    """
    if not cases or not lengths or repeats < 1:
        raise ValueError("a bench needs at least one case, one length and one repeat")
    if sum(case.yardstick for case in cases) > 1:
        raise ValueError("a bench has one yardstick at most")
    found: list[Measured] = []
    device = "cpu"
    for n in sorted(set(lengths)):
        fitting = [case for case in cases if case.longest is None or n <= case.longest]
        trials = [_Trial(case, case.inputs(n), backward) for case in fitting]
        device = next((trial.device.type for trial in trials), device)
        found += _with_ratios([_measured(*pair, n) for pair in _timed(trials, repeats, memory)], fitting)
    order = {case.name: place for place, case in enumerate(cases)}
    found.sort(key=lambda m: (order[m.case], m.length))
    return BenchResult(tuple(found), backward, repeats, torch.get_num_threads(), device)


def mixer_case(
    name: str, mixer: Mixer, *, causal: bool, batch: int = 1, pairs: Callable[[int], int] | None = None,
    yardstick: bool = False, longest: int | None = None,
) -> BenchCase:  # fmt: skip
    """A mixer, projections included, on rows (batch n dim) of noise."""
    like = next(mixer.parameters())

    def inputs(n: int) -> tuple[Tensor, Axis]:
        x = torch.randn(batch, n, mixer.dim, device=like.device, dtype=like.dtype, requires_grad=True)
        return x, Axis(range(n), total=None if causal else n)

    return BenchCase(name, mixer, inputs, pairs, yardstick, longest)


def attention_case(
    name: str, pattern: Pattern, *, causal: bool, heads: int = 8, width: int = 64, batch: int = 1,
    yardstick: bool = False, longest: int | None = None,
) -> BenchCase:  # fmt: skip
    """Attention alone: softmax over one pattern, without projections."""

    def inputs(n: int) -> tuple[Any, ...]:
        q, k, v = (torch.randn(batch, n, heads, width, requires_grad=True) for _ in range(3))
        return q, k, v, Axis(range(n), total=None if causal else n)

    def run(q: Tensor, k: Tensor, v: Tensor, axis: Axis) -> Tensor:
        return attend([Read(q, axis, Slots(k, v, axis.at), pattern, causal, width**-0.5)])

    return BenchCase(name, run, inputs, lambda n: batch * heads * pairs_of(pattern, n, causal), yardstick, longest)


def exponent(lengths: Sequence[int], values: Sequence[float]) -> float:
    """The x of values ~ n^x, by least squares on logarithms."""
    return statistics.linear_regression([math.log(n) for n in lengths], [math.log(v) for v in values]).slope


class _Trial:
    """One case with its inputs at one length."""

    def __init__(self, case: BenchCase, inputs: tuple[Any, ...], backward: bool):
        self.case, self.inputs, self.backward = case, inputs, backward
        self.tensors = [t for t in inputs if isinstance(t, Tensor)]
        if isinstance(case.run, nn.Module):
            self.tensors += list(case.run.parameters())
        self.device = self.tensors[0].device if self.tensors else torch.device("cpu")
        self.grad: Tensor | None = None

    def run(self) -> None:
        """Once, forward or both ways; gradients are dropped first."""
        if not self.backward:
            with torch.no_grad():
                self.case.run(*self.inputs)
            return
        for t in self.tensors:
            t.grad = None
        out = self.case.run(*self.inputs)
        out = out if isinstance(out, Tensor) else out[0]
        if self.grad is None:
            self.grad = torch.randn_like(out)
        out.backward(self.grad)

    def seconds(self) -> float:
        self._wait()
        begin = time.perf_counter()
        self.run()
        self._wait()
        return time.perf_counter() - begin

    def peak_bytes(self) -> int:
        """The most that was allocated at once during a run, beside what was there before."""
        for t in self.tensors:
            t.grad = None
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            self.run()
            self._wait()
            return torch.cuda.max_memory_allocated(self.device) - before
        from torch.profiler import ProfilerActivity, profile

        log = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        with _quiet():
            log.start()
        self.run()
        with _quiet():
            log.stop()
        events = log.profiler.kineto_results.events()  # type: ignore[union-attr]
        changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")  # type: ignore
        held = most = 0
        for _, change in changes:
            held += change
            most = max(most, held)
        return most

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the profiler's library says about its own beginning and end off the terminal."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _timed(trials: Sequence[_Trial], repeats: int, memory: bool) -> Iterator[tuple[_Trial, list[float], int]]:
    for trial in trials:
        trial.run()
    times: dict[int, list[float]] = {place: [] for place in range(len(trials))}
    for turn in range(repeats):
        for step in range(len(trials)):
            place = (turn + step) % len(trials)
            times[place].append(trials[place].seconds())
    for place, trial in enumerate(trials):
        yield trial, times[place], trial.peak_bytes() if memory else 0


def _measured(trial: _Trial, times: list[float], peak: int, n: int) -> Measured:
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else times * 3
    pairs = trial.case.pairs
    return Measured(trial.case.name, n, middle, low, high, peak, None if pairs is None else pairs(n))


def _with_ratios(found: list[Measured], cases: Sequence[BenchCase]) -> list[Measured]:
    """Compare every case with the yardstick, where there is one at this length."""
    dense = next((m for m, case in zip(found, cases, strict=True) if case.yardstick), None)
    if dense is None:
        return found
    base = dense.pairs_per_second
    return [
        attrs.evolve(
            m, ratio=dense.seconds / m.seconds,
            efficiency=m.pairs_per_second / base if base and m.pairs_per_second is not None else None,
        )
        for m in found
    ]  # fmt: skip


def _cells(m: Measured, growth: tuple[float, float] | None) -> tuple[str, ...]:
    return (
        format_length(m.length),
        _time(m.seconds),
        f"{_time(m.low)} – {_time(m.high)}",
        format_bytes(m.peak_bytes),
        "" if m.pairs_per_second is None else f"{m.pairs_per_second:.2e}",
        "" if m.ratio is None else f"{m.ratio:.2f}",
        "" if m.efficiency is None else f"{m.efficiency:.2f}",
        "" if growth is None else f"{growth[0]:.2f} / {growth[1]:.2f}",
    )


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
