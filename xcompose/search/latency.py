"""How long a model takes for one sequence, measured on this machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from xcompose.registry import Registry
    from xcompose.spec.model import Spec

THREADS = 1
WARM_UP, REPEATS = 2, 7
"""Runs that are not counted, and at least so many that are."""
SECONDS = 0.2
"""Fast models are run for so long, that a hiccup of the machine counts little."""
MOST = 101
"""Runs at most."""


def measure(spec: Spec, length: int, registry: Registry | None = None) -> float:
    """Seconds of the forward pass over one sequence: the median of several runs behind a warm-up, on one CPU thread.

    Args:
        spec: of the model; its add-ons are applied.
        length: tokens of the sequence; a second sequence that the model reads is as long, or as long as it takes.
        registry: where components are looked up.

    Raises:
        SpecError: it does not build.
        ValueError: it does not take this length.
    """
    from xcompose.compose.build import build_model

    model = build_model(spec, registry=registry, device="cpu").eval()
    inputs = model.example(1, length)
    more = {}
    if model.reads_source:
        more["source"] = model.inputs.example(1, min(length, model.source_length or length))
    with _pinned(), torch.inference_mode():
        for _ in range(WARM_UP):
            model(inputs, **more)
        taken: list[float] = []
        while len(taken) < REPEATS or (sum(taken) < SECONDS and len(taken) < MOST):
            begin = time.perf_counter()
            model(inputs, **more)
            taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


@contextmanager
def _pinned() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def machine() -> Mapping[str, Any]:
    """What measured figures belong to."""
    return {
        "processor": _processor(), "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__, "python": platform.python_version(), "threads": THREADS,
    }  # fmt: skip


def _processor() -> str:
    """Its name where the system tells it."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
