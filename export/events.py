"""Spikes of an input as a list of events instead of a raster: one entry a spike, so that silence costs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.errors import DataError

_REMEDY = "make them with Events.of or Events.from_raster"


@dataclass(frozen=True, kw_only=True, eq=False)
class Events:
    """The spikes of one input over B samples of T steps, sample by sample, step by step, neurons rising within a step.

    It is checked where it is made, once, and cannot be changed afterwards.

    Parameters
    ----------
    shape : tuple of int
        Shape of the input, (n,) or (c, h, w).
    n_steps : int
        Length of the window, T.
    offsets : ndarray of int64 (B · T + 1,)
        The events of sample b in step t are those from `offsets[b · T + t]` up to, not including, the next offset.
    index : ndarray of int32 (events,)
        Neuron that spikes, in C order of the shape.
    value : ndarray of int32 (events,), optional
        What the spike carries, never 0; without it each carries 1.

    Raises
    ------
    DataError
        The offsets do not rise from 0 to the number of events, an index lies outside the shape or does not rise within
        its step, a value is 0, or an array is not integer.
    """

    shape: Shape
    n_steps: int
    offsets: Array
    index: Array
    value: Array | None = None

    def __post_init__(self) -> None:
        for name, dtype in (("offsets", np.int64), ("index", np.int32), ("value", np.int32)):
            array = getattr(self, name)
            if array is not None:
                object.__setattr__(self, name, _frozen(array, name, dtype))
        n_events, offsets = self.index.size, self.offsets
        if self.n_steps < 1 or (len(offsets) - 1) % self.n_steps or len(offsets) == 0:
            what = f"have {len(offsets)} offsets, expected one for each of {self.n_steps} steps of each sample, and 1"
            raise DataError("events", what, _REMEDY)
        if offsets[0] != 0 or offsets[-1] != n_events or (offsets[1:] < offsets[:-1]).any():
            raise DataError("events", f"have offsets that do not rise from 0 to their number, {n_events}", _REMEDY)
        if n_events and not 0 <= self.index.min() <= self.index.max() < prod(self.shape):
            held = f"{self.index.min()}…{self.index.max()}"
            raise DataError("events", f"have indices {held}, expected 0…{prod(self.shape) - 1}", _REMEDY)
        stays = self.index[1:] <= self.index[:-1]
        stays[offsets[(offsets > 0) & (offsets < n_events)] - 1] = False  # a step begins behind it
        if stays.any():
            what = f"have indices that do not rise within a step (event {int(stays.argmax()) + 1})"
            raise DataError("events", what, _REMEDY)
        if self.value is not None and (self.value.shape != self.index.shape or not self.value.all()):
            raise DataError("events", "have a value that is 0, or not one value each", _REMEDY)

    @property
    def n_samples(self) -> int:
        """Number of samples, B."""
        return (len(self.offsets) - 1) // self.n_steps

    @property
    def value_range(self) -> tuple[int, int]:
        """Least and largest value that a spike carries; 0, 0 if there is none."""
        if not self.index.size:
            return 0, 0
        return (1, 1) if self.value is None else (int(self.value.min()), int(self.value.max()))

    @classmethod
    def of(
        cls,
        *,
        step: Array,
        sample: Array,
        index: Array,
        value: Array | None = None,
        n_steps: int,
        n_samples: int,
        shape: Shape,
    ) -> Events:
        """Sort events that are given in any order.

        Parameters
        ----------
        step, sample, index : ndarray of int (events,)
        value : ndarray of int (events,), optional
        n_steps, n_samples : int
        shape : tuple of int

        Raises
        ------
        DataError
            A step or sample is out of range, or anything that `Events` refuses, such as a neuron twice in a step.
        """
        step, sample, index = (np.asarray(a) for a in (step, sample, index))
        for name, array, n in (("steps", step, n_steps), ("samples", sample, n_samples)):
            if array.shape != index.shape:
                raise DataError("events", f"have {array.size} {name} and {index.size} indices", "give one each")
            if array.size and not 0 <= array.min() <= array.max() < n:
                raise DataError("events", f"have {name} {array.min()}…{array.max()}, expected 0…{n - 1}", _REMEDY)
        order = np.lexsort((index, step, sample))
        place = sample.astype(np.int64) * n_steps + step
        return cls(
            shape=shape,
            n_steps=n_steps,
            offsets=_offsets(np.bincount(place, minlength=n_samples * n_steps)),
            index=index[order],
            value=None if value is None else np.asarray(value)[order],
        )

    @classmethod
    def from_raster(cls, raster: Array) -> Events:
        """List the entries of a raster of integers (T, B, *shape) that are not 0."""
        n_steps, n_samples, *shape = raster.shape
        n = prod(shape)
        flat = np.ascontiguousarray(raster.reshape(n_steps, n_samples, n).swapaxes(0, 1)).ravel()
        place = np.flatnonzero(flat if flat.dtype == bool else flat != 0)
        value = None if flat.dtype == bool else flat[place]
        return cls(
            shape=tuple(shape),
            n_steps=n_steps,
            offsets=np.searchsorted(place, np.arange(n_samples * n_steps + 1) * n),
            index=place % n,
            value=None if value is None or (value == 1).all() else value,
        )

    def to_raster(self) -> Array:
        """Return the raster: ndarray of int32 (T, B, *shape)."""
        raster = np.zeros((self.n_samples * self.n_steps, prod(self.shape)), np.int32)
        raster[np.repeat(np.arange(len(raster)), np.diff(self.offsets)), self.index] = (
            1 if self.value is None else self.value
        )
        return raster.reshape(self.n_samples, self.n_steps, *self.shape).swapaxes(0, 1)


def _frozen(array: Array, name: str, dtype: type[np.integer[Any]]) -> Array:
    array = np.asarray(array)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        what = f"have {name} of {array.dtype} and shape {array.shape}, expected integers in one row"
        raise DataError("events", what, _REMEDY)
    limits = np.iinfo(dtype)
    if array.dtype != dtype and array.size and not limits.min <= array.min() <= array.max() <= limits.max:
        raise DataError("events", f"have {name} {array.min()}…{array.max()}, beyond {np.dtype(dtype)}", _REMEDY)
    copy = np.array(array, dtype)
    copy.flags.writeable = False
    return copy


def _offsets(counts: Array) -> Array:
    """Turn the numbers of events of each step of each sample, in this order, into offsets."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
