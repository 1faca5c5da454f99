"""Files of weights that somebody has tampered with: each ends in a finding."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.hostile.texts import LIMIT, ONE, mixer
from tests.hostile.watching import watching
from xcompose.compose.weights import load_model
from xcompose.diagnostics import SpecError

TENSORS = {"a": torch.zeros(2)}
TEXTS = {
    "no spec": ({}, "XC042"),
    "a spec without a name": ({"spec": ONE}, "XC042"),
    "a spec of nothing": ({"spec": "", "name": "x"}, "XC004"),
    "a spec that is none": ({"spec": "\x00\x01", "name": "x"}, "XC003"),
    "a spec above the limit": ({"spec": "#" * (LIMIT + 1), "name": "x"}, "XC008"),
    "a spec with a tag": ({"spec": "xcompose: 1\nlet: !!python/name:os.system x\n", "name": "x"}, "XC005"),
    "a spec that extends": ({"spec": "xcompose: 1\nextends: /etc/passwd\n", "name": "x"}, "XC025"),
    "a spec that extends what lies beside it": ({"spec": "xcompose: 1\nextends: a.xc.yaml\n", "name": "x"}, "XC025"),
    "a spec with a dotted name": ({"spec": mixer("torch.nn.Linear"), "name": "x"}, "XC016"),
    "a gigantic spec": ({"spec": ONE.replace("dim: 16", "dim: 100000000"), "name": "x"}, "XC040"),
    "a recipe": ({"spec": "xcompose: 1\ntrain: {lr: 1}\n", "name": "x"}, "XC030"),
    "the weights of another model": ({"spec": ONE, "name": "x"}, "XC042"),
    "a name that leads elsewhere": ({"spec": ONE, "name": "../../x\x1b[2J"}, "XC042"),
}


def written(folder: Path, header: bytes, length: int | None = None, data: bytes = b"") -> Path:
    place = folder / "a.safetensors"
    place.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)
    return place


def refused(place: Path, code: str) -> None:
    with watching() as seen, pytest.raises(SpecError) as caught:
        load_model(place)
    assert caught.value.diagnostics[0].code == code
    assert all(c.isprintable() or c == "\n" for c in str(caught.value))
    assert seen.mebibytes < 200
    assert not any("passwd" in path for path in seen.opened)


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_not_what_was_saved(name, tmp_path):
    texts, code = TEXTS[name]
    safetensors.torch.save_file(TENSORS, tmp_path / "a.safetensors", metadata=texts)

    refused(tmp_path / "a.safetensors", code)


def test_a_file_without_numbers(tmp_path):
    safetensors.torch.save_file({}, tmp_path / "a.safetensors", metadata={"spec": ONE, "name": "x"})

    refused(tmp_path / "a.safetensors", "XC042")


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"", None),
        (b"{}", 1 << 40),
        (b"{}", (1 << 64) - 1),
        (b"not JSON", None),
        (b"[" * 100_000, None),
        (json.dumps({"a": {**ENTRY, "data_offsets": [0, 1 << 40]}}).encode(), None),
        (json.dumps({"a": {**ENTRY, "data_offsets": [8, 0]}}).encode(), None),
        (json.dumps({"a": {**ENTRY, "shape": [1 << 60, 1 << 60]}}).encode(), None),
        (json.dumps({"a": {**ENTRY, "dtype": "PICKLE"}}).encode(), None),
        (json.dumps({"a": ENTRY, "b": ENTRY}).encode(), None),
        (json.dumps({"__metadata__": {"spec": 1}, "a": ENTRY}).encode(), None),
        (json.dumps({"__metadata__": "x", "a": ENTRY}).encode(), None),
    ],
    ids=lambda value: None,
)
def test_a_header_that_is_not_what_was_saved(header, length, tmp_path):
    refused(written(tmp_path, header, length, bytes(8)), "XC042")


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\x80\x04\x95", b"PK\x03\x04" + bytes(100)])
def test_a_file_of_something_else(content, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(content)

    refused(tmp_path / "a.safetensors", "XC042")
