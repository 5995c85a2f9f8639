"""Time constants in seconds, the shares of a state that they keep in one step, and a chip's decays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.connectivity import Array
from spikegraph.export.fixed import IntegerFormat


def kept_share(tau: Any, dt: float) -> Any:
    """Return the share of a state that is left after one step, exp(-dt / tau), as a float or as an array of float64.

    Each is computed by itself: the last bit of NumPy's own exponentials depends on the processor.
    """
    each = np.asarray(tau, np.float64)
    kept = np.array([math.exp(-dt / one) if one > 0 else 0.0 for one in each.ravel().tolist()]).reshape(each.shape)
    return kept if kept.ndim else float(kept)


def time_constant_of(kept: Array | float, dt: float) -> float | Array:
    """Return the time constants in seconds that leave these shares after one step.

    `kept_share` gives them back, from a half on within one unit in the last place and nearly always to the last bit:
    a time constant is finer there than the share that it makes. Smaller shares come back but for their last digits.
    """
    each = np.asarray(kept, np.float64)
    values, place = np.unique(each, return_inverse=True)
    found = np.array([_time_constant(value, dt) for value in values.tolist()])[place].reshape(each.shape)
    return found if found.ndim else float(found)


def _time_constant(kept: float, dt: float) -> float:
    if kept <= 0:
        return 0.0
    if kept >= 1:
        return math.inf
    near = -dt / math.log(kept)
    short = float(f"{near:.12g}")  # as somebody may have written it
    if short > 0 and math.exp(-dt / short) == kept:
        return short
    below = above = near
    for _ in range(64):
        for tau in (below, above):
            if math.exp(-dt / tau) == kept:
                return tau
        below, above = math.nextafter(below, 0), math.nextafter(above, math.inf)
    return near


def decay_constant(tau: Any, dt: float, limit: IntegerFormat) -> Any:
    """Return the decay of a time constant, in 1/4096 per step: 4096 · (1 - exp(-dt / tau)), rounded and clipped.

    An int for one time constant, else an array of int64; halves round to even.
    """
    decay = limit.round(np.asarray(fixed.DECAY_ONE * (1 - kept_share(tau, dt)))).astype(np.int64)
    return decay if decay.ndim else int(decay)
