"""How a projection connects its source to its target: five kinds, each with its shape rule, its sum and its fan-out.

The classes here know geometry only. graph.py gives them integer weights and float_graph.py float weights. Spikes and
sums are batched: `(B, *source_shape)` goes in, `(B, *target_shape)` comes out. Weights follow PyTorch's conventions: a
row belongs to a postsynaptic neuron, convolution is cross-correlation on (c, h, w), flattening is in C order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from operator import index
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
STORED_AS_INT64 = {"stored": np.int64}  # of a field that a file holds as int64, however narrow it is in memory
ADDED = {"added": True}  # of a field that files of before 24 November 2026 lack: at its default, no file has it


_PIECE = 1 << 16  # synapses that are looked at at a time, where a wider copy of all of them would not be small


def frozen(array: Array, dtype: npt.DTypeLike | None = None) -> Array:
    """Return a read-only, C-ordered copy, or the array itself if it is that already and owns its memory."""
    flags, wanted = array.flags, array.dtype if dtype is None else np.dtype(dtype)
    locked = type(array) is np.ndarray and flags.owndata and flags.c_contiguous and not flags.writeable
    if locked and array.dtype == wanted:
        return array
    copy = np.array(array, wanted, order="C")
    copy.flags.writeable = False
    return copy


def _pieces(n: int) -> Iterator[slice]:
    return (slice(start, min(start + _PIECE, n)) for start in range(0, n, _PIECE))


def _wide(weight: Array) -> type[np.float64 | np.int64]:
    """Return the type in which weights are added up: exact for integers."""
    return np.float64 if weight.dtype.kind == "f" else np.int64


def _matmul(s: Array, weight: Array) -> Array:
    # Products of integers below 2^53 are exact in float64, and BLAS multiplies float64 far faster than int64.
    return np.asarray(s.astype(np.float64) @ weight.astype(np.float64)).astype(_wide(weight), copy=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Connectivity(ABC):
    """The synapses from one input or population to one population.

    Parameters
    ----------
    source, target : str
        Names of the nodes.
    delay_steps : int
        Steps between the source's spike and its arrival, 0…1023.
    """

    kind: ClassVar[str]
    source: str
    target: str
    delay_steps: int = 0
    weight: Array

    @abstractmethod
    def shape_problem(self, source: Shape, target: Shape) -> str | None:
        """Say why the weights do not fit between these shapes; None if they do."""

    @abstractmethod
    def weighted_sum(self, weight: Array, s: Array, target: Shape) -> Array:
        """Return weight · s for integer spikes `s` (B, *source): (B, *target), int64 or for float weights float64."""

    @abstractmethod
    def fan_out(self, counted: Array, source: Shape, target: Shape) -> Array:
        """Count the synapses of each source neuron: int64 of shape `source`.

        Parameters
        ----------
        counted : ndarray, shape of the weight
            Those count whose entry is not 0: `stored()` for all of them, the weight itself for those that do something.
        """

    def stored(self) -> Array:
        """Return True for every weight, in no memory."""
        return np.broadcast_to(np.True_, self.weight.shape)

    def reach(self, source: Shape, target: Shape) -> tuple[Array, Array]:
        """Sum the negative and the positive weights onto each target neuron: two arrays of int64 of shape `target`."""
        ones = np.ones((1, *source), np.int64)
        parts = (np.asarray(np.minimum(self.weight, 0)), np.asarray(np.maximum(self.weight, 0)))
        negative, positive = (self.weighted_sum(part, ones, target)[0] for part in parts)
        return negative, positive

    @abstractmethod
    def synapses(self, source: Shape, target: Shape) -> tuple[Array, Array, Array]:
        """List the stored synapses: their source neuron, target neuron and place in the weight, each of int64 (n,).

        All three count through flattened arrays in C order. Synapses come in no particular order.
        """

    def dense_macs(self, source: Shape, target: Shape) -> int:
        """Multiply-accumulates of the same layer in a dense network, evaluated once."""
        return int(self.fan_out(self.stored(), source, target).sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class DenseConnectivity(Connectivity):
    """All to all: x[i] = Σ_j weight[i, j] · s[j], over the flattened shapes.

    Parameters
    ----------
    weight : ndarray (out, in)
        Row i holds the synapses onto target neuron i.
    """

    kind = "Dense"

    def shape_problem(self, source: Shape, target: Shape) -> str | None:
        expected = (prod(target), prod(source))
        return None if self.weight.shape == expected else f"weight has shape {self.weight.shape}, expected {expected}"

    def weighted_sum(self, weight: Array, s: Array, target: Shape) -> Array:
        return _matmul(s.reshape(len(s), -1), weight.T).reshape(len(s), *target)

    def fan_out(self, counted: Array, source: Shape, target: Shape) -> Array:
        return np.asarray((counted != 0).sum(axis=0, dtype=np.int64)).reshape(source)

    def reach(self, source: Shape, target: Shape) -> tuple[Array, Array]:
        negative, positive = (end(self.weight, 0).sum(axis=1, dtype=np.int64) for end in (np.minimum, np.maximum))
        return negative.reshape(target), positive.reshape(target)

    def synapses(self, source: Shape, target: Shape) -> tuple[Array, Array, Array]:
        n_target, n_source = self.weight.shape
        targets, sources = np.divmod(np.arange(n_target * n_source), n_source)
        return sources, targets, np.arange(n_target * n_source)


class _Window:
    """A window that slides over (h, w): the taps that land inside, as pairs of slices."""

    def __init__(self, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> None:
        self.kernel, self.stride, self.padding, self.dilation = kernel, stride, padding, dilation

    def output(self, size: Shape) -> Shape:
        """Height and width of the output for an input of `size`."""
        return tuple(
            (size[a] + 2 * self.padding[a] - self.dilation[a] * (self.kernel[a] - 1) - 1) // self.stride[a] + 1
            for a in (0, 1)
        )

    def _slices(self, axis: int, tap: int, size: int, n_out: int) -> tuple[slice, slice]:
        stride, offset = self.stride[axis], tap * self.dilation[axis] - self.padding[axis]
        first = max(0, -(offset // stride))  # first output whose tap is inside the input
        last = min(n_out - 1, (size - 1 - offset) // stride)
        start = first * stride + offset
        return slice(start, start + max(0, last - first) * stride + 1, stride), slice(first, last + 1)

    def taps(self, size: Shape, out: Shape) -> Iterator[tuple[int, int, tuple[Any, ...], tuple[Any, ...]]]:
        """Yield (row, column, slices of the input, slices of the output) for each tap that lands somewhere."""
        for row in range(self.kernel[0]):
            source_rows, target_rows = self._slices(0, row, size[0], out[0])
            for column in range(self.kernel[1]):
                source_columns, target_columns = self._slices(1, column, size[1], out[1])
                if target_rows.stop > target_rows.start and target_columns.stop > target_columns.start:
                    yield row, column, (..., source_rows, source_columns), (..., target_rows, target_columns)


def pair(value: int | Shape) -> Shape:
    """Return height and width of what may be one number for both."""
    both: Any = value if np.ndim(value) else (value, value)
    return tuple(index(v) for v in both)


def _numbered(shape: Shape) -> Array:
    """Return the places of an array of this shape, numbered in C order."""
    return np.arange(prod(shape)).reshape(shape)


def _window_problem(window: _Window, source: Shape, target: Shape, channels: int) -> str | None:
    if len(source) != 3 or len(target) != 3:
        return f"needs (c, h, w) on both sides, got {source} and {target}"
    pairs = {"kernel": window.kernel, "stride": window.stride, "padding": window.padding, "dilation": window.dilation}
    for name, pair in pairs.items():
        if len(pair) != 2:
            return f"{name} {pair} must be one number or two (height, width)"
    if min(window.kernel + window.stride + window.dilation) < 1 or min(window.padding) < 0:
        return (
            f"kernel {window.kernel}, stride {window.stride} and dilation {window.dilation} must be at least 1 "
            f"and padding {window.padding} at least 0"
        )
    if max(p - d * (k - 1) for p, d, k in zip(window.padding, window.dilation, window.kernel, strict=True)) > 0:
        return f"padding {window.padding} is wider than the kernel {window.kernel} reaches"
    expected = (channels, *window.output(source[1:]))
    if min(expected) < 1:
        return f"kernel {window.kernel} is larger than the padded input {source}"
    return None if target == expected else f"target has shape {target}, expected {expected}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv2dConnectivity(Connectivity):
    """2-D convolution in PyTorch's sense (cross-correlation), zero padding.

    x[o, y, x] = Σ_{i, r, c} weight[o, i, r, c] · s[i, y·stride + r·dilation - padding, …]

    Parameters
    ----------
    weight : ndarray (out_channels, in_channels / groups, kernel_h, kernel_w)
    stride, padding, dilation : int or (int, int)
    groups : int
    """

    kind = "Conv2d"
    stride: int | Shape = 1
    padding: int | Shape = 0
    dilation: int | Shape = 1
    groups: int = 1

    def __post_init__(self) -> None:
        for name in ("stride", "padding", "dilation"):
            object.__setattr__(self, name, pair(getattr(self, name)))

    def window(self) -> _Window:
        """Return the window: it knows the height and width that it makes."""
        return _Window(self.weight.shape[2:], pair(self.stride), pair(self.padding), pair(self.dilation))

    def shape_problem(self, source: Shape, target: Shape) -> str | None:
        if self.weight.ndim != 4:
            return f"weight has shape {self.weight.shape}, expected (out, in / groups, kernel_h, kernel_w)"
        out_channels, in_channels = self.weight.shape[:2]
        if self.groups < 1 or out_channels % self.groups:
            return f"{out_channels} output channels do not divide into {self.groups} groups"
        if len(source) == 3 and in_channels * self.groups != source[0]:
            return f"weight reads {in_channels * self.groups} channels, the source has {source[0]}"
        return _window_problem(self.window(), source, target, out_channels)

    def weighted_sum(self, weight: Array, s: Array, target: Shape) -> Array:
        x = np.zeros((len(s), *target), _wide(weight))
        per_in, per_out = weight.shape[1], weight.shape[0] // self.groups
        for row, column, source_slices, target_slices in self.window().taps(s.shape[2:], target[1:]):
            for group in range(self.groups):
                into, out_of = (
                    slice(group * per_out, (group + 1) * per_out),
                    slice(group * per_in, (group + 1) * per_in),
                )
                patch = s[:, out_of][source_slices]
                taps = _matmul(np.moveaxis(patch, 1, -1), weight[into, :, row, column].T)
                x[:, into][target_slices] += np.moveaxis(taps, -1, 1)
        return x

    def fan_out(self, counted: Array, source: Shape, target: Shape) -> Array:
        counts = np.zeros(source, np.int64)
        per_in = counted.shape[1]
        per_group = (counted != 0).reshape(self.groups, -1, *counted.shape[1:]).sum(axis=1, dtype=np.int64)
        for row, column, source_slices, _ in self.window().taps(source[1:], target[1:]):
            counts[source_slices] += per_group[:, :, row, column].reshape(self.groups * per_in, 1, 1)
        return counts

    def synapses(self, source: Shape, target: Shape) -> tuple[Array, Array, Array]:
        sources, targets = _numbered(source), _numbered(target)
        per_out, per_in = self.weight.shape[0] // self.groups, self.weight.shape[1]
        taps = []
        for row, column, source_slices, target_slices in self.window().taps(source[1:], target[1:]):
            for group in range(self.groups):
                into = slice(group * per_out, (group + 1) * per_out)
                s = sources[group * per_in : (group + 1) * per_in][source_slices][None]
                t = targets[into][target_slices][:, None]
                w = _numbered(self.weight.shape)[into, :, row, column][:, :, None, None]
                taps.append(np.stack([a.ravel() for a in np.broadcast_arrays(s, t, w)]))
        s, t, w = np.concatenate(taps, axis=1) if taps else np.zeros((3, 0), np.int64)
        return s, t, w


@dataclass(frozen=True, kw_only=True, eq=False)
class SumPool2dConnectivity(Connectivity):
    """Sum over windows of each channel, times one weight.

    Parameters
    ----------
    weight : ndarray ()
        The one weight of all synapses.
    kernel_size, stride, padding : int or (int, int)
        `stride` None means `kernel_size`.
    """

    kind = "SumPool2d"
    kernel_size: int | Shape = 2
    stride: int | Shape | None = None
    padding: int | Shape = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel_size", pair(self.kernel_size))
        object.__setattr__(self, "stride", pair(self.kernel_size if self.stride is None else self.stride))
        object.__setattr__(self, "padding", pair(self.padding))

    def window(self) -> _Window:
        """Return the window: it knows the height and width that it makes."""
        stride = self.kernel_size if self.stride is None else self.stride
        return _Window(pair(self.kernel_size), pair(stride), pair(self.padding), (1, 1))

    def shape_problem(self, source: Shape, target: Shape) -> str | None:
        if self.weight.shape != ():
            return f"weight has shape {self.weight.shape}, expected one number"
        return _window_problem(self.window(), source, target, source[0] if source else 0)

    def weighted_sum(self, weight: Array, s: Array, target: Shape) -> Array:
        x = np.zeros((len(s), *target), np.int64)
        for _, _, source_slices, target_slices in self.window().taps(s.shape[2:], target[1:]):
            x[target_slices] += s[source_slices]
        return np.asarray(x * weight.astype(_wide(weight)))

    def fan_out(self, counted: Array, source: Shape, target: Shape) -> Array:
        counts = np.zeros(source, np.int64)
        for _, _, source_slices, _ in self.window().taps(source[1:], target[1:]):
            counts[source_slices] += int(counted != 0)
        return counts

    def synapses(self, source: Shape, target: Shape) -> tuple[Array, Array, Array]:
        pairs = [
            np.stack([_numbered(source)[source_slices].ravel(), _numbered(target)[target_slices].ravel()])
            for _, _, source_slices, target_slices in self.window().taps(source[1:], target[1:])
        ]
        s, t = np.concatenate(pairs, axis=1) if pairs else np.zeros((2, 0), np.int64)
        return s, t, np.zeros_like(s)


def _whole(array: Array) -> bool:
    return array.size == 0 or array.dtype.kind in "iu"


@dataclass(frozen=True, kw_only=True, eq=False)
class SparseConnectivity(Connectivity):
    """Stored synapses only, in CSR over the *source*: row j lists the synapses that leave source neuron j.

    x[indices[k]] += weight[k] · s[j]  for indptr[j] <= k < indptr[j + 1]

    Rows follow the source (not, as in `Dense`, the target) because a spike walks along its row.

    Parameters
    ----------
    weight : ndarray (n_synapses,)
    indptr : ndarray of int64 (n_source + 1,)
    indices : ndarray of int32 (n_synapses,); int64 where a number does not fit
        Target neuron of each synapse, flattened in C order.
    """

    kind = "Sparse"
    indptr: Array
    indices: Array = field(metadata=STORED_AS_INT64)

    def __post_init__(self) -> None:
        for name in ("indptr", "indices"):
            array = np.asarray(getattr(self, name))
            narrow = name == "indices" and (array.size == 0 or -(2**31) <= array.min() <= array.max() < 2**31)
            # Floats are kept, for shape_problem to refuse, rather than cut; an empty list has no dtype of its own.
            dtype = (np.int32 if narrow else np.int64) if _whole(array) else None
            object.__setattr__(self, name, frozen(array, dtype))

    def shape_problem(self, source: Shape, target: Shape) -> str | None:
        n_source, n_target = prod(source), prod(target)
        for name, array in (("indptr", self.indptr), ("indices", self.indices)):
            if not _whole(array):
                return f"{name} has dtype {array.dtype}, expected integers"
        if self.weight.ndim != 1 or self.indices.shape != self.weight.shape:
            return f"weight {self.weight.shape} and indices {self.indices.shape} must be one list of synapses"
        if self.indptr.shape != (n_source + 1,):
            return f"indptr has shape {self.indptr.shape}, expected ({n_source + 1},)"
        if self.indptr[0] != 0 or self.indptr[-1] != len(self.weight) or (np.diff(self.indptr) < 0).any():
            return f"indptr must rise from 0 to {len(self.weight)}"
        if len(self.indices) and not 0 <= self.indices.min() <= self.indices.max() < n_target:
            return f"indices {self.indices.min()}…{self.indices.max()} leave the target's 0…{n_target - 1}"
        return None

    def weighted_sum(self, weight: Array, s: Array, target: Shape) -> Array:
        matrix = csr_array((weight.astype(_wide(weight)), self.indices, self.indptr), shape=(s[0].size, prod(target)))
        return np.asarray(s.reshape(len(s), -1).astype(np.int64) @ matrix).reshape(len(s), *target)

    def fan_out(self, counted: Array, source: Shape, target: Shape) -> Array:
        n, before, n_counted = len(counted), np.empty(len(self.indptr), np.int64), 0  # before: those ahead of each row
        for piece in _pieces(n):
            rows = slice(*np.searchsorted(self.indptr, (piece.start, piece.stop)))
            up_to = np.concatenate([[0], np.cumsum(counted[piece] != 0, dtype=np.int64)])
            before[rows] = n_counted + up_to[self.indptr[rows] - piece.start]
            n_counted += int(up_to[-1])
        before[np.searchsorted(self.indptr, n) :] = n_counted
        return np.diff(before).reshape(source)

    def reach(self, source: Shape, target: Shape) -> tuple[Array, Array]:
        negative, positive = (np.zeros(prod(target), np.int64) for _ in range(2))
        for piece in _pieces(len(self.weight)):
            weight, indices = self.weight[piece], self.indices[piece]
            for sums, counted in ((negative, weight < 0), (positive, weight > 0)):
                np.add.at(sums, indices[counted], weight[counted].astype(np.int64))
        return negative.reshape(target), positive.reshape(target)

    def synapses(self, source: Shape, target: Shape) -> tuple[Array, Array, Array]:
        sources = np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))
        return sources, self.indices.astype(np.int64), np.arange(len(self.indices))

    def dense_macs(self, source: Shape, target: Shape) -> int:
        return prod(source) * prod(target)


@dataclass(frozen=True, kw_only=True, eq=False)
class OneToOneConnectivity(Connectivity):
    """Neuron i to neuron i: x[i] = weight[i] · s[i].

    Parameters
    ----------
    weight : ndarray (), (c,) or the population's shape
        One weight, one per channel, or one per neuron.
    """

    kind = "OneToOne"

    def shape_problem(self, source: Shape, target: Shape) -> str | None:
        if source != target:
            return f"source {source} and target {target} must have the same shape"
        if self.weight.shape not in ((), source[:1], source):
            return f"weight has shape {self.weight.shape}, expected (), {source[:1]} or {source}"
        return None

    def weighted_sum(self, weight: Array, s: Array, target: Shape) -> Array:
        return s.astype(np.int64) * per_neuron(weight.astype(_wide(weight)), target)

    def fan_out(self, counted: Array, source: Shape, target: Shape) -> Array:
        return per_neuron((counted != 0).astype(np.int64), source)

    def synapses(self, source: Shape, target: Shape) -> tuple[Array, Array, Array]:
        place = per_neuron(np.arange(self.weight.size).reshape(self.weight.shape), source)
        return np.arange(place.size), np.arange(place.size), place.ravel()


def per_neuron(parameter: Array, shape: Shape) -> Array:
    """Spread a parameter that is one number, one per channel or one per neuron over a population's shape, as a view."""
    if parameter.ndim == 1 and len(shape) == 3:
        parameter = parameter.reshape(-1, 1, 1)
    return np.broadcast_to(parameter, shape)
