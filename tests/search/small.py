"""A search that takes a second: the quality of a candidate is a formula of its choices."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from xcompose.api import Candidate, Component, Context, Ground, Strategy, extra, option, options
from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.registry import Registry, load

SPEC = """\
xcompose: 1
about: A base.
let: {w: 8, n: 1}
model: {type: decoder, vocab: 16, length: 32, dim: "${w}", heads: 2, mixer: attention, layers: "${n}"}
task: copy(10)
train: {budget: 3 steps, batch: 2, eval: {batches: 1}}
search:
  choices:
    let.w: [8, 12, 16, 20, 24, 28]
    let.n: [1, 2, 3]
    mixer: [attention, attention(pattern=window(8)), attention(score=linear)]
    ffn: [mlp(2x), gated]
  minimize: [MINIMIZE]
  within: {WITHIN}
  budget: BUDGET
  seed: 3
  strategy: STRATEGY
"""


@options
class FormulaOptions:
    seconds: float = option(0.0)
    fails: str = option("")
    interrupts: int = option(-1)


class Formula(Strategy):
    """NSGA-II over a formula: wide and deep is good, with a little that hangs on everything."""

    def __init__(self, options: FormulaOptions, context: Context):
        self.options, self.begun, self.asked = options, 0, []

    def sampler(self, seed: int) -> Any:
        return extra("optuna.samplers", "search").NSGAIISampler(population_size=5, seed=seed)

    def begin(self, ground: Ground) -> None:
        self.begun += 1

    def latency(self, candidate: Candidate, length: int, ground: Ground) -> float:
        return 1e-5 * length * int(candidate.chosen["let.n"])

    def quality(self, candidate: Candidate, ground: Ground) -> dict[str, float]:
        self.asked.append(candidate)
        time.sleep(self.options.seconds)
        if len(self.asked) == self.options.interrupts:
            raise KeyboardInterrupt
        if self.options.fails and self.options.fails in candidate.chosen.values():
            raise SpecError(Diagnostic("XC068", "training diverged", label="no number"))
        return formula(candidate.chosen)

    def describe(self) -> tuple[str, ...]:
        return ("figures are made up",)


def formula(chosen: Any) -> dict[str, float]:
    noise = int.from_bytes(hashlib.sha256(repr(sorted(chosen.items())).encode()).digest()[:2], "big") / 2**16
    loss = 3 - 0.05 * int(chosen["let.w"]) - 0.2 * int(chosen["let.n"]) + 0.5 * noise
    return {"loss": loss, "accuracy": 1 - loss / 4}


def registry() -> Registry:
    made = Component(kind="strategy", name="formula", options=FormulaOptions, build=Formula)
    return Registry.of([*load().components(), made])


def written(
    folder: Path, minimize: str = "accuracy, params", within: str = "", budget: str = "11 trials",
    strategy: str = "formula",
) -> str:  # fmt: skip
    text = SPEC.replace("MINIMIZE", minimize).replace("WITHIN", within).replace("BUDGET", budget)
    path = folder / "base.xc.yaml"
    path.write_text(text.replace("STRATEGY", strategy))
    return str(path)
