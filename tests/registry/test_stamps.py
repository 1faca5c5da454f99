"""A stamp changes with every file of a package, and with nothing else; nothing is imported for it."""

from __future__ import annotations

import importlib
import os
import sys
import zipfile

import pytest

from tests.registry.distributions import Distribution
from xcompose.registry.discovery import announced
from xcompose.registry.stamps import _installed, core_stamp, sources, stamp_of


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "acme_pack"
    (folder / "inner").mkdir(parents=True)
    for name in ("__init__.py", "one.py", "inner/two.py"):
        (folder / name).write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return folder


def test_every_file_counts(package):
    first = sources("acme_pack")
    assert len(first) == 3

    for change in (
        lambda: (package / "inner" / "two.py").write_text("x = 1\n"),
        lambda: os.utime(package / "one.py", ns=(0, 1)),
        lambda: (package / "three.py").write_text(""),
        lambda: (package / "three.py").unlink(),
        lambda: (package / "inner" / "two.py").rename(package / "inner" / "four.py"),
        lambda: (package / "bands.json").write_text("[1]"),
        lambda: os.utime(package / "bands.json", ns=(0, 1)),
    ):
        before = sources("acme_pack")
        change()
        assert sources("acme_pack") != before
    assert "acme_pack" not in sys.modules


def test_an_edit_that_keeps_size_and_time_counts(package):
    file, before = package / "one.py", sources("acme_pack")
    seen = file.stat()

    file.write_text(file.read_text().replace("imported", "IMPORTED"))
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    assert (file.stat().st_size, file.stat().st_mtime_ns) == (seen.st_size, seen.st_mtime_ns)
    assert sources("acme_pack") != before


@pytest.mark.parametrize("module", ["acme_zipped/__init__.py", "acme_zipped.py"])
def test_an_archive_counts_as_a_whole(tmp_path, monkeypatch, module):
    archive = tmp_path / "acme.zip"

    def write(text: str) -> None:
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr(module, text)
        importlib.invalidate_caches()

    write("x = 1\n")
    monkeypatch.syspath_prepend(archive)
    first, beside = sources("acme_zipped"), tuple(_installed([str(archive)]))
    assert len(first) == len(beside) == 1

    write("x = 12\n")

    assert sources("acme_zipped") != first
    assert tuple(_installed([str(archive)])) != beside


def test_what_python_compiles_does_not(package):
    first = sources("acme_pack")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "one.py").write_text("no source")

    assert sources("acme_pack") == first


def test_a_package_without_init_and_a_module_and_none(package):
    (package / "__init__.py").unlink()
    importlib.invalidate_caches()
    assert len(sources("acme_pack")) == 2
    (package.parent / "acme_one.py").write_text("")
    importlib.invalidate_caches()
    assert len(sources("acme_one")) == 1
    assert sources("acme_none") == ()


def test_the_core_is_xcompose_with_its_plugins():
    files = [line.split(" ")[0] for line in (*sources("xcompose"), *sources("xcompose_plugins"))]

    assert any(file.endswith("xcompose/schema.py") for file in files)
    assert any(file.endswith("patterns/window.py") for file in files)
    assert len(core_stamp()) == 32


def test_a_plugin_is_stamped_with_its_version_and_what_is_beside_it(installed):
    installed(Distribution("acme-a", ""))
    first = stamp_of(announced()[0])
    assert first == stamp_of(announced()[0])

    installed(Distribution("acme-a", "", version="0.2"))
    second = stamp_of(next(found for found in announced() if found.version == "0.2"))
    installed(Distribution("beta-b", "", group="others"))
    third = stamp_of(next(found for found in announced() if found.version == "0.2"))

    assert len({first, second, third}) == 3
