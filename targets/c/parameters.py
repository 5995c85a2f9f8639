"""Parameters of neurons as the engine reads them: narrow numbers times a power of two."""

from __future__ import annotations

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.graph import Population


def parameters_of(p: Population) -> dict[str, tuple[Array, dict[str, int]]]:
    """Return keep_u, keep_v, threshold and bias of a population, the last two in the units of v.

    Returns
    -------
    dict of parameter → (ndarray of int16 or int32 (n,), the other fields of `parameter` in structures.h)
    """
    bias_mant, bias_exp = (_together(a, p.shape) for a in (p.bias_mant, p.bias_exp))
    values = {
        "keep_u": fixed.DECAY_ONE - p.decay_u.astype(np.int64),
        "keep_v": fixed.DECAY_ONE - p.decay_v.astype(np.int64),
        "threshold": p.threshold_mant.astype(np.int64) << fixed.ALIGN_BITS,
        "bias": bias_mant << bias_exp,
    }
    return {name: _narrow(value, p.shape) for name, value in values.items()}


def _together(parameter: Array, shape: Shape) -> Array:
    """Give a parameter per channel the axes of one per neuron."""
    per_channel = parameter.ndim == 1 and len(shape) == 3
    return parameter.reshape(-1, 1, 1).astype(np.int64) if per_channel else parameter.astype(np.int64)


def _narrow(value: Array, shape: Shape) -> tuple[Array, dict[str, int]]:
    alike = bool((value == value.flat[0]).all())
    per_channel = not alike and len(shape) == 3 and value.size == shape[0]
    value = value.ravel()[:1] if alike else value.ravel()
    bits = int(np.bitwise_or.reduce(value))
    shift = (bits & -bits).bit_length() - 1 if bits else 0
    mantissa = value >> shift
    wide = mantissa.min() < -(2**15) or mantissa.max() >= 2**15
    narrow = mantissa.astype(np.int32 if wide else np.int16)
    fields = {"bytes": narrow.itemsize, "shift": shift}
    return narrow, fields | {"per_channel": int(per_channel), "per_neuron": int(not alike and not per_channel)}
