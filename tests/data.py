"""Where the real data is that some tests need: beside the project, never in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("XCOMPOSE_DATA") or Path(__file__).parents[2] / "shared" / "data")


def data_dir(name: str) -> Path:
    """A file or folder of the data sets, such as `img/mnist`; skips the test where it is absent."""
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"the data set {name} is not here; XCOMPOSE_DATA names the folder that holds it")
    return path
