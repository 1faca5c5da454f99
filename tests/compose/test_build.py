"""Planning without memory, refusing what does not fit, and seeds."""

from __future__ import annotations

import resource

import pytest
import torch

import xcompose as xc
from tests.compose.fakes import model, node, registry, spec
from xcompose.compose import room
from xcompose.compose.build import build_model, plan_model
from xcompose.diagnostics import SpecError

MINIMAL = {"xcompose": 1, "model": {"type": "decoder", "dim": 256, "layers": 4}}


def count(made: torch.nn.Module) -> int:
    return sum(p.numel() for p in made.parameters())


class TestCounts:
    def test_the_smallest_spec(self):
        assert count(plan_model(xc.read(MINIMAL))) == 3_225_088

    @pytest.mark.parametrize(("dim", "heads", "expected"), [(512, 8, 12_741_632), (128, 4, 826_112)])
    def test_window_then_linear(self, dim, heads, expected):
        layers = "3*attention(pattern=window(256) | global(4)), attention(score=linear)"
        made = plan_model(
            xc.read({"xcompose": 1, "model": {"type": "decoder", "dim": dim, "heads": heads, "layers": layers}})
        )

        assert count(made) == expected


class TestPlan:
    def test_a_model_of_any_size_is_planned_without_memory(self):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        made = plan_model(xc.read(MINIMAL, "dim=64Ki", "layers=96"))
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        assert count(made) > 4e12
        assert {p.device.type for p in made.parameters()} == {"meta"}
        assert after - before < 50_000  # kilobytes

    def test_nothing_is_drawn(self, monkeypatch):
        """On the meta device torch imports its compiler to draw, which takes seconds."""

        def drawn(*args, **how):
            raise AssertionError("drawn on the meta device")

        for name in ("_no_grad_normal_", "_no_grad_uniform_"):
            monkeypatch.setattr(torch.nn.init, name, drawn)
        monkeypatch.setattr("torch._refs.normal_", drawn)

        assert count(plan_model(xc.read(MINIMAL))) == 3_225_088


class TestRoom:
    def test_what_does_not_fit_is_refused_before_it_is_made(self, monkeypatch):
        monkeypatch.setattr(room, "free_bytes", lambda: 10 * 2**20)
        with pytest.raises(SpecError) as caught:
            xc.build(MINIMAL)
        (found,) = caught.value.diagnostics

        assert found.code == "XC040"
        assert found.message == "the model needs 12.3 MiB of memory, 10.0 MiB is free"
        assert found.label == "3,225,088 parameters of 4 bytes"
        assert found.fixes == (
            "fewer or narrower layers, or a smaller vocabulary; `xcompose cost` counts without building",
        )
        assert (found.path, found.stage, found.spec) == ("model", "build", "spec")

    def test_half_precision_takes_half(self, monkeypatch):
        monkeypatch.setattr(room, "free_bytes", lambda: 10 * 2**20)

        assert count(xc.build(MINIMAL, dtype=torch.bfloat16)) == 3_225_088

    def test_a_system_that_does_not_say_refuses_nothing(self, monkeypatch):
        monkeypatch.setattr(room, "free_bytes", lambda: None)

        assert count(xc.build(MINIMAL)) == 3_225_088

    def test_the_tighter_of_system_and_group_counts(self, monkeypatch, tmp_path):
        (tmp_path / "meminfo").write_text("MemTotal: 90 kB\nMemAvailable:   50 kB\n")
        (tmp_path / "memory.max").write_text("40000\n")
        (tmp_path / "memory.current").write_text("30000\n")
        (tmp_path / "memory.stat").write_text("anon 25000\ninactive_file 5000\n")
        monkeypatch.setattr(room, "MEMINFO", tmp_path / "meminfo")
        monkeypatch.setattr(room, "CGROUP", tmp_path)

        assert room.free_bytes() == 15_000
        (tmp_path / "memory.max").write_text("max\n")
        assert room.free_bytes() == 50 * 1024

    @pytest.mark.parametrize(
        ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (2**33, "8.0 GiB"), (2**71, "2048.0 EiB")]
    )
    def test_bytes_for_people(self, count, text):
        assert room.readable(count) == text


class TestSeed:
    def weights(self, **how) -> list[torch.Tensor]:
        return list(build_model(model(), registry=registry(), **how).state_dict().values())

    def test_the_same_seed_gives_the_same_weights(self):
        assert all(torch.equal(a, b) for a, b in zip(self.weights(seed=3), self.weights(seed=3), strict=True))

    def test_another_seed_gives_others(self):
        assert not all(torch.equal(a, b) for a, b in zip(self.weights(seed=3), self.weights(seed=4), strict=True))

    def test_the_global_generator_is_left_alone(self):
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        self.weights()

        assert torch.equal(torch.rand(3), expected)


class TestAddons:
    def test_a_refusal_is_located(self):
        uneven = node("addon", "share", 11, "addons.0", groups=2)
        with pytest.raises(SpecError) as caught:
            plan_model(spec(model(layers=3), uneven), registry=registry())
        (found,) = caught.value.diagnostics

        assert found.message == "3 layers do not divide into 2 groups"
        assert found.path == "addons.0.groups"

    def test_one_for_training_is_refused_in_the_list_of_the_model(self):
        with pytest.raises(SpecError) as caught:
            plan_model(spec(model(), node("addon", "late", 11, "addons.0")), registry=registry())
        (found,) = caught.value.diagnostics

        assert found.code == "XC031"
        assert found.message == "'late' changes training, not the model"
        assert found.fixes == ("move it to train.addons",)


def test_the_model_remembers_what_it_was_built_from():
    made = xc.build(MINIMAL, "dim=64", "layers=1")

    assert made.spec is not None
    assert made.spec.model is made.node
    assert made.spec.model.options["dim"] == 64
