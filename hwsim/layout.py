"""How the native engine lays weights out: by source neuron, because work follows spikes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import gcd, prod
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array, Shape, per_neuron
from spikegraph.export.graph import Conv2d, Dense, Graph, OneToOne, Projection, Sparse, SumPool2d

DENSE8, ROWS, WINDOW, PATCH, SPARSE = range(5)  # as in _kernel.h
_ROW = 32  # rows are padded to a multiple of the longest vector of 16-bit numbers

Orders = Mapping[str, Array | None]


@dataclass(frozen=True, kw_only=True, eq=False)
class ProjectionLayout:
    """The arrays of `sg_projection` in _kernel.h, by name of the field."""

    kind: int
    row_stride: int = 0
    target_stride: int = 0
    arrays: dict[str, Array] = field(default_factory=dict)


def neuron_order(graph: Graph, name: str) -> Array | None:
    """List a population's neurons in the kernel's order, channels last; None if that is their own order."""
    shape = graph.shape_of(name)
    if name in graph.inputs or len(shape) != 3 or shape[0] == 1:
        return None
    return np.moveaxis(np.arange(np.prod(shape)).reshape(shape), 0, -1).ravel()


def lay_out(graph: Graph, p: Projection, orders: Orders) -> ProjectionLayout:
    """Lay out a projection's weights.

    Parameters
    ----------
    orders : mapping of node → ndarray or None
        See `neuron_order`.
    """
    source, target = graph.shape_of(p.source), graph.shape_of(p.target)
    graded = p.source in graph.inputs and graph.inputs[p.source].graded
    if isinstance(p, Dense):
        return _dense(p, orders, graded=graded)
    if isinstance(p, (Conv2d, SumPool2d)):
        return _window(p, source, target, orders[p.source], graded=graded)
    if isinstance(p, Sparse):
        return _sparse(p, orders)
    return _one_to_one(p, target, orders)


def _dense(p: Dense, orders: Orders, *, graded: bool) -> ProjectionLayout:
    rows, columns = orders[p.source], orders[p.target]
    weight = p.weight.T if rows is None else p.weight.T[rows]
    weight = weight if columns is None else weight[:, columns]
    stride = -(-weight.shape[1] // _ROW) * _ROW
    padded = np.zeros((len(weight), stride), weight.dtype)
    padded[:, : weight.shape[1]] = weight
    kind = DENSE8 if weight.dtype == np.int8 and not graded else ROWS
    return ProjectionLayout(kind=kind, row_stride=stride, arrays={"weight": _aligned(padded)})


def _aligned(array: Array) -> Array:
    """Copy to where a cache line begins, with room behind for a vector that reads past the last row's end."""
    room = np.zeros(array.nbytes + 128, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _sparse(p: Sparse, orders: Orders) -> ProjectionLayout:
    """Hand the synapses over as they lie, for there may be hundreds of millions; say where each row begins and ends."""
    rows, columns = orders[p.source], orders[p.target]
    begin, end = p.indptr[:-1], p.indptr[1:]
    if rows is not None:
        begin, end = begin[rows], end[rows]
    indices = p.indices.astype(np.int32, copy=False)
    if columns is not None:
        indices = np.argsort(columns).astype(np.int32)[indices]
    arrays = {"weight": p.weight, "row_begin": begin, "row_end": end, "indices": indices}
    return ProjectionLayout(kind=SPARSE, arrays=arrays)


def _one_to_one(p: OneToOne, shape: Shape, orders: Orders) -> ProjectionLayout:
    n = prod(shape)
    identity = Sparse(
        source=p.source,
        target=p.target,
        weight=per_neuron(p.weight, shape).ravel(),
        indptr=np.arange(n + 1),
        indices=np.arange(n, dtype=np.int32),
    )
    return _sparse(identity, orders)


def _both(pair: Any) -> tuple[int, int]:
    height, width = pair
    return int(height), int(width)


def _window(
    p: Conv2d | SumPool2d, source: Shape, target: Shape, order: Array | None, *, graded: bool
) -> ProjectionLayout:
    """Lay out a window: tables of what a source row and a source column reach, so that no site needs its own."""
    if isinstance(p, Conv2d):
        weight, groups, dilation = p.weight, p.groups, p.dilation
    else:  # a convolution of each channel by itself
        weight = np.broadcast_to(p.weight, (source[0], 1, *_both(p.kernel_size)))
        groups, dilation = source[0], (1, 1)
    per_in, per_out, (n_rows, n_columns) = weight.shape[1], weight.shape[0] // groups, weight.shape[2:]
    (down, right), (top, left), (step_y, step_x) = (_both(a) for a in (p.stride, p.padding, dilation))

    # From a fixed source column, kernel columns of one class (modulo `period`) reach neighbouring target columns if
    # `gap` is 1, the higher kernel column the lower target column; they are laid out in that order. So are the rows.
    (period_y, gap_y), (period, gap) = _classes(down, step_y), _classes(right, step_x)
    kernel_rows = sorted(range(n_rows), key=lambda r: (r % period_y, -r))
    columns = sorted(range(n_columns), key=lambda c: (c % period, -c))
    mergeable = gap == 1 and groups == 1
    stride = -(-n_columns * per_out // _ROW) * _ROW

    rows, rows_ptr = [], [0]
    for y in range(source[1]):
        for position, r in enumerate(kernel_rows):
            to, remainder = divmod(y + top - r * step_y, down)
            if remainder == 0 and 0 <= to < target[1]:
                rows.append([to * target[2] * target[0], position * stride])
        rows_ptr.append(len(rows))
    runs: list[list[int]] = []
    runs_ptr = [0]
    for x in range(source[2]):
        start = len(runs)
        for position, c in enumerate(columns):
            to, remainder = divmod(x + left - c * step_x, right)
            if remainder or not 0 <= to < target[2]:
                continue
            run = [to * target[0], position * per_out, per_out]
            last = runs[-1] if len(runs) > start else None
            if mergeable and last and last[0] + last[2] == run[0] and last[1] + last[2] == run[1]:
                last[2] += per_out
            else:
                runs.append(run)
        runs_ptr.append(len(runs))

    # (groups, out, in, r, c) → (source channel, r, c in the orders above, out)
    grouped = weight.reshape(groups, per_out, per_in, n_rows, n_columns)[..., kernel_rows, :][..., columns]
    by_source = np.zeros((source[0], n_rows, stride), weight.dtype)
    by_source[..., : n_columns * per_out] = np.moveaxis(grouped, 1, -1).reshape(source[0], n_rows, -1)
    channel, y, x = (a.ravel() for a in np.indices(source))
    offset = channel * n_rows * stride
    arrays = {"weight": _aligned(by_source)}
    if mergeable and weight.dtype == np.int8 and not graded:
        patch, weight_offset = _patches(rows, rows_ptr, runs, runs_ptr)
        patches, patch_of = np.unique(patch.reshape(-1, 3), axis=0, return_inverse=True)
        pixel = y * source[2] + x
        arrays["site"] = np.stack([patch_of.ravel()[pixel], offset + weight_offset.ravel()[pixel]], axis=1)
        arrays["patches"] = patches
    else:
        arrays["site"] = np.stack([y, x, offset, channel // per_in * per_out], axis=1)
        arrays |= {"rows_ptr": np.array(rows_ptr), "rows": np.array(rows).reshape(-1, 2)}
        arrays |= {"runs_ptr": np.array(runs_ptr), "runs": np.array(runs).reshape(-1, 3)}
    if order is not None:
        arrays["site"] = arrays["site"][order]
    return ProjectionLayout(
        kind=PATCH if "patches" in arrays else WINDOW,
        row_stride=stride,
        target_stride=gap_y * target[2] * target[0],
        arrays={name: a if name == "weight" else np.ascontiguousarray(a, np.int32) for name, a in arrays.items()},
    )


def _classes(stride: int, step: int) -> tuple[int, int]:
    """Return the number of classes of kernel positions, and how far apart the targets of one class lie."""
    return stride // gcd(stride, step), step // gcd(stride, step)


def _patches(
    rows: list[list[int]], rows_ptr: list[int], runs: list[list[int]], runs_ptr: list[int]
) -> tuple[Array, Array]:
    """Join rows and runs, of which there is one at most, to what each pixel reaches.

    Returns
    -------
    patches : ndarray (h, w, 3)
        First target, number of rows, targets of a row.
    weight_offset : ndarray (h, w)
        Where the weights of the first row begin.
    """
    n_rows, n_runs = np.diff(rows_ptr)[:, None], np.diff(runs_ptr)
    row = np.array([*rows, [0, 0]])[rows_ptr[:-1]][:, None]
    run = np.array([*runs, [0, 0, 0]])[runs_ptr[:-1]]
    patches = np.stack(np.broadcast_arrays(row[..., 0] + run[:, 0], n_rows * n_runs, run[:, 2]), axis=-1)
    patches[patches[..., 1] == 0] = 0
    return patches, row[..., 1] + run[:, 1]
