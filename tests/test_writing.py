"""Files that are wholly written or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xcompose.writing import replace, replaced


def test_a_new_file_has_the_mode_of_any_other(tmp_path):
    other = tmp_path / "other"
    other.touch()
    replace(tmp_path / "sub" / "new", b"1")

    assert (tmp_path / "sub" / "new").read_bytes() == b"1"
    assert (tmp_path / "sub" / "new").stat().st_mode == other.stat().st_mode


def test_an_old_file_keeps_its_mode(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"1")
    file.chmod(0o640)
    replace(file, b"2")

    assert file.read_bytes() == b"2"
    assert file.stat().st_mode & 0o7777 == 0o640


def test_a_link_stays_a_link(tmp_path):
    real = tmp_path / "real" / "file"
    replace(real, b"1")
    link = tmp_path / "link"
    link.symlink_to(Path("real") / "file")
    replace(link, b"2")

    assert os.readlink(link) == "real/file"
    assert real.read_bytes() == b"2"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "link", "real"]


def test_a_block_that_fails_leaves_the_old_file(tmp_path):
    replace(tmp_path / "file", b"1")
    with pytest.raises(FileNotFoundError), replaced(tmp_path / "file") as draft:
        draft.write_bytes((tmp_path / "nothing").read_bytes())

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"1")]
