"""How seldom the neurons of a graph spike at most, and so how much can reach u and v within a window.

A neuron with a spike limit, a refractory period or a threshold that takes several steps to reach cannot spike in every
step, and what has leaked away by the time of the next spike does not add up. `bounds` carries intervals from step to
step, as if every source could spike in each; here the spikes of each source are put where they do most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.connectivity import Array, per_neuron
from spikegraph.export.graph import Graph, Population, Projection

_MARGIN = 1e-9  # relative; what float64 can be off by in sums of 2^20 terms is less
_MOST = 1 << 61


@dataclass(frozen=True, kw_only=True)
class Rarity:
    """No neuron of an input or population spikes more than `most` times in a window, nor twice within `gap` steps."""

    most: int
    gap: int


def rarity_of(graph: Graph, name: str, *, coded: bool) -> Rarity:
    """Return what a node's own rules say.

    Parameters
    ----------
    coded : bool
        Take inputs to be what the graph's coding makes: with `first_spike`, a line spikes once.
    """
    if name in graph.inputs:
        once = coded and graph.coding is not None and graph.coding.kind == "first_spike"
        return Rarity(most=1 if once else graph.n_steps, gap=1)
    population = graph.populations[name]
    most = -(-graph.n_steps // population.refractory_steps)
    return Rarity(most=min(population.max_spikes or most, most), gap=population.refractory_steps)


def rarer(own: Rarity, population: Population, rise: int, n_steps: int) -> Rarity:
    """Return a population's rarity, given how much its v can rise in a step: the largest u + bias.

    Only a reset to zero says from where v has to rise again.
    """
    threshold = int(population.threshold_mant.min()) << fixed.ALIGN_BITS
    if rise <= 0:
        return Rarity(most=0, gap=own.gap)
    first = threshold // rise + 1  # steps after which v can be above it
    if first > n_steps:
        return Rarity(most=0, gap=own.gap)
    if population.reset != "zero":
        return Rarity(most=min(own.most, n_steps - first + 1), gap=own.gap)
    gap = own.gap - 1 + first
    return Rarity(most=min(own.most, (n_steps - first) // gap + 1), gap=gap)


def bias_of(population: Population) -> Array:
    """Return the bias of each neuron, in units of v: ndarray of int64, of the population's shape."""
    mant, exp = (per_neuron(a, population.shape) for a in (population.bias_mant, population.bias_exp))
    return np.asarray(mant.astype(np.int64) << exp)


@dataclass(frozen=True, kw_only=True, eq=False)
class Limits:
    """Ends that u and v before wrapping and saturation do not pass: ndarrays of int64, of the population's shape.

    Those of v hold if u does not wrap.
    """

    u_low: Array
    u_high: Array
    v_low: Array
    v_high: Array


def limits(graph: Graph, name: str, rarities: Mapping[str, Rarity]) -> Limits | None:
    """Bound u and v of a population by the spikes that its sources can have; None if all can spike in each step.

    In steps, v is a sum of what each spike and bias adds to it, less what has leaked: |v| rounded toward zero, a reset
    and a held v only bring it closer to 0. So v stays below what the positive weights make of it alone, and above what
    the negative ones make, each source spiking when it tells most.
    """
    incoming = graph.into(name).values()
    if all(rarities[p.source].most >= graph.n_steps for p in incoming):
        return None
    population, n_steps = graph.populations[name], graph.n_steps
    keep_u, keep_v = (1 - int(d.min()) / fixed.DECAY_ONE for d in (population.decay_u, population.decay_v))
    of_u = keep_u ** np.arange(n_steps)  # what is left in u of a spike, steps after it
    of_v, of_bias = _filtered(of_u, keep_v), float((keep_v ** np.arange(n_steps)).sum())
    bias = bias_of(population)
    ends = {"u_low": np.zeros(population.shape), "u_high": np.zeros(population.shape)}
    ends |= {"v_low": np.minimum(bias, 0) * of_bias, "v_high": np.maximum(bias, 0) * of_bias}
    for p in incoming:
        low, high = _spikes_of_all(graph, p)
        for variable, response in (("u", of_u), ("v", of_v)):
            most = _peak(response, rarities[p.source]) * (1 << fixed.ALIGN_BITS)
            ends[f"{variable}_low"] = ends[f"{variable}_low"] + low * most
            ends[f"{variable}_high"] = ends[f"{variable}_high"] + high * most
    return Limits(**{end: _outward(value) for end, value in ends.items()})


def _filtered(response: Array, keep: float) -> Array:
    filtered, value = np.empty(len(response)), 0.0
    for step, added in enumerate(response.tolist()):
        value = value * keep + added
        filtered[step] = value
    return filtered


def _peak(response: Array, rarity: Rarity) -> float:
    """Return the largest sum of a response that so many spikes, so far apart, can have in one step."""
    if rarity.most == 0:
        return 0.0
    free = float(np.sort(response)[-rarity.most :].sum())
    if rarity.gap == 1:
        return free
    best = np.zeros(len(response) + 1)  # best[i]: of spikes less than i steps ago
    for step, value in enumerate(response.tolist()):
        best[step + 1] = max(best[step], value + best[max(step + 1 - rarity.gap, 0)])
    return min(free, float(best[-1]))


def _spikes_of_all(graph: Graph, p: Projection) -> tuple[Array, Array]:
    """Return the least and the most that one spike of each source neuron adds to x at each target neuron, as floats.

    A sum that is floored is not more than the sum of what is not, nor less than the sum of what is floored one by one.
    """
    source, shapes = graph.inputs.get(p.source), (graph.shape_of(p.source), graph.shape_of(p.target))
    least, most = (min(source.min_value, 0), max(source.max_value, 0)) if source else (0, 1)
    negative, positive = p.reach(*shapes)
    high = (positive * most + negative * least) * 2.0**p.weight_exp
    if p.weight_exp < 0:
        weight = p.weight.astype(np.int64)
        negative, _ = replace(p, weight=weight >> -p.weight_exp).reach(*shapes)
        _, positive = replace(p, weight=-((-weight) >> -p.weight_exp)).reach(*shapes)
        return (negative * most + positive * least) * 1.0, high
    return (negative * most + positive * least) * 2.0**p.weight_exp, high


def _outward(end: Array) -> Array:
    """Return whole numbers that are not closer to 0, whatever float64 rounded on the way."""
    exact = (end == np.rint(end)) & (np.abs(end) < 0.1 / _MARGIN)
    whole = np.where(exact, end, end * (1 + _MARGIN) + np.sign(end))
    return np.asarray(np.trunc(whole.clip(-_MOST, _MOST)).astype(np.int64))
