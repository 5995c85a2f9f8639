"""Data sets of one's own: what is taken as it is, and one message for each thing that is not."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from npy_headers import SPOILT, as_npy, with_header

from spikegraph.export.errors import DataError, OptionError
from spikegraph.trainer.data import arrays, data_of_arrays, load_data, load_split

RNG = np.random.default_rng(0)
GOOD = {
    "x_train": RNG.integers(0, 256, (6, 4, 5)).astype(np.uint8),
    "y_train": np.array([0, 1, 2, 0, 1, 2]),
    "x_test": RNG.integers(0, 256, (2, 4, 5)).astype(np.uint8),
    "y_test": np.array([2, 0], np.uint8),
}


def test_of_arrays():
    data = data_of_arrays(**GOOD, name="own")
    assert (data.name, data.n_classes, data.train.name, data.test.name) == ("own", 3, "own:train", "own:test")
    assert data.train.sample_shape == (1, 4, 5)
    assert data.test.label.tolist() == [2, 0]
    np.testing.assert_allclose(data.test.samples(np.arange(2))[:, 0], GOOD["x_test"] / 255, rtol=1e-6)


@pytest.mark.parametrize("shape", [(7,), (4, 5), (3, 4, 5)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats(shape, dtype):
    x = RNG.random((6, *shape)).astype(dtype)
    data = data_of_arrays(x, GOOD["y_train"], x[:2], GOOD["y_test"])
    assert data.train.x.dtype == np.float32
    assert data.train.sample_shape == ((1, *shape) if len(shape) == 2 else shape)
    assert np.array_equal(data.train.samples(np.arange(6)).ravel(), x.astype(np.float32).ravel())


def with_nan(x):
    x = x / np.float32(255)
    x[1, 2, 3] = np.nan
    return x


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x_train": lambda x: with_nan(x)}, r"x_train: holds values outside 0…1 \(or NaN\); scale it to 0…1"),
        ({"x_test": lambda x: x.astype(np.float32)}, "x_test: holds values outside 0…1"),
        ({"x_train": lambda x: x.astype(np.int64)}, "x_train: is of int64; give uint8 in 0…255, or floats in 0…1"),
        ({"x_train": lambda x: x[0, 0]}, r"x_train: has shape \(5,\)"),
        ({"x_train": lambda x: x[:0], "y_train": lambda y: y[:0]}, r"x_train: has shape \(0, 4, 5\)"),
        ({"x_test": lambda x: x[:, :3]}, r"x_train has samples \(1, 4, 5\), x_test \(1, 3, 5\)"),
        ({"y_train": lambda y: y[:5]}, r"y_train: has shape \(5,\) of int64, expected \(6,\) integers"),
        ({"y_train": lambda y: y.astype(float)}, r"y_train: has shape \(6,\) of float64"),
        ({"y_train": lambda y: y - 1}, "y_train: has classes -1…1"),
        ({"y_test": lambda y: y + 2}, r"y_test has class 4, but y_train has 0…2 only"),
    ],
)
def test_what_is_refused(tmp_path, change, says):
    given = {name: change.get(name, lambda a: a)(array) for name, array in GOOD.items()}
    with pytest.raises(DataError, match=says):
        data_of_arrays(**given)
    np.savez(tmp_path / "own.npz", **given)
    with pytest.raises(DataError, match=says):
        load_data(str(tmp_path / "own.npz"))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    path = tmp_path / "own.npz"
    save(path, **GOOD)
    for data in (load_data(str(path)), load_data("own.npz", tmp_path)):
        assert np.array_equal(data.train.x[:, 0], GOOD["x_train"])
    assert load_split(str(path)).name == load_split(f"{path}:test").name == "own:test"
    assert len(load_split(f"{path}:train")) == 6
    with pytest.raises(OptionError, match="'dev' is no split"):
        load_split(f"{path}:dev")


def test_classes_without_samples_are_told(caplog):
    x, y = np.zeros((3, 4), np.uint8), np.array([0, 1000, 2000])
    assert data_of_arrays(x, y, x, y, name="own").n_classes == 2001
    assert caplog.messages == ["own: y_train has no sample of 1998 of its 2001 classes, such as 1"]


def test_objects_are_not_unpickled(tmp_path):
    np.savez(tmp_path / "own.npz", **GOOD | {"y_test": np.array([{}, {}], object)})
    with pytest.raises(DataError, match=r"own\.npz: cannot be read \(Object arrays cannot be loaded"):
        load_data("own.npz", tmp_path)


def test_spoilt_npz(tmp_path):
    path = tmp_path / "own.npz"
    with pytest.raises(DataError, match="is not there"):
        load_data(str(path))
    np.savez(path, **{name: array for name, array in GOOD.items() if name != "y_test"})
    with pytest.raises(DataError, match=r"lacks y_test; save it with np\.savez"):
        load_data(str(path))
    np.savez(path, **GOOD)
    whole = path.read_bytes()
    for content in (
        b"",
        b"no zip",
        whole[: len(whole) // 2],
        whole.replace(b"'shape': (6, 4, 5)", b"'shape': (6, 4, 9)"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read"):
            load_data(str(path))


@pytest.mark.parametrize("header", SPOILT)
def test_spoilt_headers(tmp_path, header):
    path = tmp_path / "own.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in GOOD.items():
            archive.writestr(f"{name}.npy", with_header(header) if name == "x_train" else as_npy(array))
    with pytest.raises(DataError, match=r"own\.npz: (cannot be read|x_train)|own: x_train"):
        load_data(str(path))


def test_sizes_are_checked_first(tmp_path, monkeypatch):
    path = tmp_path / "own.npz"
    np.savez_compressed(path, **GOOD)
    monkeypatch.setattr(arrays, "_LIMIT", 200)
    with pytest.raises(DataError, match=r"holds \d+ bytes, at most 200 are read"):
        load_data(str(path))


def test_a_header_that_announces_petabytes(tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, **GOOD)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["x_train.npy"] = members["x_train.npy"].replace(b"(6, 4, 5)", b"(1<<50,)")
    huge = members["x_test.npy"].replace(b"(2, 4, 5), }        ", b"(9999999999999, 9), }")
    assert huge != members["x_test.npy"]
    for name, content in (("x_train.npy", members["x_train.npy"]), ("x_test.npy", huge)):
        with zipfile.ZipFile(path, "w") as archive:
            for other, kept in (members | {name: content}).items():
                archive.writestr(other, kept)
        with pytest.raises(DataError, match="cannot be read"):
            load_data(str(path))
