from __future__ import annotations

import gzip
import lzma
import math
from pathlib import Path

import pytest
import torch

from tests.data import data_dir
from xcompose.attention.grid import Grid
from xcompose.diagnostics import SpecError
from xcompose.train import images
from xcompose.train.corpus import unigram_bits
from xcompose.train.images import as_images, as_sequences, read_images

FORMATS = "MNIST's idx3-ubyte files or CIFAR-10's .bin files, plain, .gz or .xz"
PACKERS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}


def idx(*sizes: int, first: int = 0) -> bytes:
    """An idx file that counts up, one byte after the other."""
    header = bytes([0, 0, 8, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes)
    return header + bytes((first + number) % 256 for number in range(math.prod(sizes)))


def record(label: int) -> bytes:
    """A record of CIFAR-10: planes of red 1, green 2 and blue rows that count up."""
    return bytes([label]) + bytes([1] * 1024 + [2] * 1024) + bytes(row for row in range(32) for _ in range(32))


def refusal(*arguments, **options) -> str:
    with pytest.raises(SpecError) as error:
        read_images("pictures", *arguments, **options)
    return str(error.value)


@pytest.mark.parametrize("suffix", PACKERS)
def test_idx_files_are_read_and_a_test_file_is_held_out(tmp_path: Path, suffix):
    pack = PACKERS[suffix]
    (tmp_path / f"train-images-idx3-ubyte{suffix}").write_bytes(pack(idx(7, 3, 5)))
    (tmp_path / f"train-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(7)))
    (tmp_path / f"t10k-images-idx3-ubyte{suffix}").write_bytes(pack(idx(2, 3, 5, first=100)))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(2, first=8))
    (tmp_path / "notes.txt").write_text("not an image")

    found = read_images("mnist", tmp_path, labels=True)

    assert (found.train.dtype, tuple(found.train.shape)) == (torch.uint8, (7, 3, 5, 1))
    assert found.train.flatten().tolist() == list(range(105))
    assert found.valid.flatten().tolist() == list(range(100, 130))
    assert found.train_labels.tolist() == list(range(7))
    assert found.valid_labels.tolist() == [8, 9]
    assert found.describe() == f"{tmp_path}: 2 files, 7 images of 3 x 5 to train on, 2 held out"


def test_records_become_rows_of_pixels_and_the_last_twentieth_is_held_out(tmp_path: Path):
    (tmp_path / "data_batch_1.bin").write_bytes(b"".join(record(label) for label in range(21)))

    found = read_images("cifar", tmp_path / "data_batch_1.bin", labels=True)

    assert tuple(found.train.shape) == (19, 32, 32, 3)
    assert found.train[4, 30, 7].tolist() == [1, 2, 30]
    assert found.train_labels.tolist() == list(range(19))
    assert found.valid_labels.tolist() == [19, 20]
    assert found.describe().endswith("1 file, 19 images of 32 x 32 x 3 to train on, 2 held out")


def test_a_file_that_is_there_twice_counts_once(tmp_path: Path):
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "train-images-idx3-ubyte").write_bytes(idx(4, 2, 2))
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(4, 2, 2)))

    found = read_images("mnist", tmp_path)

    assert (found.files, len(found.train), len(found.valid)) == (1, 3, 1)
    assert (found.train_labels, found.valid_labels) == (None, None)


def test_what_is_not_there_is_refused(tmp_path: Path):
    assert refusal(None) == (
        "error[XC083]: no images come with xcompose, 'pictures' must be given\n"
        " --> task.data\n"
        f"  = fix: --data FILE_OR_DIR: {FORMATS}"
    )
    assert refusal(tmp_path / "nowhere") == (
        f"error[XC080]: there is no file or folder '{tmp_path}/nowhere'\n"
        " --> task.data\n"
        "  = fix: check the path after --data"
    )
    assert refusal(tmp_path) == (f"error[XC081]: '{tmp_path}' holds no images\n --> task.data\n  = fix: give {FORMATS}")


TOP = "\n --> task.data\n  = fix: "


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("cat.png", b"", f"error[XC086]: '{{}}' is no file of images, by its name{TOP}give {FORMATS}"),
        (
            "a-idx3-ubyte", idx(7),
            f"error[XC086]: '{{}}' is no idx file of images: it begins with 00 00 08 01{TOP}give {FORMATS}",
        ),
        (
            "a-idx3-ubyte", idx(7, 3, 5)[:-1],
            f"error[XC086]: '{{}}' is damaged: its header says 7 x 3 x 5 bytes, it holds 104{TOP}fetch it again",
        ),
        (
            "a-idx3-ubyte.gz", gzip.compress(idx(7, 3, 5))[:-9],
            f"error[XC086]: '{{}}' cannot be unpacked: it is cut off or damaged{TOP}fetch it again",
        ),
        (
            "a-idx3-ubyte.xz", b"nothing of the kind",
            f"error[XC086]: '{{}}' cannot be unpacked: it is cut off or damaged{TOP}fetch it again",
        ),
        (
            "a.bin", record(1)[1:],
            f"error[XC086]: '{{}}' is not made of CIFAR-10's records of 3,073 bytes: it holds 3,072 bytes{TOP}"
            f"give {FORMATS}",
        ),
        (
            "a-idx3-ubyte", idx(1, 2, 2),
            f"error[XC085]: '{{}}' holds too few images to hold some out: 1{TOP}give more images",
        ),
    ],
)  # fmt: skip
def test_files_of_another_kind_are_refused(tmp_path: Path, name, data, said):
    (tmp_path / name).write_bytes(data)

    assert refusal(tmp_path / name) == said.format(tmp_path / name)


def test_images_of_several_sizes_are_refused(tmp_path: Path):
    (tmp_path / "a-idx3-ubyte").write_bytes(idx(7, 3, 5))
    (tmp_path / "b.bin").write_bytes(record(0))

    assert refusal(tmp_path) == (
        f"error[XC086]: '{tmp_path}' holds images of several sizes: 3 x 5 in 'a-idx3-ubyte', 32 x 32 x 3 in 'b.bin'"
        f"{TOP}give one data set"
    )


def test_too_many_bytes_are_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(images, "MOST", 100)
    (tmp_path / "a-idx3-ubyte").write_bytes(idx(7, 3, 5))

    assert refusal(tmp_path) == (
        f"error[XC084]: '{tmp_path}/a-idx3-ubyte' holds more than 100 bytes{TOP}images are held in memory: give fewer"
    )


def test_labels_are_missed_only_where_they_are_wanted(tmp_path: Path):
    file = tmp_path / "train-images.idx3-ubyte"
    file.write_bytes(idx(7, 3, 5))

    assert len(read_images("pictures", file).train) == 6
    assert refusal(file, labels=True) == (
        f"error[XC080]: '{file}' has no labels beside it{TOP}add 'train-labels.idx1-ubyte', plain, .gz or .xz"
    )
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx(6))
    assert refusal(file, labels=True) == (
        f"error[XC086]: '{tmp_path}/train-labels.idx1-ubyte' holds 6 labels for 7 images{TOP}"
        "give files that belong together"
    )


# On a grid ------------------------------------------------------------------------------------------------------------


def picture(height: int, width: int, channels: int = 1) -> torch.Tensor:
    """An image that counts up."""
    return torch.arange(height * width * channels, dtype=torch.uint8).view(1, height, width, channels)


def test_channels_are_the_fastest():
    found = as_sequences(picture(3, 5, 2), Grid((3, 10)))

    assert found.tolist() == [list(range(30))]
    assert as_sequences(picture(3, 5, 2), Grid((3, 5, 2))).tolist() == found.tolist()
    assert as_sequences(picture(3, 5, 2), Grid((30,))).tolist() == found.tolist()


def test_pixels_follow_the_order_of_the_grid():
    assert as_sequences(picture(2, 4), Grid((2, 4), (2, 2))).tolist() == [[0, 1, 4, 5, 2, 3, 6, 7]]


def test_larger_images_are_averaged_and_halves_go_up():
    image = torch.tensor([[0, 1, 3, 4], [1, 0, 5, 6], [255, 255, 7, 7], [255, 254, 8, 8]], dtype=torch.uint8)

    found = as_sequences(image.view(1, 4, 4, 1), Grid((2, 2)))

    means = [sum(image[r : r + 2, c : c + 2].flatten().tolist()) / 4 for r in (0, 2) for c in (0, 2)]
    assert means == [0.5, 4.5, 254.75, 7.5]
    assert found.tolist() == [[1, 5, 255, 8]]


def test_averages_of_colours_stay_colours():
    image = torch.stack([torch.full((4, 6), value, dtype=torch.uint8) for value in (3, 50, 200)], -1)[None]

    assert as_sequences(image, Grid((2, 6))).tolist() == [[3, 50, 200] * 4]


@pytest.mark.parametrize(
    ("grid", "channels"), [(Grid((4, 6), (2, 2)), 1), (Grid((4, 6), (2, 3)), 3), (Grid((4, 2, 3)), 3), (Grid((24,)), 1)]
)
def test_sequences_become_images_again(grid, channels):
    height = grid.sides[0] if len(grid.sides) > 1 else 1
    images = torch.randint(256, (5, height, 24 // height // channels, channels), dtype=torch.uint8)

    assert torch.equal(as_images(as_sequences(images, grid), grid, channels), images)


@pytest.mark.parametrize(
    ("shape", "grid", "said"),
    [
        ((28, 28, 1), (20, 20), "images of 28 x 28 do not fill a grid of 20 x 20|[28, 28], [14, 14], [7, 7]"),
        ((28, 28, 1), (56, 56), "images of 28 x 28 do not fill a grid of 56 x 56|[28, 28], [14, 14], [7, 7]"),
        ((32, 32, 3), (32, 32), "images of 32 x 32 x 3 do not fill a grid of 32 x 32|[32, 96], [16, 48], [8, 24]"),
        ((5, 3, 1), (14,), "images of 5 x 3 do not fill a grid of 14|[5, 3]"),
        ((4, 4, 1), (4, 4, 3), "images of 4 x 4 do not fill a grid of 4 x 4 x 3|[4, 4], [2, 2], [1, 1]"),
    ],
)
def test_a_grid_that_is_not_filled_is_refused(shape, grid, said):
    message, there = said.split("|")
    with pytest.raises(SpecError) as error:
        as_sequences(torch.zeros(1, *shape, dtype=torch.uint8), Grid(grid))

    assert str(error.value) == f"error[XC086]: {message}\n --> model.grid\n  = fix: model.grid: one of {there}"


# Real ones ------------------------------------------------------------------------------------------------------------


def test_reads_the_digits():
    found = read_images("mnist", data_dir("img/mnist"))
    pixels = as_sequences(found.train, Grid((14, 14)))

    assert (tuple(found.train.shape), tuple(found.valid.shape)) == ((60000, 28, 28, 1), (10000, 28, 28, 1))
    assert tuple(pixels.shape) == (60000, 196)
    assert f"{unigram_bits(pixels.flatten()):.2f}" == "2.81"


def test_reads_the_photographs():
    found = read_images("cifar10", data_dir("img/cifar10"), labels=True)

    assert found.files == 1
    assert (len(found.train), len(found.valid), tuple(found.train.shape[1:])) == (3800, 200, (32, 32, 3))
    assert torch.cat([found.train_labels, found.valid_labels]).bincount().tolist() == [
        396, 366, 420, 384, 422, 393, 414, 385, 407, 413,
    ]  # fmt: skip
