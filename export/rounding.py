"""From floats to a chip's integers: scales of weights, and the rounding of weights, thresholds and biases.

The functions use operators and methods that NumPy arrays and torch tensors share, and quantization-aware training calls
them on its parameters: a network is trained with the very integers that `quantize` writes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.chips import Chip
from spikegraph.export.connectivity import Array
from spikegraph.export.fixed import IntegerFormat

FEW_BITS = 4  # of a weight: the largest magnitudes are then best clipped, for the sake of all others


def weight_scale(weight: Any, limit: IntegerFormat, clip: Any = None) -> Any:
    """Return the size of weight 1: the one that makes `clip` the chip's largest weight.

    Without `clip`, a number of the weight's own type, the largest magnitude (then 0 if all weights are 0).
    """
    return (abs(weight).max() if clip is None else clip) / limit.largest


def quantize_weight(weight: Any, scale: Any, limit: IntegerFormat) -> Any:
    """Return weight / scale as representable integers (in a float array or tensor)."""
    return limit.round(weight / scale)


def least_error_clip(weight: Array, limit: IntegerFormat) -> Any:
    """Return the clip with which the sum of the cubed errors of the weights is least; of the weight's own type.

    Cubed: squares clip more, and the few large weights that are then lost cost more accuracy (docs/recipes.md). A
    search from 1/1024 of the largest magnitude up to it: in steps of a ninth, then in finer ones around the best.
    """
    largest = abs(weight).max()
    shares = np.geomspace(1, 2**-10, 64)

    def error(share: float) -> float:
        scale = weight_scale(weight, limit, weight.dtype.type(share) * largest)
        error = np.abs(quantize_weight(weight, scale, limit) * scale - weight).astype(np.float64)
        return float((error * error * error).sum())

    for _ in range(3):
        best = int(np.argmin([error(share) for share in shares]))
        nearest = shares[max(best - 1, 0)], shares[min(best + 1, len(shares) - 1)]
        shares = np.append(np.linspace(*nearest, 16), shares[best])
    return weight.dtype.type(min(shares, key=error)) * largest


def quantize_threshold(v_threshold: Any, scale: Any, limit: IntegerFormat) -> Any:
    """Return the threshold mantissa: a mantissa of 1 is as large as a weight of 1."""
    return limit.round(v_threshold / scale)


def quantize_bias(bias: Any, scale: Any, mant: IntegerFormat, exp: IntegerFormat) -> tuple[Any, int]:
    """Return mantissas and their shared exponent, the smallest with which every mantissa fits."""
    in_v = bias / scale * (1 << fixed.ALIGN_BITS)
    exponent = exp.minimum
    while exponent < exp.maximum and not mant.holds((in_v / (1 << exponent)).round()).all():
        exponent += 1
    return mant.round(in_v / (1 << exponent)), exponent


def smallest_scale(largest_threshold: Any, largest_bias: Any, chip: Chip) -> Any:
    """Return the smallest scale with which a population's largest threshold and bias (magnitudes) still fit."""
    widest_bias = chip.bias_mant.format.largest << chip.bias_exp.maximum
    return max(largest_threshold / chip.threshold_mant.maximum, largest_bias * (1 << fixed.ALIGN_BITS) / widest_bias)


def shared_scale(
    scales: Sequence[Any], weight_exp: IntegerFormat, smallest: Any = 0.0, largest: Any = math.inf
) -> tuple[Any, list[int]]:
    """Return the scale of a population and the weight exponent of each of its projections.

    The smallest of the projections' scales is the population's, unless its threshold or bias needs a larger one
    (`smallest`), or its threshold a smaller one (`largest`); larger ones are made of it by shifting left, which loses
    nothing.
    """
    positive = [scale for scale in scales if scale > 0]
    if not positive:
        return (smallest if smallest > 0 else 1.0), [0 for _ in scales]
    least = max(max(positive) / (1 << weight_exp.maximum), smallest)
    base = max(min(positive), least)
    while largest < base < math.inf and base / 2 >= least:  # a weight of few bits may be larger than the threshold
        base = base / 2
    exponents = []
    for scale in scales:
        exponent = 0
        while scale > base * (1 << exponent):
            exponent += 1
        exponents.append(exponent)
    return base, exponents


def weight_bits_of(chip: Chip) -> int:
    """Return the width of a chip's weights, counted in steps."""
    return int(math.log2((chip.weight.maximum - chip.weight.minimum) // chip.weight.step + 1))
