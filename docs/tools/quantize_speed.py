"""How fast stored layers are beside a float one, for docs/addons/quantize.md.

    python docs/tools/quantize_speed.py

A linear layer of 1024 by 1024, one thread, float32; the middle of 15 passes, forms in turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from xcompose.compose.addons import extra
from xcompose.compose.quantized import Quantized, Scheme
from xcompose.compose.weights import bytes_of_weights

WIDTH, ROWS = 1024, (1, 256)
SCHEMES = {"int8": Scheme(8), "int8-dynamic": Scheme(8, dynamic=True), "int4": Scheme(4, 32)}
WARM, TIMES = 2, 15


def main() -> None:
    torch.set_num_threads(1)
    extra("torchao", "quantize")
    layer = nn.Linear(WIDTH, WIDTH)
    forms: dict[str, nn.Module] = {"float": layer, **{name: Quantized(layer, s) for name, s in SCHEMES.items()}}
    figures: dict[str, list[float]] = {name: [] for name in forms}
    for rows in ROWS:
        x = torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(0))
        for compiled in (False, True):
            runs = {name: torch.compile(form) if compiled else form for name, form in forms.items()}
            for name, taken in in_turns(runs, x).items():
                figures[name].append(taken)
            torch.compiler.reset()
    print("| form | weights | " + " | ".join(f"{rows} rows | {rows} rows, compiled" for rows in ROWS) + " |")
    print("|---|---|" + "---|---|" * len(ROWS))
    for name, taken in figures.items():
        shown = " | ".join(f"{one * 1e3:.2f} ms" for one in taken)
        print(f"| {name} | {bytes_of_weights(forms[name]) / 2**20:.2f} MiB | {shown} |")


def in_turns(runs: dict[str, Callable], x: torch.Tensor) -> dict[str, float]:
    """Seconds of the middle pass of each."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    with torch.no_grad():
        for _ in range(WARM + TIMES):
            for name, run in runs.items():
                began = time.perf_counter()
                run(x)
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(one[WARM:]) for name, one in taken.items()}


if __name__ == "__main__":
    main()
