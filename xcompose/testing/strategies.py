"""What a strategy of searching owes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import attrs

from xcompose.testing.contract import Contract
from xcompose.testing.stand import Stand


class StrategyContract(Contract):
    """Contract tests of strategies.

    The search around one goes through 18 combinations and asks for sizes only, so it trains nothing.
    """

    kind = "strategy"
    types = ("decoder",)
    trials: ClassVar[int] = 6
    """How many trials are made."""

    def run(self, stand: Stand, folder: Path, trials: int, resume: bool = False) -> Any:
        """Search in a folder, with so many trials."""
        from xcompose.search.run import search
        from xcompose.spec.bounds import Budget

        folder.mkdir(exist_ok=True)
        file = folder / "base.xc.yaml"
        file.write_text(stand.text)
        budget = attrs.evolve(stand.spec.search["budget"], amount=trials)
        assert isinstance(budget, Budget)
        return search(str(file), (), folder / "search", registry=stand.registry, budget=budget, resume=resume)

    def test_it_proposes_values_of_the_choices(self, expression: str, tmp_path: Path) -> None:
        for stand in self.stands(expression):
            found, choices = self.run(stand, tmp_path, self.trials), stand.spec.search["choices"]
            for trial in found.trials:
                odd = {path: value for path, value in trial.chosen.items() if value not in choices[path]}
                if odd or set(trial.chosen) != set(choices):
                    self.breaks(stand, "it proposes what is no choice", f"trial {trial.number}: {dict(trial.chosen)}")
            if len(found.trials) != self.trials:
                self.breaks(stand, "it does not make all trials", f"{len(found.trials)} of {self.trials}")

    def test_a_search_goes_on_exactly(self, expression: str, tmp_path: Path) -> None:
        for stand in self.stands(expression):
            whole = self.run(stand, tmp_path / "whole", self.trials)
            self.run(stand, tmp_path / "halves", self.trials // 2)
            after = self.run(stand, tmp_path / "halves", self.trials, resume=True)
            one, other = ([(t.number, dict(t.chosen), dict(t.figures)) for t in r.trials] for r in (whole, after))
            if one != other:
                number = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
                measured = f"trial {number}: {one[number][1]}, stopped before it {other[number][1]}"
                hint = (
                    "all that `sampler` knows of earlier trials it must take from the study; it is made anew each time"
                )
                self.breaks(stand, "a search that goes on proposes something else", measured, hint)

    def test_equal_seeds_search_alike(self, expression: str, tmp_path: Path) -> None:
        for stand in self.stands(expression):
            one, other = (self.run(stand, tmp_path / name, self.trials) for name in "ab")
            if [dict(t.chosen) for t in one.trials] != [dict(t.chosen) for t in other.trials]:
                self.breaks(
                    stand, "equal seeds propose other combinations", hint="draw from the seed of `sampler(seed)`"
                )
