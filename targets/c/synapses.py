"""A projection as network.c walks it: by source neuron, with what each of its spikes meets.

Weights that share a power of two are divided by it where that makes their type narrower, or takes a shift to the right
out of the sum; neither changes a sum.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.graph import Conv2d, Dense, OneToOne, Projection, Sparse, SumPool2d
from spikegraph.export.weights import common_twos


@dataclass(frozen=True, kw_only=True, eq=False)
class Synapses:
    """What a row of `projections` in network.c needs, besides where it is.

    Parameters
    ----------
    kind : str
        DENSE, WINDOW, SPARSE or ONE_TO_ONE.
    weight : ndarray of int8 or int16 (n,)
    exponent : int
        The shift of the sum that is left once the weights were divided.
    divisor : int
        By what they were divided.
    fields : dict of str → int
    offsets : dict of str → ndarray of int (n,), or (n, 2) of taps
        Tables of whole numbers that are not negative.
    """

    kind: str
    weight: Array
    exponent: int
    divisor: int
    fields: dict[str, int] = field(default_factory=dict)
    offsets: dict[str, Array] = field(default_factory=dict)


def synapses_of(p: Projection, source: Shape, target: Shape) -> Synapses:
    """Lay out the weights of a projection between these shapes."""
    twos = common_twos(p.weight)
    twos = max(_twos_to_fit(p.weight, twos), min(twos, -p.weight_exp))
    exponent = p.weight_exp + twos
    common: dict[str, Any] = {"exponent": exponent, "divisor": 1 << twos}
    weight = p.weight.astype(np.int32) >> twos
    if isinstance(p, Dense):
        return Synapses(kind="DENSE", weight=_narrow(weight.T), fields={"run": prod(target)}, **common)
    if isinstance(p, Sparse):
        offsets = {"row_begin": p.indptr, "targets": p.indices}
        return Synapses(kind="SPARSE", weight=_narrow(weight), offsets=offsets, **common)
    if isinstance(p, OneToOne):
        fields = {"run": prod(source) // weight.size}
        return Synapses(kind="ONE_TO_ONE", weight=_narrow(weight), fields=fields, **common)
    fields, offsets = _window(p, source, target)
    if isinstance(p, Conv2d):  # (out, in / groups, r, c) → (in, r, c, out / groups)
        grouped = weight.reshape(p.groups, -1, *weight.shape[1:])
        weight = np.moveaxis(grouped, 1, -1)
    return Synapses(kind="WINDOW", weight=_narrow(weight), fields=fields, offsets=offsets, **common)


def _twos_to_fit(weight: Array, twos: int) -> int:
    """Return by how many twos weights must be divided, and can be, to fit in 8 bits; 0 if nothing helps."""
    low, high = (int(weight.min()), int(weight.max())) if weight.size else (0, 0)
    return next((k for k in range(twos + 1) if low >> k >= -128 and high >> k <= 127), 0)


def _narrow(weight: Array) -> Array:
    flat = np.ascontiguousarray(weight).reshape(-1)
    fits = not flat.size or (flat.min() >= -128 and flat.max() <= 127)
    return flat.astype(np.int8 if fits else np.int16)


def _window(p: Conv2d | SumPool2d, source: Shape, target: Shape) -> tuple[dict[str, int], dict[str, Array]]:
    """List for each source row which kernel rows it meets, and where their targets begin; and so for each column."""
    if isinstance(p, Conv2d):
        group, kernel, dilation = p.weight.shape[1], p.weight.shape[2:], _pair(p.dilation)
        run = p.weight.shape[0] // p.groups
        steps = (kernel[1] * run, run)  # from kernel row to kernel row in the weights, from column to column
    else:
        group, kernel, dilation, run, steps = 1, _pair(p.kernel_size), (1, 1), 1, (0, 0)
    stride, padding = _pair(p.stride), _pair(p.padding)
    widths = (target[2], 1)  # from target row to target row, from column to column
    offsets: dict[str, Array] = {}
    for axis, name in enumerate(("row", "column")):
        taps, begin = [], [0]
        for place in range(source[1 + axis]):
            for k in range(kernel[axis]):
                to, between = divmod(place + padding[axis] - k * dilation[axis], stride[axis])
                if between == 0 and 0 <= to < target[1 + axis]:
                    taps.append((to * widths[axis], k * steps[axis]))
            begin.append(len(taps))
        offsets[f"{name}_begin"], offsets[f"{name}s"] = np.array(begin), np.array(taps or [(0, 0)])
    fields = {
        "run": run,
        "plane": target[1] * target[2],
        "width": source[2],
        "area": source[1] * source[2],
        "group": group,
        "channel_weights": kernel[0] * steps[0],
    }
    return fields, offsets


def _pair(pair: Any) -> tuple[int, int]:
    height, width = pair
    return int(height), int(width)
