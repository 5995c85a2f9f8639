"""A data set and its parts: samples, which are pixels or an event camera's recordings, and their labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Literal, Protocol, overload

import numpy as np

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.errors import DataError, OptionError
from spikegraph.export.recordings import Recordings

Part = Literal["train", "test"]


MOST_CLASSES = 1 << 16  # the largest label says how many there are: a spoilt one would make an output of any size


class Recorded(Protocol):
    """Recordings, or what becomes recordings once samples are chosen: until then it may stay in its files."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of samples, and the shape of one."""

    @property
    def content(self) -> Array:
        """Numbers that are the same for the same recordings."""

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, chosen: slice, /) -> Recorded: ...

    @overload
    def __getitem__(self, chosen: Array, /) -> Recordings: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Part of a data set.

    Parameters
    ----------
    name : str
        As in "digits:test".
    x : ndarray (N, c, h, w) of uint8, 0…255, or of float32, 0…1; or recordings of that shape
        As they are stored; `samples` gives them as they are used.
    label : ndarray of int64 (N,)
    """

    name: str
    x: Array | Recorded
    label: Array

    def __len__(self) -> int:
        return len(self.label)

    @property
    def sample_shape(self) -> Shape:
        """Shape of one sample, (c, h, w) or (n,)."""
        return self.x.shape[1:]

    def samples(self, chosen: Array) -> Array | Recordings:
        """Return the samples of these numbers: pixels as float32 in 0…1, or recordings."""
        x = self.x[chosen]
        return x / np.float32(255) if isinstance(x, np.ndarray) and x.dtype == np.uint8 else x

    @property
    def content(self) -> tuple[Array, ...]:
        """Arrays that are the same for the same samples: those stored, or which files of a set hold them."""
        return (self.x if isinstance(self.x, np.ndarray) else self.x.content), self.label

    def first(self, n: int) -> Split:
        """Return the first `n` samples; raises `OptionError` unless 1 <= n <= len."""
        if not 1 <= n <= len(self):
            raise OptionError("--samples", f"{n} of {self.name}, which has {len(self)}", f"choose 1…{len(self)}")
        return replace(self, x=self.x[:n], label=self.label[:n])

    def downscaled(self, factor: int) -> Split:
        """Return recordings with squares of `factor` × `factor` pixels joined into one; raises `OptionError` else."""
        if factor == 1:
            return self
        if isinstance(self.x, np.ndarray) or len(self.sample_shape) != 3:
            what = f"{factor}, but {self.name} has no recordings of an event camera"
            raise OptionError("downscale", what, "leave it out, or choose an event set")
        x = self.x.downscaled(factor) if isinstance(self.x, Recordings) else _Downscaled(self.x, factor)
        return replace(self, x=x)

    def batches(self, shape: Shape, batch_size: int) -> Iterator[tuple[Array | Recordings, Array, Array]]:
        """Yield (x, label, index), with x reshaped to (B, *shape).

        Recordings are downscaled first if that gives the size of `shape`. Raises `DataError` if the sizes do not meet.
        """
        split = self.downscaled(self._factor(shape))
        for start in range(0, len(self), batch_size):
            index = np.arange(start, min(start + batch_size, len(self)))
            yield split.samples(index).reshape(len(index), *shape), self.label[index], index

    def _factor(self, shape: Shape) -> int:
        """Return the factor of `downscaled` after which a sample has the size of `shape`."""
        of_camera = not isinstance(self.x, np.ndarray) and len(self.sample_shape) == 3
        for factor in range(1, max(self.sample_shape) + 1 if of_camera else 2):
            if prod(_small(self.sample_shape, factor)) == prod(shape):
                return factor
        what = f"samples have {self.sample_shape} = {prod(self.sample_shape)} values, the graph reads {shape}"
        raise DataError(self.name, what, "use the data set that the network was trained for")


class _Downscaled:
    """Recordings that are downscaled when they are chosen."""

    def __init__(self, x: Recorded, factor: int) -> None:
        self._x, self._factor = x, factor

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self._x), *_small(self._x.shape[1:], self._factor))

    @property
    def content(self) -> Array:
        return np.append(self._x.content, self._factor)

    def __len__(self) -> int:
        return len(self._x)

    @overload
    def __getitem__(self, chosen: slice, /) -> Recorded: ...

    @overload
    def __getitem__(self, chosen: Array, /) -> Recordings: ...

    def __getitem__(self, chosen: slice | Array, /) -> Recorded:
        if isinstance(chosen, slice):
            return _Downscaled(self._x[chosen], self._factor)
        return self._x[chosen].downscaled(self._factor)


def _small(shape: Shape, factor: int) -> Shape:
    return shape if factor == 1 else (shape[0], *(-(-side // factor) for side in shape[1:]))


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSet:
    """A data set with its fixed split."""

    name: str
    n_classes: int
    train: Split
    test: Split

    def downscaled(self, factor: int) -> DataSet:
        """Return event sets with squares of `factor` × `factor` pixels joined into one."""
        return replace(self, train=self.train.downscaled(factor), test=self.test.downscaled(factor))
