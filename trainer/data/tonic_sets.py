"""Event sets that the package tonic knows how to fetch and read (the extra `events`).

Their recordings stay in their files until they are chosen: a set may be larger than memory. Where tonic has no fixed
split, every tenth recording of a class, in the order of the files' names, is for testing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.errors import DataError
from spikegraph.export.recordings import Recordings
from spikegraph.trainer.data.split import Part, Recorded, Split


@dataclass(frozen=True, kw_only=True)
class TonicSet:
    """A data set of tonic's: the class, the shape of a sample, how many classes, whether it has a split of its own."""

    dataset: str
    shape: Shape
    n_classes: int
    split: bool


TONIC: dict[str, TonicSet] = {
    "dvs-gesture": TonicSet(dataset="DVSGesture", shape=(2, 128, 128), n_classes=11, split=True),
    "cifar10-dvs": TonicSet(dataset="CIFAR10DVS", shape=(2, 128, 128), n_classes=10, split=False),
    "n-caltech101": TonicSet(dataset="NCALTECH101", shape=(2, 180, 240), n_classes=101, split=False),
    "shd": TonicSet(dataset="SHD", shape=(700,), n_classes=20, split=True),
}


def load_tonic(name: str, part: Part, folder: Path | None) -> Split:
    """Load one part of a data set of `TONIC`; it is fetched into `folder`, or the cache, unless it is there.

    Raises
    ------
    DataError
        It is not there and cannot be fetched, is damaged, or has other classes than it should.
    """
    import pooch
    import tonic.datasets

    known = TONIC[name]
    place = folder if folder is not None else pooch.os_cache("spikegraph") / name
    try:
        options = {"train": part == "train"} if known.split else {}
        dataset = getattr(tonic.datasets, known.dataset)(save_to=str(place), **options)
    except ModuleNotFoundError:
        raise  # an extra
    except Exception as error:  # whatever reading a damaged archive ends in
        remedy = f"fetch it with tonic.datasets.{known.dataset}(save_to=FOLDER) elsewhere, and name that folder"
        raise DataError(name, f"is not in {place} and could not be fetched ({error})", remedy) from error
    return split_of(dataset, name, part)


def split_of(dataset: Any, name: str, part: Part) -> Split:
    """Return one part of a data set that tonic has opened."""
    known = TONIC[name]
    files, targets = _in_order(dataset, name)
    classes, label = np.unique(targets, return_inverse=True)
    if len(classes) != known.n_classes:
        what = f"has {len(classes)} classes in {len(files)} recordings, expected {known.n_classes}"
        raise DataError(name, what, "fetch it again")
    chosen = np.arange(len(files))
    if not known.split:
        place_in_class = np.concatenate([np.arange(n) for n in np.bincount(label)])[_ranks(label)]
        chosen = np.flatnonzero((place_in_class % 10 == 9) == (part == "test"))
    x = _InFiles(dataset, files[chosen], known.shape, name)
    return Split(name=f"{name}:{part}", x=x, label=label[chosen].astype(np.int64))


def _in_order(dataset: Any, name: str) -> tuple[Array, Array]:
    """Numbers and targets of the recordings, sorted by file: tonic lists them as the file system does."""
    if len(dataset.data) == len(dataset):
        order = np.array(sorted(range(len(dataset)), key=lambda i: Path(dataset.data[i]).as_posix()), np.int64)
        return order, np.asarray(dataset.targets)[order]
    return np.arange(len(dataset)), np.array([_recording(dataset, i, name)[1] for i in range(len(dataset))])


def _recording(dataset: Any, number: int, name: str, fields: tuple[str, ...] = ()) -> tuple[list[Array], Any]:
    """Return these fields of a recording's events, and its target, as tonic reads them."""
    try:
        events, target = dataset[number]
        return [events[field].astype(np.int64) for field in fields], target
    except ModuleNotFoundError:
        raise
    except Exception as error:
        # tonic reads files of several formats, and does not say what a damaged one of each ends in.
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        file = f" ({dataset.data[number]})" if len(dataset.data) == len(dataset) else ""
        raise DataError(name, f"recording {number}{file} cannot be read ({reason})", "fetch it again") from error


def _ranks(label: Array) -> Array:
    """Return the place of each sample in the order of their classes."""
    ranks = np.empty(len(label), np.int64)
    ranks[np.argsort(label, kind="stable")] = np.arange(len(label))
    return ranks


class _InFiles:
    """Recordings that tonic reads when they are chosen."""

    def __init__(self, dataset: Any, files: Array, shape: Shape, name: str) -> None:
        self._dataset, self._files, self._shape, self._name = dataset, files, shape, name

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self._shape)

    @property
    def content(self) -> Array:
        return self._files

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, chosen: slice, /) -> Recorded: ...

    @overload
    def __getitem__(self, chosen: Array, /) -> Recordings: ...

    def __getitem__(self, chosen: slice | Array, /) -> Recorded:
        if isinstance(chosen, slice):
            return _InFiles(self._dataset, self._files[chosen], self._shape, self._name)
        return Recordings.joined([self._read(int(file)) for file in self._files[chosen]], self._shape)

    def _read(self, file: int) -> tuple[Array, Array]:
        fields = ("t", "p", "y", "x") if len(self._shape) == 3 else ("t", "x")
        (t, *at), _ = _recording(self._dataset, file, self._name, fields)
        for values, size in zip(at, self._shape, strict=True):
            if values.size and not 0 <= values.min() <= values.max() < size:
                what = f"recording {file} has events at {values.min()}…{values.max()}, expected 0…{size - 1}"
                raise DataError(self._name, what, "fetch it again")
        return (t - t.min() if t.size else t), np.ravel_multi_index(tuple(at), self._shape)
