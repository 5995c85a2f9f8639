"""What an event camera recorded, sample by sample: at which microsecond which of its pixels sent an event."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.errors import DataError
from spikegraph.export.events import Events

_REMEDY = "sort each recording by time, and give its events times in µs and neurons of the shape"


@dataclass(frozen=True, kw_only=True, eq=False)
class Recordings:
    """B recordings, one after the other; each a list of events in the order of time.

    It stands where an array of pixels (B, c, h, w) may stand: it has that shape, can be indexed by samples, and takes
    another shape of the same size. Checked where it is made.

    Parameters
    ----------
    sample_shape : tuple of int
        Shape of the input that sends the events: (c, h, w), c the polarities, or (n,).
    offsets : ndarray of int64 (B + 1,)
        The events of sample b are those from `offsets[b]` up to, not including, `offsets[b + 1]`.
    t : ndarray of int32 (events,)
        Time in µs; within a recording it does not fall.
    index : ndarray of int32 (events,)
        Neuron, in C order of the shape.

    Raises
    ------
    DataError
        Offsets do not rise from 0 to the number of events, a time falls or is beyond int32 (35 minutes), or an index
        lies outside the shape.
    """

    sample_shape: Shape
    offsets: Array
    t: Array
    index: Array

    def __post_init__(self) -> None:
        offsets, n_events = np.asarray(self.offsets, np.int64), self.index.size
        if self.t.shape != (n_events,) or offsets[0] != 0 or offsets[-1] != n_events or (np.diff(offsets) < 0).any():
            what = f"have {n_events} indices, {self.t.size} times and offsets {offsets[0]}…{offsets[-1]}"
            raise DataError("recordings", what, _REMEDY)
        object.__setattr__(self, "offsets", offsets)
        for name, high in (("t", np.iinfo(np.int32).max), ("index", prod(self.sample_shape) - 1)):
            array = getattr(self, name)
            if n_events and not 0 <= array.min() <= array.max() <= high:
                what = f"have {name} {array.min()}…{array.max()}, expected 0…{high}"
                raise DataError("recordings", what, _REMEDY)
            object.__setattr__(self, name, np.asarray(array, np.int32))
        falls = self.t[1:] < self.t[:-1]
        falls[offsets[(offsets > 0) & (offsets < n_events)] - 1] = False  # a recording begins behind it
        if falls.any():
            raise DataError("recordings", f"have a time that falls (event {int(falls.argmax()) + 1})", _REMEDY)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that an array of the same samples would have: (B, *sample_shape)."""
        return (len(self), *self.sample_shape)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, chosen: slice | Array) -> Recordings:
        """Return the samples chosen, by a slice or an array of their numbers, in that order."""
        chosen = np.arange(len(self))[chosen]
        counts = np.diff(self.offsets)[chosen]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        place = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], counts)
        return Recordings(sample_shape=self.sample_shape, offsets=offsets, t=self.t[place], index=self.index[place])

    def reshape(self, n_samples: int, *shape: int) -> Recordings:
        """Give the samples another shape of the same size, as `ndarray.reshape` does: one size may be -1."""
        size, known = prod(self.sample_shape), prod(side for side in shape if side != -1)
        sample_shape = tuple(size // known if side == -1 else side for side in shape)
        if n_samples not in (-1, len(self)) or prod(sample_shape) != size:
            what = f"have shape {self.shape}, which is not the size of {(n_samples, *shape)}"
            raise DataError("recordings", what, "give a shape of the same size")
        return Recordings(sample_shape=sample_shape, offsets=self.offsets, t=self.t, index=self.index)

    @property
    def content(self) -> Array:
        """All numbers in one row, the same for the same recordings."""
        return np.concatenate([self.offsets, self.t, self.index])

    @property
    def sample(self) -> Array:
        """The sample that each event belongs to: ndarray of int64 (events,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def kept(self, keep: Array, index: Array | None = None) -> Recordings:
        """Return the events where `keep`, bool (events,), is true, at other neurons if `index` (events,) is given."""
        counts = np.bincount(self.sample[keep], minlength=len(self))
        return Recordings(
            sample_shape=self.sample_shape,
            offsets=np.concatenate([[0], np.cumsum(counts)]),
            t=self.t[keep],
            index=(self.index if index is None else index)[keep],
        )

    def downscaled(self, factor: int) -> Recordings:
        """Join squares of `factor` × `factor` pixels into one, which sends the events of them all."""
        if factor == 1:
            return self
        c, h, w = self.sample_shape
        small = (c, -(-h // factor), -(-w // factor))
        channel, y, x = np.unravel_index(self.index, (c, h, w))
        index = np.ravel_multi_index((channel, y // factor, x // factor), small)
        return Recordings(sample_shape=small, offsets=self.offsets, t=self.t, index=index)

    def steps(self, n_steps: int, step_us: int = 0) -> Array:
        """Return the step of each event, counted from the first event of its recording.

        Parameters
        ----------
        n_steps : int
            T.
        step_us : int
            Length of a step in µs; 0 divides each recording, from its first to its last event, into T equal steps.

        Returns
        -------
        ndarray of int64 (events,)
            floor(since / step_us), or floor(since · T / (last + 1)); T or more for what comes after the window.
        """
        counts = np.diff(self.offsets)
        some = counts > 0
        first, last = self.t[self.offsets[:-1][some]], self.t[self.offsets[1:][some] - 1]
        since = self.t.astype(np.int64) - np.repeat(first, counts[some])
        if step_us:
            return np.asarray(since // step_us)
        return np.asarray(since * n_steps // np.repeat(last - first + np.int64(1), counts[some]))

    def raster(self, n_steps: int, step_us: int = 0, max_value: int = 1) -> Array:
        """Return the number of events of each neuron in each step, at most `max_value`.

        Returns
        -------
        ndarray of uint8, or of int16 if max_value > 1, (T, B, *sample_shape)
        """
        step, size = self.steps(n_steps, step_us), prod(self.sample_shape)
        inside = step < n_steps
        place = ((step * len(self) + self.sample) * size + self.index)[inside]
        raster = np.zeros(n_steps * len(self) * size, np.uint8 if max_value == 1 else np.int16)
        if max_value == 1:
            raster[place] = 1
        else:
            cells, count = np.unique(place, return_counts=True)
            raster[cells] = np.minimum(count, max_value)
        return raster.reshape(n_steps, *self.shape)

    def events(self, n_steps: int, step_us: int = 0, max_value: int = 1) -> Events:
        """Return the entries of `raster` that are not 0, without making it."""
        step, size = self.steps(n_steps, step_us), prod(self.sample_shape)
        inside = step < n_steps
        place = ((self.sample * n_steps + step) * size + self.index)[inside]
        cells, count = np.unique(place, return_counts=True)
        return Events(
            shape=self.sample_shape,
            n_steps=n_steps,
            offsets=np.searchsorted(cells, np.arange(len(self) * n_steps + 1) * size),
            index=cells % size,
            value=None if max_value == 1 else np.minimum(count, max_value),
        )

    @classmethod
    def joined(cls, recordings: list[tuple[Array, Array]], sample_shape: Shape) -> Recordings:
        """Make recordings of a list of (t, index), each with its events in any order."""
        ordered: list[tuple[Any, Any]] = []
        for t, index in recordings:
            order = np.argsort(t, kind="stable") if (t[1:] < t[:-1]).any() else slice(None)
            ordered.append((t[order], index[order]))
        return cls(
            sample_shape=sample_shape,
            offsets=np.concatenate([[0], np.cumsum([len(t) for t, _ in ordered], dtype=np.int64)]),
            t=np.concatenate([t for t, _ in ordered]) if ordered else np.empty(0, np.int32),
            index=np.concatenate([index for _, index in ordered]) if ordered else np.empty(0, np.int32),
        )
