"""What is kept between two runs comes back, and a folder that cannot be written costs nothing but time."""

from __future__ import annotations

import pytest

from xcompose import cache


def test_what_is_kept_comes_back(tmp_path, monkeypatch):
    monkeypatch.setenv("XCOMPOSE_CACHE", str(tmp_path / "kept"))

    cache.write("results/one", {"a": [1, None, "é"]})

    assert cache.read("results/one") == {"a": [1, None, "é"]}
    assert cache.read("results/two") is None
    assert [path.name for path in (tmp_path / "kept" / "results").iterdir()] == ["one.json"]


@pytest.mark.parametrize("text", ["", "{", "\0", "[" * 100_000])
def test_a_damaged_file_counts_as_none(tmp_path, monkeypatch, text):
    monkeypatch.setenv("XCOMPOSE_CACHE", str(tmp_path))
    (tmp_path / "one.json").write_text(text)

    assert cache.read("one") is None


def test_it_is_off_where_the_user_says_so_and_where_nothing_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("XCOMPOSE_CACHE", "none")
    cache.write("one", 1)
    assert cache.folder() is None
    assert cache.read("one") is None

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XCOMPOSE_CACHE", str(tmp_path / "file"))
    cache.write("one", 1)
    assert cache.read("one") is None


def test_parts_do_not_run_together():
    assert cache.digest("ab", "c") != cache.digest("a", "bc")
    assert len(cache.digest("ab")) == 32


def test_a_failure_leaves_no_part_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("XCOMPOSE_CACHE", str(tmp_path))

    with pytest.raises(TypeError, match="not JSON serializable"):
        cache.write("one", object())

    assert list(tmp_path.iterdir()) == []
