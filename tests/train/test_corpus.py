from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

from xcompose.diagnostics import SpecError
from xcompose.train import corpus
from xcompose.train.corpus import TextFile, cut, held_out, read_corpus, stdlib_files, user_files


def refusal(*arguments, **options) -> str:
    with pytest.raises(SpecError) as error:
        read_corpus(*arguments, **options)
    return str(error.value)


def test_the_standard_library_is_a_corpus():
    found = read_corpus("stdlib", None)

    assert found.files > 300
    assert 4e6 < len(found.train) < corpus.CAP
    assert 0.04 < len(found.valid) / len(found.train) < 0.08
    assert found.train.dtype == torch.uint8


def test_the_standard_library_gives_the_same_bytes_each_time():
    first = read_corpus("stdlib", None)
    corpus.stdlib_files.cache_clear()
    corpus._named.cache_clear()

    again = read_corpus("stdlib", None)

    assert torch.equal(first.train, again.train)
    assert torch.equal(first.valid, again.valid)


def test_the_standard_library_holds_its_own_modules_alone():
    names = [file.name for file in stdlib_files()]

    assert names == sorted(names, key=lambda n: n.split("/"))
    assert "argparse.py" in names
    assert {n.split("/")[0].removesuffix(".py") for n in names} <= sys.stdlib_module_names
    assert not [n for n in names if "test" in n.split("/") or "site-packages" in n]


def test_unigram_bits_are_the_entropy_of_single_bytes(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"aab" * 20)
    found = read_corpus("stdlib", tmp_path / "a.txt")

    counts = {b: found.train.tolist().count(b) for b in set(found.train.tolist())}
    total = sum(counts.values())
    expected = -sum(c / total * math.log2(c / total) for c in counts.values())

    assert found.unigram_bits() == pytest.approx(expected, abs=1e-12)


def test_a_user_s_file_is_cut_at_its_end(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(bytes(range(1, 101)))

    found = read_corpus("stdlib", tmp_path / "a.txt")

    assert found.train.tolist() == list(range(1, 96))
    assert found.valid.tolist() == list(range(96, 101))
    assert found.describe() == f"{tmp_path / 'a.txt'}: 1 file, 95 B to train on, 5 B held out"


def test_a_user_s_folder_is_read_in_a_fixed_order_without_hidden_files(tmp_path: Path):
    for name, text in {"b.txt": "b", "a/z.txt": "z", ".git/x": "x", "a/.hidden": "h", "__pycache__/c": "c"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    assert [file.name for file in user_files(tmp_path)] == ["b.txt", "a/z.txt"]


def test_many_files_are_held_out_whole_and_keep_their_side():
    files = tuple(TextFile(f"{i}.txt", bytes([65 + i % 26]) * 100) for i in range(60))

    outside = held_out(files)
    more = held_out((*files, *(TextFile(f"more{i}.txt", b"x" * 100) for i in range(40))))

    assert len(outside) == 3
    assert all(cut(file, outside) == ((b"", file.data) if file.name in outside else (file.data, b"")) for file in files)
    assert {name for name in more if name[0] != "m"} <= outside | more


def test_an_unknown_name_is_refused():
    assert refusal("enwik8", None) == (
        "error[XC083]: there is no built-in data 'enwik8'\n"
        " --> task.data\n"
        "  = fix: built in: 'stdlib'; for other text give --data FILE_OR_DIR"
    )


def test_a_missing_file_is_refused():
    assert refusal("stdlib", Path("nowhere/text.txt")) == (
        "error[XC080]: there is no file or folder 'nowhere/text.txt'\n"
        " --> task.data\n"
        "  = fix: check the path after --data"
    )


def test_an_empty_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").touch()

    assert refusal("stdlib", Path("empty.txt")) == (
        "error[XC081]: 'empty.txt' is empty\n"
        " --> task.data\n"
        "  = fix: give a file, or a folder of files, with text in it"
    )


def test_an_empty_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("texts").mkdir()
    Path("texts/one.txt").touch()

    assert refusal("stdlib", Path("texts")) == (
        "error[XC081]: 'texts' holds no text: 1 file, 0 bytes\n"
        " --> task.data\n"
        "  = fix: give a file, or a folder of files, with text in it"
    )


def test_a_binary_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("weights.bin").write_bytes(b"PK\x03\x04\x00\x00")

    assert refusal("stdlib", Path("weights.bin")) == (
        "error[XC082]: 'weights.bin' is not text: byte 4 is zero\n"
        " --> task.data\n"
        "  = fix: give text; or, to model any bytes, write binary=true in the task: lm(binary=true)"
    )


def test_binary_files_in_a_folder_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("texts").mkdir()
    for name, data in {"a.txt": b"text", "b.png": b"\x89\x00", "c.png": b"\x00"}.items():
        Path("texts", name).write_bytes(data)

    assert refusal("stdlib", Path("texts")) == (
        "error[XC082]: 'b.png' in 'texts' is not text: byte 1 is zero, and 1 file more like it\n"
        " --> task.data\n"
        "  = fix: give text; or, to model any bytes, write binary=true in the task: lm(binary=true)"
    )


def test_any_bytes_may_be_asked_for(tmp_path: Path):
    (tmp_path / "a.bin").write_bytes(bytes(range(256)))

    found = read_corpus("stdlib", tmp_path / "a.bin", binary=True)

    assert len(found.train) + len(found.valid) == 256


def test_too_large_a_corpus_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(corpus, "MOST", 3)
    Path("big.txt").write_text("four")

    assert refusal("stdlib", Path("big.txt")) == (
        "error[XC084]: 'big.txt' holds 4 bytes\n"
        " --> task.data\n"
        "  = fix: a corpus is held in memory: give at most 3 bytes"
    )
