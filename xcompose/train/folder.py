"""The folder of a run, and files that are either wholly written or not at all.

spec.xc.yaml        what was built and how it was trained, with every default; beside it the specs that it names
plugins.json        versions
run.json            the data, and what else is needed to go on
checkpoints/        last.ckpt
metrics.csv         one line a step
loss.svg, loss.png  the same, drawn
model.safetensors   the weights at the end
adapters/           those of each adapter alone, NAME.safetensors
result.json         how it ended; a run that has it is finished
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from xcompose.compose.weights import written_whole
from xcompose.diagnostics import Diagnostic, SpecError


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that whoever looks finds the old one or the new one, whole, even after a crash.

    Raises:
        SpecError: the disk is full, or the place cannot be written (XC089); an old file is left as it was.
    """
    with written_whole(path) as draft:
        draft.write_bytes(data)


@attrs.frozen
class RunFolder:
    """Where each file of a run lies."""

    path: Path

    @property
    def spec(self) -> Path:
        return self.path / "spec.xc.yaml"

    @property
    def plugins(self) -> Path:
        return self.path / "plugins.json"

    @property
    def facts(self) -> Path:
        return self.path / "run.json"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def weights(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def adapters(self) -> Path:
        return self.path / "adapters"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def plots(self) -> tuple[Path, Path]:
        return self.path / "loss.svg", self.path / "loss.png"

    def start(self, *, overwrite: bool) -> None:
        """Make the folder ready for a new run.

        Raises:
            SpecError: it holds a run already and is not to be overwritten, or holds something else (XC087).
        """
        if self.path.exists() and not self.path.is_dir():
            raise SpecError(self._refusal("is a file", "choose another folder with --run"))
        held = sorted(p.name for p in self.path.iterdir()) if self.path.exists() else []
        if held and not self.facts.exists():
            raise SpecError(self._refusal(f"holds other files: {held[0]}", "choose another folder with --run"))
        if held and not overwrite:
            finished = self.result.exists()
            what = "holds a finished run" if finished else "holds an unfinished run"
            more = "" if finished else "--resume goes on with it, "
            fix = f"{more}--overwrite starts afresh, --run chooses another folder"
            raise SpecError(self._refusal(what, fix))
        for file in (*self._others(), *self._files()):
            file.unlink(missing_ok=True)
        self._sweep()
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)

    def _files(self) -> tuple[Path, ...]:
        own = (self.spec, self.plugins, self.facts, self.checkpoint, self.metrics, self.weights, self.result)
        return (*own, *self.plots, *self.adapters.glob("*.safetensors"))

    def _others(self) -> list[Path]:
        """The specs that the run's own one names."""
        names = json.loads(self.facts.read_text()).get("specs", []) if self.facts.exists() else []
        return [self.path / Path(name).name for name in names]

    def owns(self, path: Path) -> bool:
        """Whether a file is one of those that the run here consists of; no run, no such file."""
        own = (*self._others(), *self._files()) if self.facts.exists() else ()
        return path.resolve() in {file.resolve() for file in own}

    def reopen(self) -> Mapping[str, Any]:
        """The facts of a run that is to go on.

        Raises:
            SpecError: there is no run, or it is finished (XC087).
        """
        if not self.facts.exists():
            raise SpecError(self._refusal("holds no run", "start one without --resume"))
        if self.result.exists():
            raise SpecError(self._refusal("holds a finished run", "nothing is left to do; --overwrite starts afresh"))
        self._sweep()
        return json.loads(self.facts.read_text())

    def _sweep(self) -> None:
        """Remove half a checkpoint that a killed run left behind."""
        for draft in self.checkpoint.parent.glob(f".{self.checkpoint.name}.*"):
            draft.unlink()

    def _refusal(self, what: str, fix: str) -> Diagnostic:
        return Diagnostic("XC087", f"'{self.path}' {what}", fixes=(fix,), stage="train")

    def write_json(self, path: Path, content: Mapping[str, Any]) -> None:
        """Write a JSON file for humans, too."""
        write_atomically(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


class MetricsFile:
    """`metrics.csv`: one line a step, written as it happens. Numbers are written so that they read back exactly."""

    def __init__(self, path: Path, columns: Sequence[str]):
        self.path, self.columns = path, tuple(columns)

    def keep_until(self, step: int) -> None:
        """Drop what a killed run wrote behind its last checkpoint; make the file where there is none."""
        rows = [row for row in read_metrics(self.path) if row["step"] <= step] if self.path.exists() else []
        lines = [",".join(self.columns), *(self._line(row) for row in rows)]
        write_atomically(self.path, ("\n".join(lines) + "\n").encode())

    def _line(self, row: Mapping[str, Any]) -> str:
        return ",".join("" if row.get(c) is None else repr(row[c]) for c in self.columns)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a line.

        Raises:
            SpecError: the disk is full (XC089).
        """
        line = self._line(row) + "\n"
        try:
            with open(self.path, "a") as file:
                file.write(line)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            fix = "make room, then go on with --resume"
            raise SpecError(
                Diagnostic("XC089", f"cannot write {self.path}: {reason}", fixes=(fix,), stage="train")
            ) from error


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.csv`: `step` and `tokens` whole, the rest real, None where nothing was measured.

    A last line that a crash cut off is left out.
    """
    with open(path, newline="") as file:
        text = file.read()
    whole = text[: text.rfind("\n") + 1]
    rows = csv.DictReader(whole.splitlines())
    return [{name: _number(name, cell) for name, cell in row.items()} for row in rows]


def _number(name: str, cell: str) -> int | float | None:
    if cell == "":
        return None
    return int(cell) if name in ("step", "tokens") else float(cell)
