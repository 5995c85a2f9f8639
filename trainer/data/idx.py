"""MNIST and its like: idx files (plain or .gz) in a folder that the user names, or else fetched once into the cache.

Their contents are verified in both cases.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.errors import DataError
from spikegraph.trainer.data.fetch import fetch
from spikegraph.trainer.data.split import Part, Split


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


def load_idx(name: str, part: Part, folder: Path | None) -> Split:
    """Load one part of a data set of `IDX`.

    Raises
    ------
    DataError
        Files are missing, damaged, other than the published ones, or cannot be fetched.
    """
    paths = _fetched(name, part) if folder is None else _found(name, part, folder)
    images, labels = (read_idx(path, IDX[name][1][stem]) for stem, path in paths.items())
    return Split(name=f"{name}:{part}", x=images[:, None], label=labels.astype(np.int64))


def _stems(name: str, part: Part) -> list[str]:
    """Images, then labels."""
    return [stem for stem in IDX[name][1] if stem.startswith("train" if part == "train" else "t10k")]


def _found(name: str, part: Part, folder: Path) -> dict[str, Path]:
    stems = _stems(name, part)
    if not folder.is_dir():
        raise DataError(str(folder), "is not a folder", f"name the folder that holds {name}'s idx files")
    candidates = [
        {stem: path for stem in stems for path in (place / f"{stem}.gz", place / stem) if path.is_file()}
        for place in (folder, folder / name)
    ]
    most = max(candidates, key=len)
    if len(most) < len(stems):
        missing = ", ".join(stem for stem in stems if stem not in most)
        what = f"does not hold {name}: {missing} (plain or .gz) {'are' if not most else 'is'} missing"
        raise DataError(str(folder), what, "name the folder that holds its four idx files")
    return {stem: most[stem] for stem in stems}


def _fetched(name: str, part: Part) -> dict[str, Path]:
    base, files = IDX[name]
    wanted = {f"{stem}.gz": (f"{base}{stem}.gz", files[stem].gz_md5) for stem in _stems(name, part)}
    remedy = "put its four idx files into a folder and name it with --data (train) or --data-dir"
    return {file.removesuffix(".gz"): path for file, path in fetch(name, wanted, remedy).items()}
