"""Lines in two languages: what is read, and what is refused."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest

from tests.data import data_dir
from xcompose.diagnostics import SpecError
from xcompose.train.corpus import MOST
from xcompose.train.pairs import FORM, read_pairs

GIVEN = {
    "train.en": b"a dog\ntwo cats\n\nred\n", "val.en": b"one\n",
    "train.de": b"ein Hund\nzwei Katzen\nnichts\nrot\n", "val.de": b"eins",
}  # fmt: skip


def folder(place: Path, **changes: bytes | None) -> Path:
    for name, text in {**GIVEN, **{k.replace("_", "."): v for k, v in changes.items()}}.items():
        if text is not None:
            (place / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return place


def test_lines_pair_by_their_number(tmp_path):
    found = read_pairs("any", folder(tmp_path), "en", "de")

    assert found.train == ((b"a dog", b"ein Hund"), (b"two cats", b"zwei Katzen"), (b"red", b"rot"))
    assert found.valid == ((b"one", b"eins"),)
    assert found.describe() == f"{tmp_path}: from en to de, 3 pairs of lines to train on, 1 held out"


@pytest.mark.parametrize(
    ("source", "target", "wanted"),
    [(None, None, ("de", "en")), ("en", None, ("en", "de")), (None, "de", ("en", "de")), ("de", "en", ("de", "en"))],
)
def test_of_two_languages_one_or_none_need_be_named(tmp_path, source, target, wanted):
    found = read_pairs("any", folder(tmp_path), source, target)

    assert (found.source, found.target) == wanted
    assert (found.train[0] == (b"a dog", b"ein Hund")) is (wanted == ("en", "de"))


def test_packed_files_are_unpacked_and_ends_of_lines_do_not_count(tmp_path):
    packed = {"train.en": None, "train.en.gz": GIVEN["train.en"].replace(b"\n", b"\r\n")}
    found = read_pairs("any", folder(tmp_path, **packed), "en")

    assert found.train[0] == (b"a dog", b"ein Hund")


def test_other_files_are_nobodys_lines(tmp_path):
    found = read_pairs(
        "any", folder(tmp_path, **{"train.en.bak.gz": b"x", "test.en": b"x", "README": b"x", "train.fr": b"x"})
    )

    assert (found.source, found.target) == ("de", "en")


def test_the_best_guess_without_context(tmp_path):
    found = read_pairs("any", folder(tmp_path, train_en=b"a\n\nb\nc\n", train_de=b"ab\nx\nab\nab\n"), "en", "de")

    # a, b and the end of a line, each as often
    assert found.unigram_bits() == pytest.approx(math.log2(3), abs=1e-12)


THREE = {"train.fr": b"un\n" * 4, "val.fr": b"un"}


@pytest.mark.parametrize(
    ("changes", "named", "code", "message", "fix"),
    [
        (
            {"val.de": None}, (None, None), "XC086",
            "'{0}' has train and val lines in 1 language, and a task of pairs needs two", FORM,
        ),
        (
            dict.fromkeys(GIVEN), (None, None), "XC086",
            "'{0}' has train and val lines in no language, and a task of pairs needs two", FORM,
        ),
        (
            THREE, (None, "en"), "XC086", "'{0}' has lines in 3 languages: 'de', 'en', 'fr'",
            "name two of them: translate(source=de, target=en)",
        ),
        (
            {}, ("en", "fr"), "XC086", "'{0}' has no train and val lines in 'fr'", "it has them in: 'de', 'en'",
        ),
        ({}, ("en", "en"), "XC086", "'en' cannot be translated to itself", "name two languages"),
        (
            {"val.de": b"a\nb\n"}, ("en", "de"), "XC086", "'val.en' has 1 lines and 'val.de' has 2",
            "line i of one file belongs to line i of the other: give files that pair",
        ),
        (
            {"val.de": b"", "val.en": b""}, ("en", "de"), "XC081", "'val.en' and 'val.de' hold no pair of lines",
            "give files with text in them",
        ),
        (
            {"train.de": b"abc\0"}, ("en", "de"), "XC082", "'train.de' is not text: byte 3 is zero",
            "give lines of text",
        ),
    ],
)  # fmt: skip
def test_what_is_no_text_in_two_languages_is_refused(tmp_path, changes, named, code, message, fix):
    place = folder(tmp_path, **changes)

    with pytest.raises(SpecError) as caught:
        read_pairs("any", place, *named)

    (found,) = caught.value.diagnostics
    assert (found.code, found.message, found.fixes) == (code, message.format(place), (fix,))
    assert (found.path, found.stage) == ("task.data", "data")


def test_three_languages_of_which_two_are_named(tmp_path):
    assert read_pairs("any", folder(tmp_path, **THREE), "fr", "de").source == "fr"


def refusal(name: str, data: Path | None) -> tuple[str, str, tuple[str, ...]]:
    with pytest.raises(SpecError) as caught:
        read_pairs(name, data)
    (found,) = caught.value.diagnostics
    return found.code, found.message, found.fixes


def test_data_that_is_not_there(tmp_path):
    nowhere, file = tmp_path / "nowhere", tmp_path / "file"
    file.write_bytes(b"text")

    assert refusal("multi30k", None) == ("XC083", "there is no built-in data 'multi30k'", (f"{FORM}: --data FOLDER",))
    assert refusal("x", nowhere) == (
        "XC080",
        f"there is no file or folder '{nowhere}'",
        ("check the path after --data",),
    )
    assert refusal("x", file) == ("XC086", f"'{file}' is a file, not a folder of lines in two languages", (FORM,))


def test_a_broken_archive_is_refused(tmp_path):
    place = folder(tmp_path, **{"train.en": None})
    (place / "train.en.gz").write_bytes(b"no archive")

    code, message, fixes = refusal("x", place)

    assert (code, fixes) == ("XC080", ("check its permissions, and that it is whole",))
    assert message.startswith(f"'{place / 'train.en.gz'}' cannot be read: Not a gzipped file")


def test_more_than_fits_in_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("xcompose.train.pairs.MOST", 11)
    place = folder(tmp_path)

    code, message, fixes = refusal("x", place)

    assert MOST > 11
    assert (code, message) == ("XC084", f"'{place / 'train.de'}' holds more than 11 bytes")
    assert fixes == ("a corpus is held in memory: give less",)


def test_real_lines():
    found = read_pairs("multi30k", data_dir("mt/multi30k"), "en", "de")

    assert (len(found.train), len(found.valid)) == (29_000, 1_014)
    assert found.train[0][0].startswith(b"Two young, White males")
    assert 4.0 < found.unigram_bits() < 4.6
