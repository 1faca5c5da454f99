"""Pixels as a PNG file: what a picture of drawn images needs, and no more."""

from __future__ import annotations

import math
import struct
import zlib

import torch
from torch import Tensor

GREY, COLOUR = 0, 2
"""Kinds of pixels, as the format numbers them."""
GAP = 2
"""Pixels between images, and around them."""
LEAST = 112
"""Images with lower sides are drawn larger, each pixel as a square."""


def png(pixels: Tensor) -> bytes:
    """A file of pixels (height width 1) or (height width 3), uint8."""
    height, width, channels = pixels.shape
    kind = {1: GREY, 3: COLOUR}[channels]
    rows = torch.nn.functional.pad(pixels.reshape(height, -1), (1, 0))
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.numpy().tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in parts)


def side_by_side(images: Tensor) -> Tensor:
    """One image (height width channels) of several (images height width channels), in rows and columns."""
    count, height, width, channels = images.shape
    times = -(-LEAST // max(height, width))
    images = images.repeat_interleave(times, 1).repeat_interleave(times, 2)
    across = math.ceil(math.sqrt(count))
    down = -(-count // across)
    tall, wide = height * times + GAP, width * times + GAP
    found = torch.full((down * tall + GAP, across * wide + GAP, channels), 128, dtype=torch.uint8)
    for number, image in enumerate(images):
        top, left = GAP + number // across * tall, GAP + number % across * wide
        found[top : top + tall - GAP, left : left + wide - GAP] = image
    return found


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
