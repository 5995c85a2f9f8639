"""How far x, u and v of a graph can reach, whatever the input spikes: certificates that nothing overflows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.connectivity import Array, per_neuron
from spikegraph.export.graph import Graph, Population, Projection
from spikegraph.export.order import topological_order
from spikegraph.export.rarity import Limits, bias_of, limits, rarer, rarity_of

_NO_END = np.int64(1) << 62
_UNLIMITED = {"u_low": -_NO_END, "u_high": _NO_END, "v_low": -_NO_END, "v_high": _NO_END}


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The range that x, u and v of one population can reach within the window, whatever the input.

    Parameters
    ----------
    x, u, v : (int, int)
        Lowest and highest value over all neurons and steps, before wrapping and saturation.
    sum_each, sum_all : (int, int)
        Lowest and highest weighted sum before its shift: of any projection by itself, of all added up. The sum of any
        part of the spikes stays within as well.
    """

    x: tuple[int, int]
    u: tuple[int, int]
    v: tuple[int, int]
    sum_each: tuple[int, int]
    sum_all: tuple[int, int]

    @property
    def u_may_wrap(self) -> bool:
        """Whether u can leave (-2^23, 2^23]."""
        return not (-fixed.STATE_HALF < self.u[0] and self.u[1] <= fixed.STATE_HALF)

    @property
    def v_may_saturate(self) -> bool:
        """Whether v can leave ±(2^23 - 1)."""
        return not (-fixed.STATE_MAX <= self.v[0] and self.v[1] <= fixed.STATE_MAX)

    @property
    def verdict(self) -> str:
        """What can overflow, in short."""
        may = [("u may wrap", self.u_may_wrap), ("v may saturate", self.v_may_saturate)]
        return ", ".join(what for what, can in may if can) or "cannot overflow"

    @property
    def certificate(self) -> str:
        """Verdict in words, with the numbers."""
        says = []
        if self.u_may_wrap:
            says.append(f"u may wrap, bound {self.u[0]}…{self.u[1]} against ±{fixed.STATE_HALF}")
        if self.v_may_saturate:
            says.append(f"v may saturate, bound {self.v[0]}…{self.v[1]} against ±{fixed.STATE_MAX}")
        return "; ".join(says) or "cannot overflow"


def bounds(graph: Graph, *, coded: bool = False) -> dict[str, Bounds]:
    """Bound x, u and v of every population of a legal graph over its window.

    Intervals are carried through the integer rules themselves, step by step, every neuron by itself; decay, shift and
    saturation are monotonic, so the ends of an interval map to the ends of its image, and a wider interval to a wider.
    What sources that spike seldom can add up to (rarity.py) cuts the intervals of u and v off.

    Parameters
    ----------
    graph : Graph
    coded : bool
        Bound what inputs can do that the graph's coding makes, and not all that fit their `min_value…max_value`.
    """
    found: dict[str, Bounds] = {}
    rarities = {name: rarity_of(graph, name, coded=coded) for name in (*graph.inputs, *graph.populations)}
    for name in topological_order(graph):
        found[name] = bound = _population_bounds(graph, name, limits(graph, name, rarities))
        population = graph.populations[name]
        rise = (fixed.STATE_HALF if bound.u_may_wrap else bound.u[1]) + max(int(bias_of(population).max()), 0)
        # Of sources that come later, which only delays reach, no more is known than their own rules.
        rarities[name] = rarer(rarities[name], population, rise, graph.n_steps)
    return {name: found[name] for name in graph.populations}


def weighted_sum_bounds(graph: Graph, projection: Projection) -> tuple[Array, Array]:
    """Bound the sum onto each target neuron before its shift; that of any part of the spikes stays within as well."""
    source = graph.inputs.get(projection.source)
    least, most = (min(source.min_value, 0), max(source.max_value, 0)) if source else (0, 1)
    negative, positive = projection.reach(graph.shape_of(projection.source), graph.shape_of(projection.target))
    if (least, most) == (0, 1):
        return negative, positive
    return positive * least + negative * most, positive * most + negative * least


def _input_bounds(graph: Graph, name: str) -> tuple[Array, Array, dict[str, tuple[int, int]]]:
    """Bound x of each neuron, and the sums before their shift as in `Bounds`."""
    x_low, x_high, sum_low, sum_high = (np.zeros(graph.shape_of(name), np.int64) for _ in range(4))
    lows, highs = [0], [0]
    for projection in graph.into(name).values():
        low, high = weighted_sum_bounds(graph, projection)
        x_low += fixed.shift(low, projection.weight_exp)
        x_high += fixed.shift(high, projection.weight_exp)
        sum_low += low
        sum_high += high
        lows.append(int(low.min()))
        highs.append(int(high.max()))
    sums = {"sum_each": (min(lows), max(highs)), "sum_all": (int(sum_low.min()), int(sum_high.max()))}
    return x_low, x_high, sums


def _widest(low: Array, high: Array) -> tuple[Array, Array]:
    """Return the intervals that lie within no other."""
    order = np.lexsort((-high.ravel(), low.ravel()))  # the lowest first, of equally low ones the highest
    low, high = low.ravel()[order], high.ravel()[order]
    widest = np.append(True, high[1:] > np.maximum.accumulate(high)[:-1])
    return low[widest], high[widest]


def _alike(*ends: Array) -> list[Array]:
    """Return the rows that differ, of arrays with one entry a neuron."""
    return list(np.unique(np.stack([end.ravel() for end in ends]), axis=1))


def _population_bounds(graph: Graph, name: str, seldom: Limits | None) -> Bounds:
    population = graph.populations[name]
    x_low, x_high, sums = _input_bounds(graph, name)
    ends = seldom or Limits(**{end: np.array(side) for end, side in _UNLIMITED.items()})
    if all(getattr(population, p).ndim == 0 for p in Population.PARAMETERS):
        # Neurons that are otherwise alike reach no further.
        if seldom is None:
            x_low, x_high = _widest(x_low, x_high)
        else:
            x_low, x_high, *four = _alike(x_low, x_high, *vars(seldom).values())
            ends = Limits(**dict(zip(vars(seldom), four, strict=True)))
    decay_u, decay_v, threshold_mant, bias_mant, bias_exp = (
        per_neuron(getattr(population, p).astype(np.int64), x_low.shape) for p in Population.PARAMETERS
    )
    bias, threshold = bias_mant << bias_exp, threshold_mant << fixed.ALIGN_BITS
    certain = (ends.u_low > -fixed.STATE_HALF) & (ends.u_high <= fixed.STATE_HALF)  # that u wraps nowhere
    v_least, v_most = np.where(certain, ends.v_low, -_NO_END), np.where(certain, ends.v_high, _NO_END)
    u_low, u_high, v_low, v_high = (np.zeros(x_low.shape, np.int64) for _ in range(4))
    reached: list[Any] = [0, 0, 0, 0]
    for _ in range(graph.n_steps):
        before = (u_low, u_high, v_low, v_high)
        u_low = np.maximum(fixed.decay(u_low, decay_u) + (x_low << fixed.ALIGN_BITS), ends.u_low)
        u_high = np.minimum(fixed.decay(u_high, decay_u) + (x_high << fixed.ALIGN_BITS), ends.u_high)
        reached[0], reached[1] = min(reached[0], u_low.min()), max(reached[1], u_high.max())
        wraps = (u_low <= -fixed.STATE_HALF) | (u_high > fixed.STATE_HALF)
        u_low, u_high = np.where(wraps, 1 - fixed.STATE_HALF, u_low), np.where(wraps, fixed.STATE_HALF, u_high)
        v_low = np.maximum(fixed.decay(v_low, decay_v) + u_low + bias, v_least)
        v_high = np.minimum(fixed.decay(v_high, decay_v) + u_high + bias, v_most)
        reached[2], reached[3] = min(reached[2], v_low.min()), max(reached[3], v_high.max())
        v_low, v_high = fixed.saturate24(v_low), fixed.saturate24(v_high)
        # Reset and refractory periods bring v to 0; what is left above the threshold depends on the reset.
        v_low = np.minimum(v_low, 0)
        kept = {"zero": v_high * 0, "subtract": v_high - threshold, "none": v_high}[population.reset]
        v_high = np.maximum(np.where(v_high > threshold, np.maximum(threshold, kept), v_high), 0)
        if all(np.array_equal(a, b) for a, b in zip(before, (u_low, u_high, v_low, v_high), strict=True)):
            break
    low_u, high_u, low_v, high_v = (int(value) for value in reached)
    return Bounds(x=(int(x_low.min()), int(x_high.max())), u=(low_u, high_u), v=(low_v, high_v), **sums)
