"""A distilled student beats the same student trained alone: same steps, same data, same seed."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import torch

from xcompose import registry
from xcompose.compose.addons import Given
from xcompose.spec import load, load_text
from xcompose.train import train

SPECS = Path(__file__).parents[2] / "specs"
STUDENT = f"{SPECS}/addons/distilled-linear.xc.yaml@tiny"
LESSONS = """\
xcompose: 1
task: lm(data=stdlib)
train: {budget: 200 steps, length: 128, lr: 2e-3, schedule: cosine(warmup=20)}
"""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Given:
    """Four dense layers that have seen little more than the student will."""
    torch.set_num_threads(1)
    catalogue = registry.load().catalogue
    how = load_text(LESSONS, catalogue=catalogue)
    spec = load(f"{SPECS}/beyond/dense-12m.xc.yaml@tiny", catalogue=catalogue)
    folder = tmp_path_factory.mktemp("teacher")
    train(attrs.evolve(spec, task=how.task, train=how.train), folder / "run", accelerator="cpu")
    return Given(folder / "run" / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_taught_student_is_better_than_the_same_one_alone(seed: int, teacher: Given, tmp_path: Path):
    catalogue = registry.load().catalogue
    taught = load(STUDENT, (f"train.seed={seed}",), catalogue=catalogue)
    alone = attrs.evolve(taught, train={**taught.train, "addons": ()})

    with_teacher = train(taught, tmp_path / "taught", accelerator="cpu", given=teacher)
    without = train(alone, tmp_path / "alone", accelerator="cpu")

    assert with_teacher.parameters == without.parameters
    assert with_teacher.steps == without.steps
    assert with_teacher.valid["bits_per_byte"] < without.valid["bits_per_byte"], (with_teacher, without)
