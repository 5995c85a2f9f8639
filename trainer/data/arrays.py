"""A data set of one's own: arrays in Python, or in an .npz file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import DataError
from spikegraph.export.log import LOG
from spikegraph.trainer.data.split import MOST_CLASSES, DataSet, Part, Split

NAMES = ("x_train", "y_train", "x_test", "y_test")
_LIMIT = 8 << 30  # bytes of the four arrays


def data_of_arrays(x_train: Array, y_train: Array, x_test: Array, y_test: Array, name: str = "arrays") -> DataSet:
    """Make a data set of arrays.

    Parameters
    ----------
    x_train, x_test : ndarray (N, c, h, w), (N, h, w) or (N, n)
        uint8, 0…255, or floats, 0…1.
    y_train, y_test : ndarray of int (N,)
        Classes, 0…n_classes - 1; the largest in y_train says how many there are.
    name : str

    Raises
    ------
    DataError
        A shape, type or value is another, or the two parts do not fit each other.
    """
    train, test = _split(x_train, y_train, name, "train"), _split(x_test, y_test, name, "test")
    if train.sample_shape != test.sample_shape:
        what = f"x_train has samples {train.sample_shape}, x_test {test.sample_shape}"
        raise DataError(name, what, "give both parts the same shape")
    n_classes = int(train.label.max()) + 1
    if test.label.max() >= n_classes:
        what = f"y_test has class {test.label.max()}, but y_train has 0…{n_classes - 1} only"
        raise DataError(name, what, "give each class samples to train on")
    empty = np.setdiff1d(np.arange(n_classes), train.label)
    if empty.size:
        what = "%s: y_train has no sample of %d of its %d classes, such as %d"
        LOG.warning(what, name, empty.size, n_classes, empty[0])
    return DataSet(name=name, n_classes=n_classes, train=train, test=test)


def _split(x: Array, label: Array, name: str, part: Part) -> Split:
    x, label, where = np.asarray(x), np.asarray(label), f"{name}: x_{part}"
    if x.ndim not in (2, 3, 4) or not x.size:
        raise DataError(where, f"has shape {x.shape}", "give (N, c, h, w), (N, h, w) or (N, n), none of them 0")
    if x.dtype.kind == "f":
        if not np.isfinite(x).all() or x.min() < 0 or x.max() > 1:
            raise DataError(where, "holds values outside 0…1 (or NaN)", "scale it to 0…1")
        x = np.asarray(x, np.float32)
    elif x.dtype != np.uint8:
        raise DataError(where, f"is of {x.dtype}", "give uint8 in 0…255, or floats in 0…1")
    where = f"{name}: y_{part}"
    if label.shape != x.shape[:1] or label.dtype.kind not in "iu":
        what = f"has shape {label.shape} of {label.dtype}, expected {x.shape[:1]} integers"
        raise DataError(where, what, "give each sample its class, 0, 1, …")
    if not 0 <= label.min() <= label.max() < MOST_CLASSES:
        what = f"has classes {label.min()}…{label.max()}, expected 0…{MOST_CLASSES - 1}"
        raise DataError(where, what, "number them from 0")
    return Split(name=f"{name}:{part}", x=x[:, None] if x.ndim == 3 else x, label=label.astype(np.int64))


def load_npz(path: Path) -> DataSet:
    """Load a data set from an .npz file with x_train, y_train, x_test and y_test, see `data_of_arrays`.

    Raises
    ------
    DataError
        There is no such file, an array is missing, damaged or too large, or as in `data_of_arrays`.
    """
    remedy = f"save it with np.savez(path, {', '.join(f'{name}=…' for name in NAMES)})"
    if not path.is_file():
        raise DataError(str(path), "is not there", "name an .npz file")
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {member.filename.removesuffix(".npy"): member.file_size for member in archive.infolist()}
        missing = [name for name in NAMES if name not in sizes]
        if missing:
            raise DataError(str(path), f"lacks {', '.join(missing)}", remedy)
        size = sum(sizes[name] for name in NAMES)
        if size > _LIMIT:
            raise DataError(str(path), f"holds {size} bytes, at most {_LIMIT} are read", "make it smaller, with uint8")
        with np.load(path, allow_pickle=False) as file:  # never objects: those are pickles
            arrays = {name: file[name] for name in NAMES}
    except DataError:
        raise
    except Exception as error:
        # NumPy evaluates a header as Python's literals: a spoilt one can end in nearly any exception.
        raise DataError(str(path), f"cannot be read ({' '.join(str(error).split())})", remedy) from error
    return data_of_arrays(**arrays, name=path.stem)
