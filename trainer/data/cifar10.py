"""CIFAR-10 in the two forms that its authors publish, each as a folder or as the .tar.gz.

The binary form is records of 3073 bytes: the label, then 32 × 32 of red, of green, of blue. The python form is pickles,
which are read without running anything (pickled.py). Whichever form it came from, the content is verified: the SHA-256
of each batch's records.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import DataError
from spikegraph.trainer.data.archive import SUFFIXES, read_members
from spikegraph.trainer.data.fetch import fetch
from spikegraph.trainer.data.pickled import read_batch
from spikegraph.trainer.data.split import Part, Split

SHAPE = (3, 32, 32)
RECORD = 3073


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One batch: number of its records, and the SHA-256 of all of them."""

    n: int = 10_000
    sha256: str


# The MD5 of these records are 5dd7e06a…, 5ea93a67…, 942cd6a4…, ae636b3b…, 53f37980… and 803d5f7f…, by which other
# loaders know the .bin files of the published archive.
BATCHES: dict[str, Batch] = {
    "data_batch_1": Batch(sha256="cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
    "data_batch_2": Batch(sha256="a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
    "data_batch_3": Batch(sha256="bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
    "data_batch_4": Batch(sha256="014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
    "data_batch_5": Batch(sha256="755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
    "test_batch": Batch(sha256="8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
}
_URL, _MD5 = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"
_FORMS = {"cifar-10-batches-bin": ".bin", "cifar-10-batches-py": ""}
_ARCHIVES = ("cifar-10-binary.tar.gz", "cifar-10-python.tar.gz")
_MOST = 64 << 20  # bytes of a batch: 30 MB of records, half as much again as Python 3 pickles them, names of pictures
_LIMIT = 400 << 20  # bytes of an archive, unpacked
_REMEDY = "name a folder with cifar-10-batches-bin, cifar-10-batches-py or one of the .tar.gz, or one of these itself"


def load_cifar10(part: Part, place: Path | None) -> Split:
    """Load one part: 50,000 pictures to train, 10,000 to test, as uint8.

    Parameters
    ----------
    part : "train" or "test"
    place : Path, optional
        A folder that holds one of the two forms, or its .tar.gz, or one of these itself; else they are fetched.

    Raises
    ------
    DataError
        Files are missing, damaged, other than the published ones, or cannot be fetched.
    """
    if place is None:
        remedy = f"put {_ARCHIVES[0]} into a folder and name it with --data (train) or --data-dir"
        place = fetch("cifar10", {_ARCHIVES[0]: (_URL, _MD5)}, remedy)[_ARCHIVES[0]]
    wanted = [name for name in BATCHES if name.startswith("test" if part == "test" else "data")]
    place = _place(place)

    def is_wanted(name: str) -> bool:
        path = PurePosixPath(name)
        return path.name.removesuffix(".bin") in wanted and path.parent.name in ("", ".", *_FORMS)

    ends = np.cumsum([BATCHES[name].n for name in wanted])
    x, label = np.empty((ends[-1], *SHAPE), np.uint8), np.empty(ends[-1], np.int64)
    found = set()
    for name, content in read_members(place, is_wanted, most=_MOST, limit=_LIMIT):
        path = PurePosixPath(name)
        where = f"{place / path.name if place.is_dir() else f'{place}: {name}'}"
        unpacked = content if path.suffix == ".bin" else read_batch(content, where, RECORD - 1)
        records = _checked(unpacked, BATCHES[path.stem], where)
        end = ends[wanted.index(path.stem)]
        x[end - len(records) : end] = records[:, 1:].reshape(-1, *SHAPE)
        label[end - len(records) : end] = records[:, 0]
        found.add(path.stem)
        if len(found) == len(wanted):
            break
    if len(found) < len(wanted):
        what = f"does not hold {', '.join(name for name in wanted if name not in found)} of CIFAR-10"
        raise DataError(str(place), what, _REMEDY)
    return Split(name=f"cifar10:{part}", x=x, label=label)


def _place(place: Path) -> Path:
    """Return the folder that holds the batches themselves, or the archive."""
    if place.is_file() and place.name.endswith(SUFFIXES):
        return place
    candidates = [*(place / folder for folder in _FORMS), place]
    holding = [
        folder
        for folder in candidates
        if any((folder / f"{batch}{suffix}").is_file() for batch in BATCHES for suffix in _FORMS.values())
    ]
    packed = [place / archive for archive in _ARCHIVES if (place / archive).is_file()]
    if not holding and not packed:
        what = "holds no CIFAR-10" if place.exists() else "does not exist"
        raise DataError(str(place), what, _REMEDY)
    return (holding or packed)[0]


def _checked(records: bytes, expected: Batch, where: str) -> Array:
    n_bytes = expected.n * RECORD
    if len(records) != n_bytes:
        what = f"holds {len(records)} bytes of records, expected {expected.n} of {RECORD} = {n_bytes}"
        raise DataError(where, what, "fetch the file again")
    digest = hashlib.sha256(records).hexdigest()
    if digest != expected.sha256:
        what = f"its content differs from the published data set (SHA-256 {digest[:12]}…, not {expected.sha256[:12]}…)"
        raise DataError(where, what, "fetch the file again")
    return np.frombuffer(records, np.uint8).reshape(expected.n, RECORD)
