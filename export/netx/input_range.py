"""What the data's 0 and 1 were to a network as it was trained, where its input has neurons.

lava-dl's input neurons take weight · x, and its networks are often trained on x of -1…1. Data here are 0…1. So where
x = low + (high - low) · data, weight · (high - low) is what data of 1 carry, and weight · low goes into the bias: the
same integer is added to v either way.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.errors import OptionError
from spikegraph.export.graph import Population


def spread(weight: int, input_range: tuple[float, float] | None) -> tuple[int, int]:
    """Return the integer that data of 1 carry beyond data of 0, and the one that data of 0 are.

    Raises
    ------
    OptionError
        These are no whole numbers, or more than an input carries; or the range does not rise.
    """
    if input_range is None:
        return weight, 0
    low, high = input_range
    steps, offset = weight * (high - low), weight * low
    if low >= high or not all(_carried(n) for n in (steps, offset)):
        what = f"{low:g},{high:g} times the weight {weight} is {offset:g}…{weight * high:g}"
        remedy = f"give two numbers that rise and make whole numbers of it, of at most {fixed.INPUT_VALUE.maximum}"
        raise OptionError("--input-range", what, remedy)
    return int(steps), int(offset)


def _carried(number: float) -> bool:
    """Whether a spike of an input can carry a number: neither infinity nor NaN are small enough."""
    return abs(number) <= fixed.INPUT_VALUE.maximum and number == int(number)


def with_offset(population: Population, offset: int) -> Population:
    """Add an input of every step to the bias; raises `OptionError` where u keeps inputs, or 13 bits do not hold it."""
    bias = (population.bias_mant.astype(np.int64) << population.bias_exp >> fixed.ALIGN_BITS) + offset
    if (population.decay_u != fixed.DECAY_ONE).any() or not fixed.BIAS_MANT.holds(bias).all():
        what = f"would add {offset} to the bias of the input's neurons, which their current or 13 bits do not allow"
        raise OptionError("--input-range", what, "leave it out, and run it on rasters from Python")
    return replace(population, bias_mant=bias, bias_exp=fixed.ALIGN_BITS if bias.any() else 0)
