"""One model in several processes: replicas agree, and those that do not are named."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as workers
from small_models import SOUND, Windowed, subject
from torch.nn.parallel import DistributedDataParallel

from xcompose import build
from xcompose.compose.observe import Tally, over_processes
from xcompose.compose.parts import AfterStep
from xcompose.verify import replicas

SPEC = """\
xcompose: 1
model:
  type: decoder
  length: 12
  dim: 16
  heads: 2
  vocab: 11
  layers:
    - attention(pattern=routing(2, window=4))
    - attention(score=favor(6, redraw=1))
    - attention(pattern=lsh(buckets=2, chunk=4, form=strict), shared_qk=true)
"""


class Draws(Windowed, AfterStep):
    """Moves by a draw of its own process after each step."""

    def after_step(self) -> None:
        self.q.weight.add_(torch.randn_like(self.q.weight))


class Hidden(Windowed):
    """Has a number that is drawn when it is built, and is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = float(torch.rand(()))

    def attend(self, *given: Any) -> torch.Tensor:
        return super().attend(*given) + self.hidden


def said(mixers: Any) -> list[tuple[str, str, str]]:
    return [(f.code, f.path, f.message) for f in replicas.certify(subject(mixers=mixers), seed=3)]


@pytest.mark.parametrize("kind", ["strict", "none"])
def test_replicas_of_a_sound_model_agree(kind):
    assert replicas.certify(subject(*SOUND, causal=kind), seed=3) == []


def test_a_draw_of_one_process_after_a_step_is_found():
    assert said(lambda: [Windowed(), Draws()]) == [
        ("XC066", "model.layers.1", "replicas of layer 1: mixer 'windowed' drift apart")
    ]


def test_what_is_drawn_at_the_build_and_not_broadcast_is_found():
    assert said(lambda: [Windowed(), Hidden()]) == [
        ("XC066", "model.layers.1", "replicas of layer 1: mixer 'windowed' give two results")
    ]


def test_a_model_that_cannot_be_packed_is_a_warning():
    class Local(Windowed):
        pass

    (found,) = replicas.certify(subject(mixers=lambda: [Windowed(), Local()]), seed=3)

    assert (found.severity, found.message) == ("warning", "the model cannot be sent to a worker")
    assert found.label.startswith("pickle refuses it: Can't ")


def test_certifying_leaves_the_random_state_as_it_was():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    replicas.certify(subject(*SOUND), seed=3)

    assert torch.equal(torch.rand(3), expected)


def test_statistics_of_one_process_are_its_own():
    sums = {("a", "counts"): torch.ones(2)}

    assert over_processes(sums) is sums


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path):
    """Two steps under torch's own wrapper, each process on its own batch: all tensors are equal afterwards."""
    (tmp_path / "model.xc.yaml").write_text(SPEC)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    workers.spawn(_train, (str(tmp_path), port), nprocs=2)  # type: ignore[attr-defined]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))

    assert first.keys() == second.keys()
    assert [name for name, t in first.items() if not torch.equal(t, second[name])] == []
    assert torch.equal(first["counted"], second["counted"])


def _train(rank: int, folder: str, port: int) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.set_num_threads(1)
    model = build(Path(folder, "model.xc.yaml"), seed=rank).train()
    parallel = DistributedDataParallel(model, forward_sync_buffers=False)
    optimizer = torch.optim.SGD(parallel.parameters(), lr=0.1)
    torch.manual_seed(100 + rank)
    tally = Tally()
    for _ in range(2):
        tokens = torch.randint(11, (2, 12))
        with tally.watching(model):
            out = parallel(tokens)
        loss = out.logits.square().mean() + sum(out.losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            tally.teach(model)
            for module in model.modules():
                if isinstance(module, AfterStep):
                    module.after_step()
    counted = next(buffer for name, buffer in model.named_buffers() if name.endswith("counts"))
    torch.save({**model.state_dict(), "counted": counted}, Path(folder, f"{rank}.pt"))
    dist.destroy_process_group()
