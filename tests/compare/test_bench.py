from __future__ import annotations

import json

import pytest
import torch
from rich.console import Console
from torch import nn
from xcompose_plugins.patterns.dense import Dense
from xcompose_plugins.patterns.window import Window

from xcompose.compare import bench
from xcompose.compare.bench import BenchCase, BenchResult, Measured, attention_case, exponent, mixer_case, run_bench
from xcompose.compose.parts import Mixed, Mixer

LENGTHS = (1024, 2048)


def made(case, length, seconds, **changes):
    return Measured(case, length, seconds, 0.9 * seconds, 1.1 * seconds, length * 1024, **changes)


def result(**changes):
    measured = (
        made("dense", 1024, 0.5, pairs=1000, ratio=1.0, efficiency=1.0),
        made("dense", 2048, 2.0, pairs=4000, ratio=1.0, efficiency=1.0),
        made("window", 1024, 0.125, pairs=125, ratio=4.0, efficiency=0.5),
        made("window", 2048, 0.25, pairs=250, ratio=8.0, efficiency=0.5),
    )
    given = {"measured": measured, "backward": True, "repeats": 5, "threads": 2, "device": "cpu"}
    return BenchResult(**given | changes)


class Doubling(Mixer):
    def __init__(self):
        super().__init__()
        self.dim = 3
        self.weight = nn.Parameter(torch.ones(3))
        self.seen = []

    def mix(self, x, axis, source=None):
        self.seen.append((tuple(x.shape), axis.at, axis.total))
        return Mixed(x * self.weight)


def test_growth_is_the_slope_on_logarithms():
    assert exponent([7, 14, 28], [5.0, 20.0, 80.0]) == pytest.approx(2)
    assert result().growth("dense") == pytest.approx((2, 1))
    assert result().growth("window") == pytest.approx((1, 1))
    assert result(measured=(made("dense", 7, 1.0),)).growth("dense") is None


def test_cases_take_turns_after_a_warm_up():
    calls = []

    def case(name):
        return BenchCase(name, lambda n: calls.append((name, n)), lambda n: (n,))

    run_bench([case("a"), case("b")], [7], repeats=3, memory=False)
    assert [name for name, _ in calls] == ["a", "b", "a", "b", "b", "a", "a", "b"]


def test_medians_quartiles_and_ratios(monkeypatch):
    """Case a takes 4, 1, 2, 3, 5 s, case b always half a second."""
    durations = {"a": iter([4, 1, 2, 3, 5]), "b": iter([0.5] * 5)}
    monkeypatch.setattr(bench._Trial, "seconds", lambda trial: next(durations[trial.case.name]))
    cases = [
        BenchCase("a", lambda n: None, lambda n: (n,), lambda n: 12 * n, yardstick=True),
        BenchCase("b", lambda n: None, lambda n: (n,), lambda n: n),
    ]
    a, b = run_bench(cases, [7], memory=False).measured
    assert (a.seconds, a.low, a.high, a.pairs_per_second, a.ratio, a.efficiency) == (3, 2, 4, 28, 1, 1)
    assert (b.seconds, b.ratio, b.pairs_per_second, b.efficiency) == (0.5, 6, 14, 0.5)


def test_peak_memory_is_what_was_held_at_once(capfd):
    def run(x):
        twice = x * 2
        more = twice * 3
        del twice
        return more * 4

    (found,) = run_bench([BenchCase("a", run, lambda n: (torch.ones(n, 1000),))], [1000], repeats=1).measured
    assert found.peak_bytes // 1000 == 8000
    assert capfd.readouterr() == ("", "")


def test_peak_memory_of_the_backward_counts_what_is_kept_for_it():
    case = BenchCase("a", lambda x: x.exp().exp(), lambda n: (torch.zeros(n, 1000, requires_grad=True),))
    (forward,) = run_bench([case], [1000], repeats=1).measured
    (both,) = run_bench([case], [1000], repeats=1, backward=True).measured
    assert forward.peak_bytes // 1000 == 8000
    assert both.peak_bytes >= 3 * 4_000_000


def test_a_mixer_is_called_with_rows_and_their_axis():
    mixer = Doubling()
    found = run_bench([mixer_case("double", mixer, causal=False, batch=2)], [5, 7], backward=True, repeats=1)
    assert [m.length for m in found.measured] == [5, 7]
    assert mixer.seen[0] == ((2, 5, 3), range(5), 5)
    assert mixer.weight.grad is not None


def test_cases_end_where_they_are_told_to():
    cases = [
        attention_case("dense", Dense(), causal=True, heads=1, width=8, yardstick=True, longest=32),
        attention_case("window", Window(size=4), causal=True, heads=1, width=8),
    ]
    found = run_bench(cases, [64, 32], repeats=1, backward=True)
    assert [(m.case, m.length, m.pairs) for m in found.measured] == [
        ("dense", 32, 528),
        ("window", 32, 150),
        ("window", 64, 310),
    ]
    assert found.measured[1].ratio is not None
    assert found.measured[2].ratio is None


@pytest.mark.parametrize("arguments", [([], [7]), ([BenchCase("a", print, lambda n: ())], [])])
def test_nothing_to_measure(arguments):
    with pytest.raises(ValueError, match="^a bench needs at least one case, one length and one repeat$"):
        run_bench(*arguments)


def test_two_yardsticks():
    case = BenchCase("a", print, lambda n: (), yardstick=True)
    with pytest.raises(ValueError, match="^a bench has one yardstick at most$"):
        run_bench([case, case], [7])


def test_json_holds_everything():
    found = json.loads(result().to_json())
    assert found["measured"][3]["seconds"] == 0.25
    assert found["growth"]["dense"] == pytest.approx({"time": 2.0, "memory": 1.0})
    assert found["backward"] is True
    assert found["threads"] == 2
    assert found["torch"] == torch.__version__


def test_the_table():
    console = Console(width=110, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(result().table())
    lines = [" ".join(line.replace("│", " ").replace("┃", " ").split()) for line in capture.get().splitlines()]
    assert lines[0] == "forward and backward"
    assert "case length time quartiles memory pairs/s dense × efficiency growth" in lines
    assert "dense 1Ki 500.0 ms 450.0 ms – 550.0 ms 1.0 MiB 2.00e+03 1.00 1.00" in lines
    assert "2Ki 250.0 ms 225.0 ms – 275.0 ms 2.0 MiB 1.00e+03 8.00 0.50 1.00 / 1.00" in lines
    assert "cpu, 2 threads, median of 5 runs; growth: exponents of time and memory in n" in " ".join(lines)


@pytest.mark.parametrize(("ending", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_plot(tmp_path, ending, begins):
    path = tmp_path / f"bench.{ending}"
    result().plot(path)
    assert path.read_bytes().startswith(begins)
