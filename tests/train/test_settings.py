from __future__ import annotations

from xcompose.spec import Expectation, values
from xcompose.train.settings import UNKNOWN, Budget, Settings


def test_nothing_written_gives_the_defaults():
    assert Settings.of({}, None) == Settings()


def test_the_model_s_length_counts_where_training_has_none():
    assert Settings.of({}, 77).length == 77
    assert Settings.of({"length": 33}, 77).length == 33


def test_sections_become_plain_settings():
    goal = (Expectation("bits_per_byte", "..2.5", values.Range(None, 2.5)),)
    train = {
        "budget": values.Budget(90, "seconds"), "batch": 2, "lr": 0.1, "clip": 0, "seed": 3, "recompute": True,
        "eval": {"every": 7, "batches": 11}, "save": {"every": 13}, "goal": goal,
    }  # fmt: skip

    assert Settings.of(train, None) == Settings(
        amount=90, unit="seconds", batch=2, lr=0.1, clip=None, seed=3, recompute=True, eval_every=7, eval_batches=11,
        save_every=13, goal=goal,
    )  # fmt: skip


def test_budgets_are_counted_in_steps():
    def steps(amount: float, unit: str) -> int | None:
        return Settings(amount=amount, unit=unit, batch=3, length=7).budget(sequences=10).steps

    assert steps(200, "steps") == 200
    assert steps(3, "epochs") == 10
    assert steps(2.1e6, "tokens") == 100_000
    assert steps(5, "tokens") == 1


def test_a_budget_of_steps():
    budget = Budget(200, None)

    assert (budget.done(199, 1e9), budget.done(200, 0)) == (False, True)
    assert budget.total(3, 5.0) == 200
    assert budget.share(50, 0.0) == 0.25


def test_a_budget_of_time_estimates_its_steps():
    budget = Settings(amount=120, unit="seconds").budget(10)

    assert (budget.done(10**6, 119.9), budget.done(1, 120.0)) == (False, True)
    assert budget.total(0, 0.0) == UNKNOWN
    assert budget.total(30, 60.0) == 60
    assert budget.share(1, 30.0) == 0.25
    assert budget.share(1, 300.0) == 1.0
