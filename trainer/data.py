"""Data sets by name: pixels as float32 in 0…1, shape (N, c, h, w), and labels. Needs no torch.

`digits` comes inside scikit-learn. `mnist` and `fashion-mnist` are read from a folder of idx files (plain or .gz) that
the user names, or else fetched once into the user's cache; their contents are verified in both cases.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.errors import DataError, OptionError


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Part of a data set.

    Parameters
    ----------
    name : str
        As in "digits:test".
    x : ndarray of float32 (N, c, h, w), 0…1
    label : ndarray of int64 (N,)
    """

    name: str
    x: Array
    label: Array

    def __len__(self) -> int:
        return len(self.label)

    def first(self, n: int) -> Split:
        """Return the first `n` samples; raises `OptionError` unless 1 <= n <= len."""
        if not 1 <= n <= len(self):
            raise OptionError("--samples", f"{n} of {self.name}, which has {len(self)}", f"choose 1…{len(self)}")
        return Split(name=self.name, x=self.x[:n], label=self.label[:n])

    def batches(self, shape: Shape, batch_size: int) -> Iterator[tuple[Array, Array, Array]]:
        """Yield (x, label, index) with x reshaped to (B, *shape); raises `DataError` if the sizes do not meet."""
        if prod(self.x.shape[1:]) != prod(shape):
            what = f"samples have {self.x.shape[1:]} = {prod(self.x.shape[1:])} values, the graph reads {shape}"
            raise DataError(self.name, what, "use the data set that the network was trained for")
        for start in range(0, len(self), batch_size):
            x = self.x[start : start + batch_size]
            yield x.reshape(len(x), *shape), self.label[start : start + batch_size], np.arange(start, start + len(x))


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSet:
    """A data set with its fixed split."""

    name: str
    n_classes: int
    train: Split
    test: Split


def _split(name: str, x: Array, label: Array) -> Split:
    return Split(name=name, x=np.asarray(x, np.float32), label=np.asarray(label, np.int64))


def _digits(_: Path | None) -> DataSet:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    x = (images / 16).reshape(-1, 1, 8, 8)
    x_train, x_test, y_train, y_test = train_test_split(x, labels, test_size=360, random_state=0, stratify=labels)
    return DataSet(
        name="digits",
        n_classes=10,
        train=_split("digits:train", x_train, y_train),
        test=_split("digits:test", x_test, y_test),
    )


@dataclass(frozen=True, kw_only=True)
class IdxFile:
    """One idx file: shape of its array of uint8, SHA-256 of its content, MD5 of the published .gz."""

    shape: Shape
    sha256: str
    gz_md5: str


IDX = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte": IdxFile(
                shape=(60000, 28, 28),
                sha256="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                gz_md5="f68b3c2dcbeaaa9fbdd348bbdeb94873",
            ),
            "train-labels-idx1-ubyte": IdxFile(
                shape=(60000,),
                sha256="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                gz_md5="d53e105ee54ea40749a09fcbcd1e9432",
            ),
            "t10k-images-idx3-ubyte": IdxFile(
                shape=(10000, 28, 28),
                sha256="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                gz_md5="9fb629c4189551a2d022fa330f9573f3",
            ),
            "t10k-labels-idx1-ubyte": IdxFile(
                shape=(10000,),
                sha256="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                gz_md5="ec29112dd5afa0611ce80d1b7f02629c",
            ),
        },
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte": IdxFile(
                shape=(60000, 28, 28),
                sha256="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                gz_md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            ),
            "train-labels-idx1-ubyte": IdxFile(
                shape=(60000,),
                sha256="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                gz_md5="25c81989df183df01b3e8a0aad5dffbe",
            ),
            "t10k-images-idx3-ubyte": IdxFile(
                shape=(10000, 28, 28),
                sha256="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                gz_md5="bef4ecab320f06d8554ea6380940ec79",
            ),
            "t10k-labels-idx1-ubyte": IdxFile(
                shape=(10000,),
                sha256="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                gz_md5="bb300cfdad3c16e7a12a480ee83cd310",
            ),
        },
    ),
}


def read_idx(path: Path, expected: IdxFile) -> Array:
    """Read one idx file of uint8, plain or gzipped, and verify its size and content.

    Raises
    ------
    DataError
        The file is damaged, has another size, or other content than the published data set.
    """
    n_dims = len(expected.shape)
    n_bytes = 4 + 4 * n_dims + prod(expected.shape)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(n_bytes + 1)  # never more than the data set holds
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(str(path), f"cannot be read ({error})", "fetch the file again") from error
    if len(content) != n_bytes:
        size = f"more than {n_bytes}" if len(content) > n_bytes else len(content)
        raise DataError(str(path), f"holds {size} bytes, expected {n_bytes}", "fetch the file again")
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected.sha256:
        what = f"its content differs from the published data set (SHA-256 {digest[:12]}…, not {expected.sha256[:12]}…)"
        raise DataError(str(path), what, "fetch the file again")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_dims).reshape(expected.shape)


def _find_idx(name: str, folder: Path) -> dict[str, Path]:
    files = IDX[name][1]
    if not folder.is_dir():
        raise DataError(str(folder), "is not a folder", f"name the folder that holds {name}'s idx files")
    candidates = [
        {stem: path for stem in files for path in (place / f"{stem}.gz", place / stem) if path.is_file()}
        for place in (folder, folder / name)
    ]
    most = max(candidates, key=len)
    if len(most) < len(files):
        missing = ", ".join(stem for stem in files if stem not in most)
        what = f"does not hold {name}: {missing} (plain or .gz) {'is' if len(most) == 3 else 'are'} missing"
        raise DataError(str(folder), what, "name the folder that holds its four idx files")
    return most


def _fetch_idx(name: str) -> dict[str, Path]:
    import pooch

    base, files = IDX[name]
    try:
        return {
            stem: Path(
                pooch.retrieve(
                    f"{base}{stem}.gz",
                    known_hash=f"md5:{file.gz_md5}",
                    fname=f"{stem}.gz",
                    path=pooch.os_cache("spikegraph") / name,
                    progressbar=True,
                )
            )
            for stem, file in files.items()
        }
    except (OSError, ValueError) as error:
        remedy = "put its four idx files into a folder and name it with --data (train) or --data-dir"
        raise DataError(name, "is not on this machine and could not be fetched", remedy) from error


def _idx(name: str) -> Callable[[Path | None], DataSet]:
    def load(folder: Path | None) -> DataSet:
        paths = _fetch_idx(name) if folder is None else _find_idx(name, folder)
        arrays = {stem: read_idx(paths[stem], IDX[name][1][stem]) for stem in paths}
        images = {part: arrays[f"{part}-images-idx3-ubyte"][:, None] / np.float32(255) for part in ("train", "t10k")}
        labels = {part: arrays[f"{part}-labels-idx1-ubyte"] for part in ("train", "t10k")}
        return DataSet(
            name=name,
            n_classes=10,
            train=_split(f"{name}:train", images["train"], labels["train"]),
            test=_split(f"{name}:test", images["t10k"], labels["t10k"]),
        )

    return load


DATASETS: dict[str, Callable[[Path | None], DataSet]] = {
    "digits": _digits,
    "mnist": _idx("mnist"),
    "fashion-mnist": _idx("fashion-mnist"),
}


def load_data(name: str, folder: Path | None = None) -> DataSet:
    """Load a data set.

    Parameters
    ----------
    name : str
        "digits", "mnist" or "fashion-mnist".
    folder : Path, optional
        Where its files are; without it they are fetched into the user's cache.

    Raises
    ------
    DataError
        Unknown name; files missing, damaged or not to be had.
    """
    if name not in DATASETS:
        raise DataError(f"data set {name!r}", "is not known", f"choose one of {', '.join(DATASETS)}")
    return DATASETS[name](folder)


def load_split(spec: str, folder: Path | None = None) -> Split:
    """Load one split, given as "digits:test" or "mnist:train"; without a split's name: the test split."""
    name, _, part = spec.partition(":")
    if part not in ("", "train", "test"):
        raise OptionError("--data", f"{part!r} is no split of {name}", f"use {name}:train or {name}:test")
    data = load_data(name, folder)
    return data.train if part == "train" else data.test
