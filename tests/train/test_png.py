from __future__ import annotations

import struct
import zlib

import pytest
import torch
from torch import Tensor

from xcompose.train.png import GAP, png, side_by_side


def read(file: bytes) -> Tensor:
    """The pixels of a file that uses no filter, every chunk checked."""
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(file):
        (size,) = struct.unpack(">I", file[at : at + 4])
        name, data = file[at + 4 : at + 8], file[at + 8 : at + 8 + size]
        assert struct.unpack(">I", file[at + 8 + size : at + 12 + size]) == (zlib.crc32(name + data),)
        chunks[name], at = data, at + 12 + size
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, kind, *others = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, others) == (8, [0, 0, 0])
    rows = torch.frombuffer(bytearray(zlib.decompress(chunks[b"IDAT"])), dtype=torch.uint8).view(height, -1)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, {0: 1, 2: 3}[kind])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_file_holds_its_pixels(channels):
    pixels = torch.randint(256, (5, 7, channels), dtype=torch.uint8)

    assert torch.equal(read(png(pixels)), pixels)


def test_images_stand_side_by_side():
    images = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 120, 130, 3)

    found = side_by_side(images)

    assert tuple(found.shape) == (2 * 122 + GAP, 3 * 132 + GAP, 3)
    assert found[GAP, GAP].tolist() == [0] * 3
    assert found[GAP + 122, GAP + 132 : GAP + 262].unique().tolist() == [4]
    assert found[0].unique().tolist() == found[:, 0].unique().tolist() == [128]


def test_small_ones_are_enlarged_whole_times():
    found = side_by_side(torch.tensor([[0, 1], [2, 3]], dtype=torch.uint8).view(1, 2, 2, 1))

    assert found[GAP:-GAP, GAP:-GAP, 0].tolist() == [
        [row * 2] * 56 + [row * 2 + 1] * 56 for row in (0, 1) for _ in range(56)
    ]
