"""A folder with small specs, where commands run."""

from __future__ import annotations

import pytest

MINE = """\
xcompose: 1
let: {w: 4}
model:
  type: decoder
  dim: 16
  heads: 2
  length: 64
  layers: attention(pattern=window(${w})), attention(score=linear)
task: lm(data=stdlib)
train: {budget: 2 steps, batch: 2, length: 32, lr: 1e-3, eval: {batches: 1}}
variants:
  dense: {model.layers: 2}
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The current folder: mine.xc.yaml, and a wide terminal."""
    (tmp_path / "mine.xc.yaml").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    return tmp_path
