"""Built-in add-ons, tasks, optimizers, schedules and strategies keep the contract that other people's are held to."""

from __future__ import annotations

import pytest

from xcompose.testing import AddonContract, OptimizerContract, ScheduleContract, StrategyContract, TaskContract

pytestmark = pytest.mark.filterwarnings("ignore:.* is not tried in models of type")  # each as its card says


class TestAddons(AddonContract):
    expressions = ("lora(4)", "ia3", "adapter(4)", "precision(bf16)", "quantize(int8)")


class TestAddonsOfLikeLayers(AddonContract):
    expressions = ("share(all)", "universal(2, positions=false)")
    layers = 2


class TestTasks(TaskContract):
    expressions = ("copy(5)",)


class TestTasksOfBytes(TaskContract):
    expressions = ("lm",)
    types = ("decoder",)
    model = {"vocab": 256}


class TestMasked(TaskContract):
    expressions = ("mlm",)
    types = ("encoder",)
    model = {"vocab": 257, "output": "mlm"}


class TestOptimizers(OptimizerContract):
    expressions = ("adam", "adamw", "radam", "adagrad", "adafactor")


class TestSchedules(ScheduleContract):
    expressions = ("constant", "constant(warmup=7)", "cosine(warmup=5, floor=0.1)", "rsqrt(warmup=9)")


class TestStrategies(StrategyContract):
    expressions = ("random", "evolve(3)")
