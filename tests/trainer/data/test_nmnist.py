"""N-MNIST: its 5-byte events, out of a folder or an archive, and what is wrong with files that are not."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest

from spikegraph.export.errors import DataError
from spikegraph.trainer.data import load_data, load_split, nmnist


def event(t, x, y, p):
    """Pack an event: x, y, then the polarity's bit above 23 bits of time."""
    return bytes([x, y]) + (p << 23 | t).to_bytes(3, "big")


RECORDINGS = {
    "Train/7/00001.bin": event(3, 0, 0, 0) + event(5, 33, 2, 1) + event(70_000, 1, 33, 0),
    "Train/2/00010.bin": event(0, 4, 5, 1),
    "Train/2/00002.bin": b"",
    "Test/0/00001.bin": event((1 << 23) - 1, 33, 33, 1),
}


def write(place, files):
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return place


def tar(path, files, mode="w:xz"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def zipped(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def part_of(files, part):
    return {name: content for name, content in files.items() if name.startswith(part)}


def two_archives(place):
    for part in ("Train", "Test"):
        zipped(place / f"{part}.zip", part_of(RECORDINGS, part))
    return place


PLACES = {
    "folder": lambda place: write(place, RECORDINGS),
    "tar.xz": lambda place: tar(place / "any.tar.xz", RECORDINGS),
    "tar.gz": lambda place: tar(place / "any.tar.gz", RECORDINGS, "w:gz"),
    "zip": lambda place: zipped(place / "any.zip", {f"N-MNIST/{name}": c for name, c in RECORDINGS.items()}),
    "folder of an archive": lambda place: tar(place / "nmnist-small.tar.xz", RECORDINGS).parent,
    "folder of two archives": lambda place: two_archives(place),
}


@pytest.mark.parametrize("place", PLACES)
def test_recordings(tmp_path, place):
    data = load_data("nmnist", PLACES[place](tmp_path))
    assert (len(data.train), len(data.test), data.n_classes) == (3, 1, 10)
    assert data.train.sample_shape == (2, 34, 34)
    assert data.train.label.tolist() == [7, 2, 2]  # by their numbers: 1, 2, 10
    x = data.train.samples(np.arange(3))
    assert x.offsets.tolist() == [0, 3, 3, 4]
    assert x.t.tolist() == [3, 5, 70_000, 0]
    assert x.index.tolist() == [0, 34 * 34 + 2 * 34 + 33, 33 * 34 + 1, 34 * 34 + 5 * 34 + 4]
    last = data.test.samples(np.arange(1))
    assert (last.t.tolist(), last.index.tolist()) == ([8388607], [2 * 34 * 34 - 1])


def test_other_files_are_passed_over(tmp_path):
    others = {"Train/7/readme.txt": b"?", "Train/x/1.bin": b"?", "Train/7/00003.bin.bak": b"?"}
    assert len(load_split("nmnist:train", write(tmp_path, RECORDINGS | others))) == 3


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"Train/1/1.bin": b"1234"}, "has 4 bytes, which is no number of events of 5"),
        ({"Train/1/1.bin": event(0, 34, 0, 0)}, "beyond 34 × 34 pixels"),
        ({"Train/1/1.bin": b"", "Train/2/01.bin": b""}, "recording 1 is there twice"),
        ({"Train/1/1.bin": bytes((1 << 20) + 5)}, "has more than 1048576 bytes"),
        ({"Train/10/1.bin": b""}, r"holds no recording <digit>/<number>\.bin"),
    ],
)
def test_spoilt_files(tmp_path, files, says):
    for place in (write(tmp_path / "folder", files), zipped(tmp_path / "any.zip", files)):
        with pytest.raises(DataError, match=says) as caught:
            load_split("nmnist:train", place)
        assert str(place) in str(caught.value)


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="is no folder and no archive"):
        load_split("nmnist:train", tmp_path / "none")
    with pytest.raises(DataError, match="holds no Train/ and no archive of it; name a folder with Train/0/"):
        load_split("nmnist:train", tmp_path)


@pytest.mark.parametrize("suffix", [".zip", ".tar.xz", ".tar.gz"])
def test_a_truncated_archive(tmp_path, suffix):
    path = tmp_path / f"any{suffix}"
    if suffix == ".zip":
        zipped(path, RECORDINGS)
    else:
        tar(path, RECORDINGS, f"w:{suffix.removeprefix('.tar').removeprefix('.')}")
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="cannot be read"):
            load_split("nmnist:test", path)


def test_a_damaged_header_is_not_the_end(tmp_path):
    path = tar(tmp_path / "any.tar.gz", RECORDINGS, "w:gz")
    spoilt = bytearray(gzip.decompress(path.read_bytes()))
    spoilt[1024 + 5] ^= 1  # in the second header's name; a block of header and one of content for each
    packed = bytearray(gzip.compress(bytes(spoilt)))
    packed[-8] ^= 1  # as it would be after damage: the checksum is another
    path.write_bytes(packed)
    with pytest.raises(DataError, match="cannot be read"):
        load_split("nmnist:train", path)


def test_fetched_where_it_is_not_named(monkeypatch, tmp_path):
    asked = []

    def retrieve(url, known_hash, fname, **_):
        asked.append((known_hash, fname))
        return str(zipped(tmp_path / fname, RECORDINGS))

    monkeypatch.setattr("pooch.retrieve", retrieve)
    assert len(load_split("nmnist:test")) == 1
    assert asked == [("md5:69ca8762b2fe404d9b9bad1103e97832", "Test.zip")]
    monkeypatch.setattr("pooch.retrieve", lambda *_, **__: (_ for _ in ()).throw(OSError("no route")))
    with pytest.raises(DataError, match=r"could not be fetched; put Train\.zip and Test\.zip into a folder"):
        load_split("nmnist:test")


def test_decode_is_the_format(tmp_path):
    rng = np.random.default_rng(0)
    events = [
        (int(t), int(x), int(y), int(p))
        for t, x, y, p in zip(
            rng.integers(0, 1 << 23, 500),
            rng.integers(0, 34, 500),
            rng.integers(0, 34, 500),
            rng.integers(0, 2, 500),
            strict=True,
        )
    ]
    t, index = nmnist.decode(b"".join(event(*e) for e in events), "here")
    assert t.tolist() == [t for t, _, _, _ in events]
    assert index.tolist() == [(p * 34 + y) * 34 + x for _, x, y, p in events]
