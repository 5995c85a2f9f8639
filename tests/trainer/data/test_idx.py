"""MNIST and its like: verified files, and one message for each way in which files can be wrong."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import replace

import numpy as np
import pytest

from spikegraph.export.errors import DataError
from spikegraph.trainer.data import idx, load_data, load_split
from spikegraph.trainer.data.idx import IdxFile, read_idx

SHAPES = {
    "train-images-idx3-ubyte": (6, 28, 28),
    "train-labels-idx1-ubyte": (6,),
    "t10k-images-idx3-ubyte": (4, 28, 28),
    "t10k-labels-idx1-ubyte": (4,),
}


def idx_bytes(array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return head + array.tobytes()


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        stem: rng.integers(0, 10 if "labels" in stem else 256, shape).astype(np.uint8) for stem, shape in SHAPES.items()
    }


@pytest.fixture
def small_mnist(monkeypatch, arrays):
    """Put a data set of ten images in the place of MNIST's table."""
    files = {
        stem: IdxFile(shape=a.shape, sha256=hashlib.sha256(idx_bytes(a)).hexdigest(), gz_md5="")
        for stem, a in arrays.items()
    }
    monkeypatch.setitem(idx.IDX, "mnist", ("http://localhost/", files))
    return files


@pytest.fixture
def folder(tmp_path, arrays):
    for stem, array in arrays.items():
        (tmp_path / f"{stem}.gz").write_bytes(gzip.compress(idx_bytes(array)))
    return tmp_path


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_read_idx(tmp_path, arrays, small_mnist, suffix):
    for stem, array in arrays.items():
        path = tmp_path / (stem + suffix)
        content = idx_bytes(array)
        path.write_bytes(gzip.compress(content) if suffix else content)
        assert np.array_equal(read_idx(path, small_mnist[stem]), array)


@pytest.mark.parametrize("place", ["", "mnist"])
def test_a_folder_of_idx_files(tmp_path, arrays, small_mnist, place):
    (tmp_path / place).mkdir(exist_ok=True)
    for number, (stem, array) in enumerate(arrays.items()):  # plain and gzipped ones side by side
        content = idx_bytes(array)
        path = tmp_path / place / (stem + (".gz" if number % 2 else ""))
        path.write_bytes(gzip.compress(content) if number % 2 else content)
    mnist = load_data("mnist", tmp_path)
    assert (mnist.train.name, mnist.test.name, mnist.n_classes) == ("mnist:train", "mnist:test", 10)
    assert mnist.train.x.shape == (6, 1, 28, 28)
    assert mnist.test.x.dtype == np.uint8
    x = mnist.test.samples(np.arange(4))
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, arrays["t10k-images-idx3-ubyte"][:, None].astype(np.float64) / 255, rtol=1e-7)
    assert mnist.train.label.tolist() == arrays["train-labels-idx1-ubyte"].tolist()


def truncated(content):
    return content[:-1]


def other_content(content):
    return content[:-1] + bytes([content[-1] ^ 1])


def oversized(content):
    return content + b"\0"


def other_header(content):
    return b"\1" + content[1:]


def empty(content):
    return b""


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (truncated, "holds 4719 bytes, expected 4720"),
        (oversized, "holds more than 4720 bytes, expected 4720"),
        (empty, "holds 0 bytes, expected 4720"),
        (other_content, "its content differs from the published data set"),
        (other_header, "its content differs from the published data set"),
    ],
)
def test_wrong_content(tmp_path, arrays, small_mnist, suffix, spoil, says):
    stem = "train-images-idx3-ubyte"
    content = spoil(idx_bytes(arrays[stem]))
    path = tmp_path / (stem + suffix)
    path.write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(DataError, match=says) as caught:
        read_idx(path, small_mnist[stem])
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith("fetch the file again")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda packed: packed[: len(packed) // 2],
        lambda packed: b"not gzip" + packed,
        lambda packed: packed[:20] + b"\xff" * 30 + packed[50:],
    ],
)
def test_broken_gzip(folder, small_mnist, spoil):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz"):
        load_data("mnist", folder)


def test_a_bomb_is_not_unpacked(tmp_path, small_mnist, monkeypatch):
    """64 MiB of zeros in a file of 64 KiB: reading stops one byte after the size that is expected."""
    packer = zlib.compressobj(wbits=31)
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    with path.open("wb") as file:
        for _ in range(64):
            file.write(packer.compress(bytes(1 << 20)))
        file.write(packer.flush())
    asked = []
    read = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: asked.append(size) or read(self, size))
    with pytest.raises(DataError, match="holds more than 14 bytes"):
        read_idx(path, small_mnist["train-labels-idx1-ubyte"])
    assert asked == [15]


def test_what_is_missing_is_named(folder, small_mnist):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"does not hold mnist: t10k-labels-idx1-ubyte \(plain or \.gz\) is missing"):
        load_data("mnist", folder)


def test_only_the_part_that_is_asked_for_is_read(folder, small_mnist):
    for stem in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (folder / f"{stem}.gz").unlink()
    assert len(load_split("mnist:test", folder)) == 4


def test_an_empty_folder(tmp_path, small_mnist):
    with pytest.raises(
        DataError,
        match=r"train-images-idx3-ubyte, train-labels-idx1-ubyte \(plain or \.gz\) are missing; name the folder",
    ):
        load_data("mnist", tmp_path)


def test_not_a_folder(tmp_path, small_mnist):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "none"):
        with pytest.raises(DataError, match="is not a folder; name the folder that holds mnist's idx files"):
            load_data("mnist", path)


@pytest.mark.parametrize("error", [ConnectionError("no route to host"), ValueError("hash does not match")])
def test_no_internet(monkeypatch, small_mnist, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("pooch.retrieve", fail)
    with pytest.raises(DataError, match="is not on this machine and could not be fetched; put its four idx files"):
        load_data("mnist")


def test_fetched_files_are_verified_again(monkeypatch, folder, small_mnist):
    urls = []

    def retrieve(url, known_hash, fname, **kwargs):
        urls.append(url)
        return str(folder / fname)

    monkeypatch.setattr("pooch.retrieve", retrieve)
    assert len(load_data("mnist").train) == 6
    assert urls == [f"http://localhost/{stem}.gz" for stem in SHAPES]
    stem = "t10k-labels-idx1-ubyte"
    monkeypatch.setitem(small_mnist, stem, replace(small_mnist[stem], sha256="0" * 64))
    with pytest.raises(DataError, match="its content differs"):
        load_data("mnist")
