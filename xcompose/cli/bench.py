"""xcompose bench: how fast mixers or whole models are, and how that grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xcompose.cli.common import (
    Format,
    FormatOption,
    console,
    plain,
    read_length,
    refuse_picture,
    usage_error,
)

if TYPE_CHECKING:
    from xcompose.attention.pattern import Pattern
    from xcompose.attention.reads import Read
    from xcompose.compare.bench import BenchCase, BenchResult
    from xcompose.compose.parts import Mixer
    from xcompose.spec.model import Spec

EXAMPLE = (
    'Example:  xcompose bench "attention(pattern=window(256))" "attention(score=linear)" '
    "--lengths 1Ki,4Ki,16Ki --backward --plot bench.png"
)

YARDSTICK = "attention"
PATTERNS = ("window(256)",)
DEFAULTS = ("attention(pattern=window(256))", "attention(score=linear)")
TYPES = ("decoder", "encoder")


def run(
    cases: Annotated[
        list[str] | None, typer.Argument(metavar="[MIXER ...]", help="expressions; or specs, for whole models")
    ] = None,
    lengths: Annotated[str, typer.Option(help="joined by commas: 1Ki is 1024, 1k is 1000")] = "1Ki,2Ki,4Ki,8Ki",
    backward: Annotated[bool, typer.Option("--backward", help="forward and backward, as in training")] = False,
    type_: Annotated[str, typer.Option("--type", help="decoder: causal; encoder: both sides")] = "decoder",
    dim: Annotated[int, typer.Option(min=1, help="width of the layer")] = 512,
    heads: Annotated[int, typer.Option(min=1)] = 8,
    batch: Annotated[int, typer.Option(min=1, help="sequences at once")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="how often each is timed; the median counts")] = 5,
    reading: Annotated[
        bool, typer.Option("--reading", help="the reading alone: cases are patterns, nothing is projected")
    ] = False,
    by_hand: Annotated[
        bool, typer.Option("--by-hand", help="a composed model of 4 layers beside the same one written by hand")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="a .png or .svg file for the curves")] = None,
    format: FormatOption = Format.text,
) -> None:
    """Time mixers beside the dense layer, or whole models: seconds, peak memory, pairs a second, growth.

    All take turns in one process, after a warm-up, so that a slow minute hits all of them.
    """
    if type_ not in TYPES:
        raise usage_error(f"--type: there is no type '{type_}' to bench", " | ".join(TYPES))
    if plot is not None:
        refuse_picture(plot, "--plot")
    ns = [read_length(part, "--lengths") for part in lengths.split(",")]
    from xcompose.allocator import keep_memory
    from xcompose.compare.bench import run_bench

    keep_memory()
    if by_hand:
        if cases or reading:
            raise usage_error("--by-hand brings its own two models", "leave the cases out")
        from xcompose.compare.overhead import run_overhead

        _show(run_overhead(ns, batch=batch, backward=backward, repeats=repeats), plot, format, "model written by hand")
        return
    asked = cases or list(PATTERNS if reading else DEFAULTS)
    specs = [case for case in asked if ".xc.yaml" in case]
    if specs and len(specs) < len(asked):
        raise usage_error("mixers and whole models do not go into one table", "bench them apart")
    layer = {"type": type_, "dim": dim, "heads": heads, "length": max(ns), "layers": 1}
    if specs:
        made = [_model_case(s, batch) for s in specs]
    elif reading:
        made = _reading_cases(asked, layer, batch)
    else:
        made = _mixer_cases(asked, layer, batch, min(ns))
    if all(case.longest is not None and case.longest < min(ns) for case in made):
        raise usage_error(f"none of these models takes {min(ns)} tokens", f"--lengths {made[0].longest}")
    _show(run_bench(made, ns, backward=backward, repeats=repeats), plot, format)


def _show(result: BenchResult, plot: Path | None, format: Format, yardstick: str = "dense layer") -> None:
    from xcompose.cli.bench_text import text

    if plot is not None:
        result.plot(plot)
    if format is Format.json:
        plain(result.to_json())
        return
    console.print(text(result, yardstick), markup=False)
    if plot is not None:
        console.print(f"\nwrote {plot}", markup=False)


def _reading_cases(asked: Sequence[str], layer: dict, batch: int) -> list[BenchCase]:
    """One softmax over a pattern, without projections, beside the one over all pairs."""
    from xcompose.compare.bench import attention_case

    causal, heads, width = layer["type"] == "decoder", layer["heads"], layer["dim"] // layer["heads"]

    def case(name: str, text: str | None) -> BenchCase:
        return attention_case(
            name, _pattern(text, layer), causal=causal, heads=heads, width=width, batch=batch, yardstick=text is None
        )

    return [case("all pairs (dense)", None), *(case(text, text) for text in asked)]


def _pattern(text: str | None, layer: dict) -> Pattern:
    import torch

    from xcompose.attention.reads import Axis
    from xcompose.compose.build import plan_model

    spec = _spec(YARDSTICK if text is None else f"{YARDSTICK}(pattern={text})", {**layer, "position": "none"})
    with _collected() as reads:
        plan_model(spec).layers[0].mixer(torch.empty(1, 2, layer["dim"], device="meta"), Axis(range(2), total=2))
    if len(reads) != 1:
        raise usage_error(f"heads of '{text}' read by patterns of their own", "bench them apart")
    return reads[0].pattern


def _model_case(reference: str, batch: int) -> BenchCase:
    import xcompose as xc
    from xcompose.compare.bench import BenchCase

    read = xc.read(reference)
    model = xc.build(read)
    if model.reads_source:
        raise usage_error(f"'{read.name}' reads two sequences; bench takes models of one", "bench its mixers")
    return BenchCase(read.name, model, lambda n: (model.example(batch, n),), longest=model.options.length)


def _mixer_cases(asked: Sequence[str], layer: dict, batch: int, shortest: int) -> list[BenchCase]:
    yardstick = _spec(YARDSTICK, layer)
    read = [(text, _spec(text, layer)) for text in asked]
    if all(spec.model != yardstick.model for _, spec in read):
        read.insert(0, (YARDSTICK, yardstick))
    return [_mixer_case(text, spec, batch, shortest, yardstick=spec.model == yardstick.model) for text, spec in read]


def _spec(expression: str, layer: dict) -> Spec:
    from xcompose import registry
    from xcompose.spec import load_text

    content = {"xcompose": 1, "model": {**layer, "mixer": expression}}
    return load_text(content, f"case {expression}", catalogue=registry.load().catalogue)


def _mixer_case(text: str, spec: Spec, batch: int, shortest: int, *, yardstick: bool) -> BenchCase:
    import xcompose as xc
    from xcompose.compare.bench import mixer_case
    from xcompose.compose.build import plan_model

    model, plan = xc.build(spec), plan_model(spec).layers[0].mixer
    count = pairs_of(plan, causal=model.decodes)
    known = count(shortest) is not None
    name = text if not yardstick else f"{text} (dense)"
    return mixer_case(
        name, model.layers[0].mixer, causal=model.decodes, batch=batch, yardstick=yardstick,
        pairs=(lambda n: batch * (count(n) or 0)) if known else None,
    )  # fmt: skip


def pairs_of(plan: Mixer, *, causal: bool) -> Callable[[int], int | None]:
    """Counts the (query, key) pairs that a mixer attends to at a length, all heads together.

    None where it reads anything but tokens by fixed patterns: sums, summaries and chosen keys are no pairs.

    Args:
        plan: on the meta device.
    """
    import torch

    from xcompose.attention.counts import pairs
    from xcompose.attention.explain import recording
    from xcompose.attention.reads import Axis

    def count(n: int) -> int | None:
        x = torch.empty(1, n, plan.dim, device="meta")
        with recording() as choices, _collected() as reads:
            plan(x, Axis(range(n), total=None if causal else n))
        if len(choices) > len(reads) or any(r.slots.k.shape[1] != n or r.pattern.learned for r in reads):
            return None
        grouped = [group for r in reads for group in r.pattern.groups(r.q.shape[2])]
        return sum(heads * pairs(pattern, n, causal) for heads, pattern in grouped)

    return count


@contextmanager
def _collected() -> Iterator[list[Read]]:
    """While this holds, reads on the meta device are kept and not answered."""
    from xcompose.attention.attend import EXECUTORS

    found, before = [], dict(EXECUTORS)

    def keep(reads: Sequence[Read], dropout: float):
        found.extend(reads)
        return reads[0].q.new_empty(*reads[0].q.shape[:3], reads[0].slots.v.shape[-1])

    EXECUTORS.update(dict.fromkeys(before, keep))
    try:
        yield found
    finally:
        EXECUTORS.update(before)
