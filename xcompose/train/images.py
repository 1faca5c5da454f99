"""Images to learn from: MNIST's idx files and CIFAR-10's binary files, as they are handed out or packed anew.

    train-images-idx3-ubyte, train-images-idx3-ubyte.gz     a header with the sizes, then pixels of one channel
    data_batch_1.bin, cifar10_train_first4000.bin.xz        records of a label and three planes of 32 x 32 pixels

Images of files whose names begin with `t10k` or `test` are held out; where there is no such file, or no other, the last
twentieth of each file is. Labels of idx files stand in files of their own, beside them.
"""

from __future__ import annotations

import gzip
import lzma
import math
from pathlib import Path
from typing import NoReturn

import attrs
import torch
from torch import Tensor

from xcompose.attention.grid import Grid
from xcompose.diagnostics import Diagnostic, SpecError
from xcompose.train.corpus import HELD_OUT, MOST, as_bytes, below

OPENERS = {"": open, ".gz": gzip.open, ".xz": lzma.open}
IMAGES, LABELS = b"\0\0\x08\x03", b"\0\0\x08\x01"
"""How idx files of images and of labels begin."""
PLANES = (3, 32, 32)
RECORD = 1 + math.prod(PLANES)
TESTS = ("t10k", "test")
FORMATS = "MNIST's idx3-ubyte files or CIFAR-10's .bin files, plain, .gz or .xz"
PIECE = 4096
"""Images that are averaged in one go."""


@attrs.frozen(eq=False)
class ImageCorpus:
    """Images to train on, and images held out."""

    name: str
    files: int
    train: Tensor
    """(images height width channels) uint8"""
    valid: Tensor
    """(images height width channels) uint8"""
    train_labels: Tensor | None = None
    """(images) int64, where labels were asked for."""
    valid_labels: Tensor | None = None

    def describe(self) -> str:
        """One line for humans."""
        files = "1 file" if self.files == 1 else f"{self.files:,} files"
        sides = times(self.train.shape[1:])
        return f"{self.name}: {files}, {len(self.train):,} images of {sides} to train on, {len(self.valid):,} held out"


def read_images(name: str, data: Path | None, *, labels: bool = False) -> ImageCorpus:
    """The images of a file, or of all files of images below a folder.

    Args:
        name: what the spec calls the data; no images come with xcompose.
        labels: whether they are wanted, too.

    Raises:
        SpecError: no images there, files that are damaged or of another kind, images of different sizes, or no labels
            where they are wanted (XC08x).
    """
    if data is None:
        _refuse("XC083", f"no images come with xcompose, '{name}' must be given", f"--data FILE_OR_DIR: {FORMATS}")
    paths = _paths(data)
    parts = {path: _images(path) for path in paths}
    _one_size(data, parts)
    answers = {path: _labels(path, len(part)) for path, part in parts.items()} if labels else {}
    train, valid = _sides(parts)
    if not len(train) or not len(valid):
        _refuse(
            "XC085", f"'{data}' holds too few images to hold some out: {len(train) + len(valid)}", "give more images"
        )
    return ImageCorpus(str(data), len(paths), train, valid, *(_sides(answers) if labels else ()))


def as_sequences(images: Tensor, grid: Grid) -> Tensor:
    """Images (images height width channels) as pixels (images n), in the order in which they fill a grid.

    Channels are the fastest: a grid of [32, 96] holds 32 x 32 pixels of three channels. Images that are larger by whole
    factors are averaged.

    Raises:
        SpecError: the images do not fill the grid (XC086).
    """
    *_, height, width, channels = images.shape
    wanted = _height_and_width(grid.sides, height, width, channels)
    if wanted is None or height % wanted[0] or width % wanted[1]:
        factors = [f for f in range(1, 5) if height % f == width % f == 0]
        there = ", ".join(f"[{height // f}, {width // f * channels}]" for f in factors)
        _refuse(
            "XC086", f"images of {times(images.shape[1:])} do not fill a grid of {times(grid.sides)}",
            f"model.grid: one of {there}", path="model.grid",
        )  # fmt: skip
    places = _places(grid)
    small = [_averaged(piece, *wanted).flatten(1)[:, places] for piece in images.split(PIECE)]
    return torch.cat(small)


def as_images(pixels: Tensor, grid: Grid, channels: int) -> Tensor:
    """Pixels (images n) in the order of a grid, as images (images height width channels), uint8."""
    height, width = (grid.sides[0], grid.size // grid.sides[0]) if len(grid.sides) > 1 else (1, grid.size)
    found = torch.empty(len(pixels), grid.size, dtype=torch.uint8)
    found[:, _places(grid)] = pixels.to(torch.uint8)
    return found.view(len(pixels), height, width // channels, channels)


def _places(grid: Grid) -> Tensor:
    """(n) where each pixel of the order lies, counted row by row."""
    return Grid(grid.sides).index(grid.coordinates(torch.arange(grid.size)))


def times(sides: tuple[int, ...]) -> str:
    """28 x 28; a single channel is not said."""
    return " x ".join(str(side) for number, side in enumerate(sides) if number < 2 or side > 1)


def _height_and_width(sides: tuple[int, ...], height: int, width: int, channels: int) -> tuple[int, int] | None:
    """The size of an image that fills a grid; None where none does."""
    if len(sides) == 1:
        return (height, width) if sides[0] == height * width * channels else None
    if len(sides) == 2:
        return None if sides[1] % channels else (sides[0], sides[1] // channels)
    return sides[:2] if len(sides) == 3 and sides[2] == channels else None


def _averaged(images: Tensor, height: int, width: int) -> Tensor:
    """Means over patches, rounded; halves go up."""
    if images.shape[1:3] == (height, width):
        return images
    patches = images.unflatten(2, (width, -1)).unflatten(1, (height, -1))
    count = patches.shape[2] * patches.shape[4]
    return ((2 * patches.sum((2, 4), dtype=torch.int64) + count) // (2 * count)).to(torch.uint8)


def _refuse(code: str, message: str, fix: str, path: str = "task.data") -> NoReturn:
    raise SpecError(Diagnostic(code, message, fixes=(fix,), path=path, stage="data"))


def _paths(data: Path) -> list[Path]:
    """The files of images; of one that is there twice, plain and packed, the first by name."""
    if not data.exists():
        _refuse("XC080", f"there is no file or folder '{data}'", "check the path after --data")
    if data.is_file():
        if not _is_images(data):
            _refuse("XC086", f"'{data}' is no file of images, by its name", f"give {FORMATS}")
        return [data]
    found = {_plain(path): path for path in reversed(list(below(data))) if _is_images(path)}
    if not found:
        _refuse("XC081", f"'{data}' holds no images", f"give {FORMATS}")
    return list(reversed(found.values()))


def _one_size(data: Path, parts: dict[Path, Tensor]) -> None:
    sizes = {path.name: times(part.shape[1:]) for path, part in parts.items()}
    first, *others = sizes
    for name in others:
        if sizes[name] != sizes[first]:
            both = f"{sizes[first]} in '{first}', {sizes[name]} in '{name}'"
            _refuse("XC086", f"'{data}' holds images of several sizes: {both}", "give one data set")


def _plain(path: Path) -> Path:
    """The path without the suffix of a packer."""
    return path.with_suffix("") if path.suffix in OPENERS else path


def _is_images(path: Path) -> bool:
    return _plain(path).name.endswith(("idx3-ubyte", ".bin"))


def _unpacked(path: Path) -> bytes:
    try:
        with OPENERS.get(path.suffix, open)(path, "rb") as file:
            found = file.read(MOST + 1)
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError):
        _refuse("XC086", f"'{path}' cannot be unpacked: it is cut off or damaged", "fetch it again")
    except OSError as error:
        _refuse("XC080", f"'{path}' cannot be read: {error.strerror}", "check its permissions")
    if len(found) > MOST:
        _refuse("XC084", f"'{path}' holds more than {MOST:,} bytes", "images are held in memory: give fewer")
    return found


def _images(path: Path) -> Tensor:
    """(images height width channels) uint8"""
    data = _unpacked(path)
    if _plain(path).suffix == ".bin":
        return _records(path, data)[:, 1:].unflatten(1, PLANES).permute(0, 2, 3, 1)
    count, height, width = _idx(path, data, IMAGES, 3)
    return as_bytes(data[16:]).view(count, height, width, 1)


def _records(path: Path, data: bytes) -> Tensor:
    if not data or len(data) % RECORD:
        message = f"'{path}' is not made of CIFAR-10's records of {RECORD:,} bytes: it holds {len(data):,} bytes"
        _refuse("XC086", message, f"give {FORMATS}")
    return as_bytes(data).view(-1, RECORD)


def _idx(path: Path, data: bytes, magic: bytes, sides: int) -> list[int]:
    """The sizes in the header of an idx file, which must hold exactly so much."""
    if data[:4] != magic:
        what = {IMAGES: "images", LABELS: "labels"}[magic]
        _refuse("XC086", f"'{path}' is no idx file of {what}: it begins with {data[:4].hex(' ')}", f"give {FORMATS}")
    sizes = [int.from_bytes(data[at : at + 4], "big") for at in range(4, 4 + 4 * sides, 4)]
    held = len(data) - 4 - 4 * sides
    if held != math.prod(sizes):
        _refuse(
            "XC086", f"'{path}' is damaged: its header says {' x '.join(map(str, sizes))} bytes, it holds {held:,}",
            "fetch it again",
        )  # fmt: skip
    return sizes


def _labels(path: Path, count: int) -> Tensor:
    """(images) int64"""
    if _plain(path).suffix == ".bin":
        return _records(path, _unpacked(path))[:, 0].long()
    name = _plain(path).name.replace("images", "labels").replace("idx3", "idx1")
    there = [path.with_name(name + suffix) for suffix in OPENERS if path.with_name(name + suffix).exists()]
    if not there:
        _refuse("XC080", f"'{path}' has no labels beside it", f"add '{name}', plain, .gz or .xz")
    data = _unpacked(there[0])
    (found,) = _idx(there[0], data, LABELS, 1)
    if found != count:
        _refuse("XC086", f"'{there[0]}' holds {found:,} labels for {count:,} images", "give files that belong together")
    return as_bytes(data[8:]).long()


def _sides(parts: dict[Path, Tensor]) -> tuple[Tensor, Tensor]:
    """What is trained on, and what is held out."""
    tests = {path for path in parts if path.name.lower().startswith(TESTS)}
    if tests and len(tests) < len(parts):
        return (
            torch.cat([part for path, part in parts.items() if path not in tests]),
            torch.cat([parts[path] for path in parts if path in tests]),
        )
    edges = [len(part) - math.ceil(len(part) / HELD_OUT) for part in parts.values()]
    pairs = list(zip(parts.values(), edges, strict=True))
    return torch.cat([part[:edge] for part, edge in pairs]), torch.cat([part[edge:] for part, edge in pairs])
