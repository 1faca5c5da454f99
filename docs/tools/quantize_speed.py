"""How fast stored layers are beside float ones, for docs/addons/quantize.md.

    python docs/tools/quantize_speed.py

A decoder of 4 layers of width 512, one thread, float32; the middle of 15 forward passes, forms in turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

import xcompose as xc
from xcompose.compose.weights import bytes_of_weights

MODEL = {"type": "decoder", "dim": 512, "heads": 8, "layers": 4, "length": 256, "output": "lm(tied=false)"}
FORMS = {"float": [], **{name: [f"quantize({name})"] for name in ("int8", "int8-dynamic", "int4")}}
SIZES = ((1, 1), (1, 256), (8, 256))
WARM, TIMES = 2, 15


def main() -> None:
    torch.set_num_threads(1)
    specs = {name: {"xcompose": 1, "model": MODEL, "addons": listed} for name, listed in FORMS.items()}
    models = {name: xc.build(spec).eval() for name, spec in specs.items()}
    print("| form | weights | " + " | ".join(f"{b} x {n}: eager | compiled" for b, n in SIZES) + " |")
    print("|---|---|" + "---|---|" * len(SIZES))
    figures: dict[str, list[float]] = {name: [] for name in models}
    for batch, n in SIZES:
        tokens = torch.randint(0, 256, (batch, n), generator=torch.Generator().manual_seed(0))
        for compiled in (False, True):
            runs = {name: torch.compile(model) if compiled else model for name, model in models.items()}
            for name, taken in in_turns(runs, tokens).items():
                figures[name].append(taken)
            torch.compiler.reset()
    for name, taken in figures.items():
        shown = " | ".join(f"{one * 1e3:.1f} ms" for one in taken)
        print(f"| {name} | {bytes_of_weights(models[name]) / 2**20:.1f} MiB | {shown} |")


def in_turns(runs: dict[str, Callable], tokens: torch.Tensor) -> dict[str, float]:
    """Seconds of the middle pass of each."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    with torch.no_grad():
        for _ in range(WARM + TIMES):
            for name, run in runs.items():
                began = time.perf_counter()
                run(tokens)
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(one[WARM:]) for name, one in taken.items()}


if __name__ == "__main__":
    main()
