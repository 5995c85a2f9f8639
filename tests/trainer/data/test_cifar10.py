"""CIFAR-10: both published forms hold the same, and a pickle is read without running anything."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import sys
import tarfile

import numpy as np
import pytest

from spikegraph.export.errors import DataError
from spikegraph.trainer.data import cifar10, load_data, load_split
from spikegraph.trainer.data.cifar10 import Batch
from spikegraph.trainer.data.pickled import read_batch

N = 2  # pictures in a batch
BIN, PY = "cifar-10-batches-bin", "cifar-10-batches-py"


@pytest.fixture
def records(monkeypatch):
    """Put six batches of two pictures in the place of the published ones."""
    rng = np.random.default_rng(0)
    made = {}
    for name in list(cifar10.BATCHES):
        made[name] = rng.integers(0, 256, (N, 3073)).astype(np.uint8)
        made[name][:, 0] %= 10
        digest = hashlib.sha256(made[name].tobytes()).hexdigest()
        monkeypatch.setitem(cifar10.BATCHES, name, Batch(n=N, sha256=digest))
    return made


def python2_pickle(records):
    """Pickle a batch as its authors' Python 2 did, protocol 2: text is bytes, and the array is of an older NumPy."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    raw = records[:, 1:].tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
        + text(b"b")
        + b"\x87R"
        + b"(K\x01"
        + b"K"
        + bytes([len(records)])
        + b"M\x00\x0c\x86"
        + b"cnumpy\ndtype\n"
        + text(b"u1")
        + b"K\x00K\x01\x87R(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + b"\x89T"
        + struct.pack("<I", len(raw))
        + raw
        + b"tb"
    )
    labels = b"](" + b"".join(b"K" + bytes([label]) for label in records[:, 0]) + b"e"
    entries = [(b"batch_label", text(b"training batch 1 of 5")), (b"labels", labels), (b"data", array)]
    return b"\x80\x02}q\x01(" + b"".join(text(key) + value for key, value in entries) + b"u."


def python3_pickle(records, protocol):
    return pickle.dumps({"labels": records[:, 0].tolist(), "data": records[:, 1:].copy()}, protocol)


PICKLES = {
    "python 2": python2_pickle,
    "in Fortran order": lambda records: pickle.dumps(
        {"labels": records[:, 0].tolist(), "data": np.asfortranarray(records[:, 1:])}, 2
    ),
    **{f"python 3, protocol {k}": lambda records, k=k: python3_pickle(records, k) for k in (2, 3, 4)},
}


def write(folder, contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def in_folder(place, contents, form):
    write(place / form, contents)


def in_the_folder_itself(place, contents, form):
    write(place, contents)


def in_archive(place, contents, form):
    published = {BIN: "cifar-10-binary.tar.gz", PY: "cifar-10-python.tar.gz"}[form]
    with tarfile.open(place / published, "w:gz") as archive:
        for name, content in {"readme.html": b"..", **contents}.items():
            member = tarfile.TarInfo(f"{form}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("put", [in_folder, in_the_folder_itself, in_archive])
@pytest.mark.parametrize("form", [BIN, *PICKLES])
def test_both_forms(tmp_path, records, put, form):
    if form == BIN:
        put(tmp_path, {f"{name}.bin": r.tobytes() for name, r in records.items()}, BIN)
    else:
        put(tmp_path, {name: PICKLES[form](r) for name, r in records.items()}, PY)
    data = load_data("cifar10", tmp_path)
    assert (len(data.train), len(data.test), data.n_classes) == (10, 2, 10)
    train = np.concatenate([records[f"data_batch_{k}"] for k in range(1, 6)])
    assert data.train.x.dtype == np.uint8
    assert np.array_equal(data.train.x, train[:, 1:].reshape(10, 3, 32, 32))
    assert data.train.label.tolist() == train[:, 0].tolist()
    assert np.array_equal(data.test.x.reshape(2, -1), records["test_batch"][:, 1:])
    assert data.train.samples(np.arange(3)).max() <= 1


def test_an_archive_named_itself_and_only_the_part_that_is_asked_for(tmp_path, records):
    in_archive(tmp_path, {"test_batch.bin": records["test_batch"].tobytes()}, BIN)
    assert len(load_split("cifar10:test", tmp_path / "cifar-10-binary.tar.gz")) == 2
    with pytest.raises(DataError, match=r"does not hold data_batch_1, .*data_batch_5 of CIFAR-10; name a folder with"):
        load_split("cifar10:train", tmp_path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda c: c[:-1], r"test_batch\.bin: holds 6145 bytes of records, expected 2 of 3073 = 6146"),
        (lambda c: c + b"0", "holds 6147 bytes"),
        (lambda c: b"", "holds 0 bytes"),
        (lambda c: c[:-1] + bytes([c[-1] ^ 1]), "its content differs from the published data set"),
    ],
)
def test_spoilt_records(tmp_path, records, spoil, says):
    for put in (in_folder, in_archive):
        put(tmp_path / put.__name__, {}, BIN) if put is in_folder else (tmp_path / put.__name__).mkdir()
        put(tmp_path / put.__name__, {"test_batch.bin": spoil(records["test_batch"].tobytes())}, BIN)
        with pytest.raises(DataError, match=says):
            load_split("cifar10:test", tmp_path / put.__name__)


def test_a_file_that_is_too_large(tmp_path, records):
    path = tmp_path / "test_batch.bin"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing
    with pytest.raises(DataError, match="has more than 67108864 bytes"):
        load_split("cifar10:test", tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="holds no CIFAR-10; name a folder with"):
        load_data("cifar10", tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        load_data("cifar10", tmp_path / "none")


def test_fetched(monkeypatch, tmp_path, records):
    asked = []

    def retrieve(url, known_hash, fname, **_):
        asked.append((known_hash, fname))
        in_archive(tmp_path, {f"{name}.bin": r.tobytes() for name, r in records.items()}, BIN)
        return str(tmp_path / fname)

    monkeypatch.setattr("pooch.retrieve", retrieve)
    assert len(load_split("cifar10:test")) == 2
    assert asked == [("md5:c32a1d4ab5d03f1284b67883e8d87530", "cifar-10-binary.tar.gz")]


class Hostile:
    """Would leave a mark if it were called."""

    ran: list[str] = []  # noqa: RUF012

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def mark(text="called"):
    Hostile.ran.append(text)


def hostile_pickles(tmp_path):
    here = tmp_path / "ran"
    yield "os.system", pickle.dumps(Hostile(__import__("os").system, f"touch {here}"))
    yield "eval", pickle.dumps({"data": Hostile(eval, f"open({str(here)!r}, 'w')"), "labels": []})
    yield "a function of this module", pickle.dumps({"data": Hostile(mark), "labels": [0]})
    yield "numpy.load", b"\x80\x02cnumpy\nload\nU\x01x\x85R."
    yield "a dotted name", b"\x80\x04\x8c\x05numpy\x8c\x0dndarray.dumps\x93."
    yield "INST", b"(S'true'\nios\nsystem\n."
    yield "OBJ", b"(cos\nsystem\nS'true'\no."
    yield "persistent", b"Pname\n."
    yield "extension", b"\x80\x02\x82\x01."


@pytest.mark.parametrize("number", range(9))
def test_hostile_pickles_run_nothing(tmp_path, number):
    Hostile.ran.clear()
    name, content = list(hostile_pickles(tmp_path))[number]
    before = set(sys.modules)
    with pytest.raises(DataError, match=r"here: is no batch of CIFAR-10's python form .*; fetch the file again"):
        read_batch(content, "here", 3072)
    assert not Hostile.ran, name
    assert not (tmp_path / "ran").exists()
    assert set(sys.modules) == before


def test_a_hostile_file_is_named(tmp_path, records):
    write(tmp_path, {"test_batch": pickle.dumps(Hostile(mark))})
    with pytest.raises(DataError, match=r"test_batch: is no batch .* it asks for .*mark, which CIFAR-10 does not need"):
        load_split("cifar10:test", tmp_path)
    assert not Hostile.ran


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "pickle exhausted|no data|Ran out|EOF"),
        (b"\x80\x02}.", "KeyError: 'data'"),
        (b"not a pickle", "at position 0"),
        (b"\x80\x02]r\xff\xff\xff\x7f.", r"LONG_BINPUT 2147483647, beyond what CIFAR-10 needs"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.", "expected 1099511627776 bytes"),
        (b"\x80\x02})" + b"\x85" * 100_000 + b"Ns.", "TUPLE1 1001, beyond what CIFAR-10 needs"),
        (pickle.dumps({"data": [1], "labels": [1]}), "its data are no array"),
        (pickle.dumps({"data": np.zeros((2, 5), np.uint8), "labels": [0, 0]}, 2), r"u1 \(2, 5\), expected bytes"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.int8), "labels": [0, 0]}, 2), r"its data are i1"),
        (pickle.dumps({"data": np.array([None], object), "labels": [0]}, 2), "its data are O8|has no len"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, 2), "no list of 2 labels"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]}, 2), "labels that are not 0…9"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, "1"]}, 2), "labels that are not 0…9"),
    ],
)
def test_pickles_of_something_else(content, says):
    with pytest.raises(DataError, match=says):
        read_batch(content, "here", 3072)


def test_every_truncation_of_a_pickle(records):
    content = python3_pickle(records["test_batch"], 2)
    for size in [*range(0, 200), *range(200, len(content), 997), len(content) - 1]:
        with pytest.raises(DataError):
            read_batch(content[:size], "here", 3072)
