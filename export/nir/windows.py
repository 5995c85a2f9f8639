"""A window behind a window (convolutions and pools) as one; and products of weights that keep their type."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array, Shape, pair
from spikegraph.export.errors import FileFormatError
from spikegraph.export.float_graph import FloatConv2d, FloatProjection, FloatSumPool2d

_MOST_SYNAPSES = 1 << 24  # of what has to be listed


def require_few(n: int, where: str, limit: int = _MOST_SYNAPSES) -> None:
    """Refuse what would have to be written down synapse by synapse, and is too much for that."""
    if n > limit:
        what = f"written as one projection it would have {n} synapses, the limit is {limit}"
        raise FileFormatError(where, what, "put neurons between these linear nodes, or make them smaller")


def times(weight: Array, factor: Array) -> Array:
    """Multiply; of float32 the product, which float64 holds exactly, stays float32 where that holds it too."""
    return narrowed(weight.astype(np.float64) * factor, weight, factor)


def narrowed(exact: Array, *made_of: Array) -> Array:
    """Return float64 as float32, where it was made of float32 and nothing is rounded by it."""
    narrow = all(a.dtype == np.float32 for a in made_of)
    return in_type_of(made_of[0], exact) if narrow else exact


def in_type_of(other: Array, exact: Array) -> Array:
    """Return numbers in the type of others that they stand beside, where that rounds nothing."""
    narrow = exact.astype(other.dtype)
    return narrow if (narrow == exact).all() else exact


def as_conv(op: FloatProjection, source: Shape) -> FloatConv2d:
    """Return a pool as the convolution that it is, one kernel for each channel."""
    if isinstance(op, FloatConv2d):
        return op
    if not isinstance(op, FloatSumPool2d):
        raise TypeError(op.kind)
    kernel = np.full((source[0], 1, *pair(op.kernel_size)), op.weight)
    ends: dict[str, Any] = {"source": "", "target": "", "stride": op.stride, "padding": op.padding}
    return FloatConv2d(weight=kernel, groups=source[0], **ends)


def undilated(weight: Array, dilation: Shape) -> Array:
    """Return a kernel with the zeros between its taps written down."""
    if dilation == (1, 1):
        return weight
    size = tuple(d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True))
    require_few(prod(weight.shape[:2]) * prod(size), "a dilated kernel")
    wide = np.zeros((*weight.shape[:2], *size), weight.dtype)
    wide[:, :, :: dilation[0], :: dilation[1]] = weight
    return wide


def windows(second: FloatProjection, first: FloatProjection, source: Shape, between: Shape) -> FloatProjection | None:
    """Return a window behind a window as one convolution (or one pool); None where it is none.

    The second must not look at its own padding, which is none of the first's input: unless the windows of the first
    lie side by side, and pave its whole input; then a padded row of the second is so many padded rows of the first.
    """
    a, b = as_conv(first, source), as_conv(second, between)
    near, far = (undilated(op.weight, pair(op.dilation)) for op in (a, b))
    stride, padding, n_groups = pair(a.stride), [], 0
    for axis in (0, 1):
        paves = near.shape[2 + axis] == stride[axis] and pair(a.padding)[axis] == 0
        paves = paves and source[1 + axis] % stride[axis] == 0
        if pair(b.padding)[axis] and not paves:
            return None
        padding.append(pair(a.padding)[axis] + pair(b.padding)[axis] * stride[axis])
    size = tuple((far.shape[2 + axis] - 1) * stride[axis] + near.shape[2 + axis] for axis in (0, 1))
    if max(len(far) * far.shape[1] * prod(size), far.size * near[0, 0].size) > _MOST_SYNAPSES:
        return None
    channel_by_channel = [w.shape[1] == 1 and op.groups == len(w) for w, op in ((near, a), (far, b))]
    if channel_by_channel[0]:
        n_groups, n_in = b.groups, far.shape[1]
        group = np.arange(len(far)) // (len(far) // b.groups)
        inner = near[group[:, None] * n_in + np.arange(n_in), 0]  # (out, in / groups, h, w)
        taps = far[:, :, :, :, None, None] * inner[:, :, None, None].astype(np.float64)
    elif channel_by_channel[1]:
        n_groups, n_in = a.groups, near.shape[1]
        taps = far[:, :, :, :, None, None] * near[:, :, None, None].astype(np.float64)
    elif a.groups == b.groups == 1 and len(far) * near[0].size * far[0, 0].size <= _MOST_SYNAPSES:
        n_groups, n_in = 1, near.shape[1]
        taps = np.einsum("omrc,mihw->oirchw", far.astype(np.float64), near.astype(np.float64))
    else:
        return None
    kernel = np.zeros((len(far), n_in, *size))
    for row, column in np.ndindex(*far.shape[2:]):
        top, left = row * stride[0], column * stride[1]
        kernel[:, :, top : top + near.shape[2], left : left + near.shape[3]] += taps[:, :, row, column]
    strides = tuple(one * other for one, other in zip(stride, pair(b.stride), strict=True))
    common: dict[str, Any] = {"source": "", "target": "", "stride": strides, "padding": tuple(padding)}
    weight = narrowed(kernel, near, far)
    if all(channel_by_channel) and (weight == weight.flat[0]).all():
        return FloatSumPool2d(weight=weight.flat[0], kernel_size=size, **common)
    return FloatConv2d(weight=weight, groups=n_groups, **common)
