"""A model and a run that train in seconds, without any spec."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import attrs
import torch
from torch import Tensor, nn
from xcompose_plugins.optimizers import adamw
from xcompose_plugins.schedules import cosine
from xcompose_plugins.tasks.lm import Lm, LmOptions

from xcompose.compose.parts import Context, ModelOut
from xcompose.train.folder import RunFolder
from xcompose.train.learner import Learner, Work
from xcompose.train.progress import Display, Silent
from xcompose.train.run import RunResult, fit
from xcompose.train.settings import Settings


class TinyModel(nn.Module):
    """Looks at the last token alone, through dropout, so that training draws from the random state."""

    def __init__(self, dim: int = 31):
        super().__init__()
        self.tokens = nn.Embedding(256, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(0.3)
        self.out = nn.Linear(dim, 256)

    def forward(self, tokens: Tensor, *, mask: Tensor | None = None) -> ModelOut:
        return ModelOut(self.out(self.dropout(self.norm(self.tokens(tokens)))))


TINY = Settings(
    amount=20, unit="steps", batch=3, length=17, eval_every=6, eval_batches=2, save_every=5, lr=1e-2, seed=7
)  # fmt: skip


def work(data: Path, settings: Settings = TINY) -> Work:
    context = Context(dim=31, causal="strict")
    task = Lm(LmOptions(), context)
    torch.manual_seed(0)
    return Work(
        model=TinyModel(),
        task=task,
        splits=task.splits(data, settings.length, settings.seed),
        optimizer=adamw.build(adamw.AdamWOptions(), context),
        schedule=cosine.build(cosine.CosineOptions(warmup=4), context),
        settings=settings,
    )


def corpus(folder: Path) -> Path:
    """A text with an order in it that a model can learn; small enough for several epochs."""
    file = folder / "text.txt"
    file.write_text("".join(f"{i} is followed by {i + 1}.\n" for i in range(100)))
    return file


def run(folder: Path, data: Path, *, display: Display | None = None, **changes: object) -> RunResult:
    """Train in a folder that holds nothing, or a checkpoint to go on from."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    settings = attrs.evolve(TINY, **changes)
    return fit("tiny", work(data, settings), RunFolder(folder), display or Silent(), accelerator="cpu")


def main() -> None:
    """Train slowly: what a test kills. Arguments: the folder and the data."""
    torch.set_num_threads(1)
    step = Learner.training_step

    def slow(self: Learner, batch: object, batch_idx: int) -> Tensor:
        time.sleep(0.1)
        return step(self, batch, batch_idx)

    Learner.training_step = slow  # type: ignore[method-assign]
    run(Path(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
