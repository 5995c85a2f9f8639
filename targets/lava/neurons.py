"""Which process of Lava a population becomes: `LIFReset` where that computes the same, else our own `Neurons`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.bounds import Bounds
from spikegraph.export.connectivity import Array, per_neuron
from spikegraph.export.graph import Population
from spikegraph.targets.lava.planned import Planned

LAVA_U = 3 * fixed.STATE_HALF  # Lava wraps u once, so it must lie in (-3·2^23, 3·2^23] before
SHARED = {"decay_u": "du", "decay_v": "dv", "threshold_mant": "vth"}


def planned_neurons(population: Population, bound: Bounds, period: int, clear_step: int) -> Planned:
    """Plan the process of a population of a pipelined graph.

    Parameters
    ----------
    population : Population
    bound : Bounds
        How far its x, u and v reach.
    period, clear_step : int
        Its state is cleared in step `clear_step` of the network, and every `period` steps from there.
    """
    timing = {
        "shape": list(population.shape),
        "start_step": population.start_step,
        "reset_offset": (clear_step + 1) % period,  # Lava counts steps from 1
    }
    reasons = list(not_stock(population, bound))
    if reasons:
        bias = _each(population, "bias_mant") << _each(population, "bias_exp")
        threshold = _each(population, "threshold_mant") << fixed.ALIGN_BITS
        arrays = {"bias": bias, "threshold": threshold}
        arrays |= {name: _each(population, name) for name in ("decay_u", "decay_v")}
        options = {name: getattr(population, name) for name in ("reset", "refractory_steps", "max_spikes")}
        entry = {**timing, "options": options}
        return Planned(process="Neurons", entry=entry, arrays=arrays, why_not_stock="; ".join(reasons))
    options = {
        "du": int(population.decay_u.flat[0]) - 1,
        "dv": int(population.decay_v.flat[0]),
        "vth": int(population.threshold_mant.flat[0]),
    }
    arrays = {name: _each(population, name).astype(np.int16) for name in ("bias_mant", "bias_exp")}
    return Planned(process="LIFReset", entry={**timing, "options": options}, arrays=arrays)


def not_stock(population: Population, bound: Bounds) -> Iterator[str]:
    """Say why a population cannot be a `LIFReset`: every reason; nothing if it can."""
    for parameter, name in SHARED.items():
        n_values = len(np.unique(getattr(population, parameter)))
        if n_values > 1:
            yield f"{parameter} has {n_values} values, but LIFReset has one {name}"
    if (population.decay_v == fixed.DECAY_ONE).any():
        yield f"decay_v = {fixed.DECAY_ONE} does not fit LIFReset's 12-bit dv"
    if population.reset != "zero":
        yield f"reset is {population.reset!r}, but LIFReset sets v to zero"
    if population.refractory_steps > 1:
        yield f"refractory_steps = {population.refractory_steps}, but LIFReset has no refractory period"
    if population.max_spikes:
        yield f"max_spikes = {population.max_spikes}, but LIFReset counts no spikes"
    low, high = bound.u
    if low <= -LAVA_U or high > LAVA_U:
        yield f"u may reach {low}…{high} before it wraps, but LIFReset wraps once, so only within ±{LAVA_U}"


def _each(population: Population, parameter: str) -> Array:
    return per_neuron(getattr(population, parameter).astype(np.int64), population.shape).reshape(-1)
