"""The data sets that have a name, and how they are asked for: by name, or as an .npz file of one's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from spikegraph.export.errors import DataError, OptionError
from spikegraph.trainer.data.arrays import load_npz
from spikegraph.trainer.data.cifar10 import load_cifar10
from spikegraph.trainer.data.digits import load_digits
from spikegraph.trainer.data.idx import IDX, load_idx
from spikegraph.trainer.data.nmnist import load_nmnist
from spikegraph.trainer.data.split import DataSet, Part, Split
from spikegraph.trainer.data.tonic_sets import TONIC, load_tonic


@dataclass(frozen=True, kw_only=True)
class Named:
    """A data set with a name: how many classes it has, and what loads one part of it from a folder or the cache."""

    n_classes: int
    load: Callable[[Part, Path | None], Split]


DATASETS: dict[str, Named] = {
    "digits": Named(n_classes=10, load=load_digits),
    **{name: Named(n_classes=10, load=partial(load_idx, name)) for name in IDX},
    "cifar10": Named(n_classes=10, load=load_cifar10),
    "nmnist": Named(n_classes=10, load=load_nmnist),
    **{name: Named(n_classes=known.n_classes, load=partial(load_tonic, name)) for name, known in TONIC.items()},
}
_OWN = ".npz"


def load_data(name: str, place: Path | None = None) -> DataSet:
    """Load a data set.

    Parameters
    ----------
    name : str
        One of `DATASETS`, or the path of an .npz file (in `place`, if that is given and the path is relative).
    place : Path, optional
        Where its files are; without it they are fetched into the user's cache.

    Raises
    ------
    DataError
        Unknown name; files missing, damaged or not to be had.
    """
    if name.endswith(_OWN):
        return load_npz(Path(name) if place is None else place / name)
    known = _known(name)
    train, test = known.load("train", place), known.load("test", place)
    return DataSet(name=name, n_classes=known.n_classes, train=train, test=test)


def load_split(spec: str | Split, place: str | Path | None = None, first: int | None = None) -> Split:
    """Load one split, or its first so many samples: "digits:test"; without a split's name the test split.

    `place` is as in `load_data`. A Split is taken as it is.
    """
    split = spec if isinstance(spec, Split) else _whole_split(spec, None if place is None else Path(place))
    return split if first is None else split.first(first)


def _whole_split(spec: str, place: Path | None) -> Split:
    name, _, part = (spec, "", "") if spec.endswith(_OWN) or ":" not in spec else spec.rpartition(":")
    if part not in ("", "train", "test"):
        raise OptionError("--data", f"{part!r} is no split of {name}", f"use {name}:train or {name}:test")
    if name.endswith(_OWN):
        data = load_data(name, place)
        return data.train if part == "train" else data.test
    return _known(name).load("train" if part == "train" else "test", place)


def _known(name: str) -> Named:
    if name not in DATASETS:
        what = f"choose one of {', '.join(DATASETS)}, or an {_OWN} file"
        raise DataError(f"data set {name!r}", "is not known", what)
    return DATASETS[name]
