"""Which inputs of a projection are active together on calibration data."""

from __future__ import annotations

from math import prod

import numpy as np

from spikegraph.export.connectivity import Array, pair
from spikegraph.export.float_graph import FloatConv2d, FloatDense
from spikegraph.hwsim.agreement import MEMORY

_ROWS = 1 << 14  # moments, or moments and places of a window, that are looked at


def gram(p: FloatDense | FloatConv2d, s: Array) -> list[Array]:
    """Return the sums of products of the activities of two inputs of a neuron, for each group of channels.

    Activity is what is left of a source's spikes with a memory of `MEMORY` steps, about what its synapses leave in v.

    Parameters
    ----------
    p : FloatDense or FloatConv2d
    s : ndarray (T, B, *source)

    Returns
    -------
    list of ndarray of float64 (in, in)
        `in` counts through a row of the weight in C order.
    """
    kept, active = np.float32(np.exp(-1 / MEMORY)), np.zeros(s.shape[1:], np.float32)
    places = prod(_windows(p, active[:1]).shape[2:4]) if isinstance(p, FloatConv2d) else 1
    every = max(len(s) * s.shape[1] * places // _ROWS, 1)
    rows = []
    for t in range(len(s)):
        active = kept * active + s[t]
        chosen = active[-t % every :: every]  # other samples at each step
        if len(chosen):
            rows.append(_rows(p, chosen))
    each = np.concatenate(rows, axis=1).astype(np.float64)
    return [one.T @ one for one in each]


def _rows(p: FloatDense | FloatConv2d, active: Array) -> Array:
    """Return what each neuron reads, (groups, rows, in)."""
    if isinstance(p, FloatDense):
        return active.reshape(1, len(active), -1)
    windows = _windows(p, active)  # (B, c, h, w, kernel_h, kernel_w)
    b, c, h, w, *kernel = windows.shape
    grouped = windows.reshape(b, p.groups, c // p.groups, h, w, *kernel)
    return grouped.transpose(1, 0, 3, 4, 2, 5, 6).reshape(p.groups, b * h * w, -1)


def _windows(p: FloatConv2d, active: Array) -> Array:
    pads, strides, dilations = (pair(one) for one in (p.padding, p.stride, p.dilation))
    padded = np.pad(active, [(0, 0), (0, 0), *((pad, pad) for pad in pads)])
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilations, p.weight.shape[2:], strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, (2, 3))
    return windows[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
