from __future__ import annotations

from pathlib import Path

import pytest

from xcompose.diagnostics import SpecError
from xcompose.train.labelled import PACKAGES, read_labelled


def folder(root: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def refusal(data: Path) -> str:
    with pytest.raises(SpecError) as error:
        read_labelled("stdlib", data, 5)
    return str(error.value)


def test_packages_of_the_standard_library_are_classes():
    found = read_labelled("stdlib", None, 512)

    assert found.labels == PACKAGES
    assert {label for _, label in found.train} == {label for _, label in found.valid} == set(range(len(PACKAGES)))
    assert {len(text) for text, _ in found.train} <= set(range(257, 513))
    assert 0.05 < len(found.valid) / len(found.train) < 0.3


def test_a_folder_of_folders_gives_one_text_a_file(tmp_path: Path):
    data = folder(tmp_path, {f"{c}/{i}.txt": f"{c}{i} and more" for c in ("no", "yes") for i in range(3)})

    found = read_labelled("stdlib", data, 5)

    assert found.labels == ("no", "yes")
    assert found.train == ((b"no0 a", 0), (b"no1 a", 0), (b"yes0 ", 1), (b"yes1 ", 1))
    assert found.valid == ((b"no2 a", 0), (b"yes2 ", 1))
    assert found.describe() == f"{tmp_path}: 2 classes, 4 texts to train on, 2 held out"


FIX = "\n --> task.data\n  = fix: give a folder with one sub-folder for each class, and a file for each text in it"


def test_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder(tmp_path, {"a.txt": "text"}))

    assert refusal(Path("a.txt")) == "error[XC086]: 'a.txt' is a file, not a folder of classes" + FIX


def test_a_folder_without_classes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder(tmp_path, {"d/a.txt": "text", "e/one/a.txt": "text", "f/x/1": "t", "f/y/1": "t"}))

    assert refusal(Path("d")) == "error[XC086]: 'd' has no sub-folders with texts, not a folder of classes" + FIX
    assert refusal(Path("e")) == "error[XC086]: 'e' has 1 sub-folders with texts, not a folder of classes" + FIX
    single = "error[XC086]: 'f' has a single text in 'x', none to hold out, not a folder of classes"
    assert refusal(Path("f")) == single + FIX


def test_an_unknown_name_is_refused():
    with pytest.raises(SpecError, match="there is no built-in data 'shapes'"):
        read_labelled("shapes", None, 5)
