from __future__ import annotations

import io

from rich.console import Console

from xcompose.train.plot import loss_figure, picture, running_mean
from xcompose.train.progress import Bar, rate


def test_off_a_terminal_each_evaluation_is_a_line():
    out = io.StringIO()
    bar = Bar(Console(file=out, width=200), "bits_per_byte")
    bar.start(0.0)
    bar.step(1, 0.05, 8.0, None, 9800.0, fresh=False)
    bar.step(2, 0.1, 7.0, 7.25, 9800.0, fresh=True)
    bar.step(3, 0.15, 7.0, 7.25, 9800.0, fresh=False)
    bar.stop()

    assert out.getvalue() == "step 2        10%   train 7.90  valid 7.25 bits per byte   9.8k bytes/s\n"


def test_on_a_terminal_there_is_a_bar():
    out = io.StringIO()
    bar = Bar(Console(file=out, width=120, force_terminal=True, color_system=None), "bits_per_byte")
    bar.start(0.0)
    bar.step(143, 0.5, 2.61, 2.68, 9800.0, fresh=True)
    bar.stop()

    last = [line for line in out.getvalue().split("\r") if "143" in line][-1]
    assert "step 143    ━" in last
    assert "train 2.61  valid 2.68 bits per byte   9.8k bytes/s" in last


def test_speeds_are_readable():
    assert [rate(v) for v in (12.3, 9_840.0, 3_210_000.0)] == ["12 bytes/s", "9.8k bytes/s", "3.2M bytes/s"]
    assert rate(9_840.0, "pixels") == "9.8k pixels/s"


def test_the_running_mean_looks_back_a_fortieth():
    assert running_mean([1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]
    assert running_mean([float(i) for i in range(80)])[-1] == 78.5


def test_the_loss_is_drawn_the_same_each_time():
    rows = [{"step": s, "loss": 1 / s, "valid_loss": 1.0 if s == 2 else None} for s in (1, 2, 3)]

    first, second = (picture(loss_figure(rows, "loss", "a run"), "svg") for _ in range(2))

    assert first == second
    assert b"<svg" in first
    assert picture(loss_figure(rows, "loss", "a run"), "png").startswith(b"\x89PNG")
