"""One population over a window, by the law or otherwise: what another execution may have done in place of it.

`computed` is docs/semantics.md with every rule open to change; with none changed it is the reference engine, and a test
holds the two together. cause.py asks it which change makes what another execution did.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Graph, Projection
from spikegraph.hwsim.program import ProgramPopulation


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules of a step; what each says by default is the law.

    Parameters
    ----------
    decay_u, decay_v : callable(state, decay) → state
    range_u, range_v : callable(state) → state
        What keeps 24 bits.
    fires : callable(v, threshold) → bool
    reset_when : str
        "now"; "shown later": v is what it was before reset, and is reset as the next step begins; "a step late": v is
        set to 0 after the next step has been computed.
    v_takes : "u" or "u before"
        The u of this step, or of the step before.
    bias_into : "v" or "u"
    """

    decay_u: Callable[[Any, Any], Any] = fixed.decay
    decay_v: Callable[[Any, Any], Any] = fixed.decay
    range_u: Callable[[Any], Any] = fixed.wrap24
    range_v: Callable[[Any], Any] = fixed.saturate24
    fires: Callable[[Any, Any], Any] = operator.gt
    reset_when: Literal["now", "shown later", "a step late"] = "now"
    v_takes: Literal["u", "u before"] = "u"
    bias_into: Literal["v", "u"] = "v"


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """All that makes up what a population computes.

    Parameters
    ----------
    population : ProgramPopulation
    n_steps, n_samples : int
    arriving : mapping of projection → ndarray (T, B, *source)
        Spikes of the source when they arrive: delays applied.
    weights, exponents : mapping of projection → ndarray, int
    u, v : ndarray or int
        State before the first step.
    steps_before : int
        Steps that the population computes, without input, before its first.
    rules : Rules
    """

    population: ProgramPopulation
    n_steps: int
    n_samples: int
    arriving: Mapping[str, Array]
    weights: Mapping[str, Array]
    exponents: Mapping[str, int]
    u: Array | int = 0
    v: Array | int = 0
    steps_before: int = 0
    rules: Rules = field(default_factory=Rules)


def steps_between(graph: Graph, p: Projection) -> int:
    """Return the steps from a spike to its arrival, each counted in its own population's time."""
    begin = {name: population.start_step for name, population in graph.populations.items()}
    return p.delay_steps - (begin[p.target] - begin.get(p.source, 0))


def parts_of(graph: Graph, population: ProgramPopulation, spikes: Mapping[str, Array], n_samples: int) -> Parts:
    """Return what a population computes with, by the law.

    Parameters
    ----------
    graph : Graph
    population : ProgramPopulation
    spikes : mapping of node → ndarray (T, B, *shape)
        Of every source, in its own time.
    n_samples : int
    """
    projections = {p.name: p.projection for p in population.incoming}
    return Parts(
        population=population,
        n_steps=graph.n_steps,
        n_samples=n_samples,
        arriving={name: later(spikes[p.source], steps_between(graph, p)) for name, p in projections.items()},
        weights={name: p.weight for name, p in projections.items()},
        exponents={name: p.weight_exp for name, p in projections.items()},
    )


def later(spikes: Array, steps: int) -> Array:
    """Return spikes (T, …) so many steps later, or earlier if less than 0; what leaves the window is lost."""
    moved = np.zeros_like(spikes)
    if steps >= 0:
        moved[steps:] = spikes[: max(len(spikes) - steps, 0)]
    else:
        moved[:steps] = spikes[-steps:]
    return moved


def input_sums(parts: Parts) -> Array:
    """Return x of every step: ndarray of int64 (T, B, *shape)."""
    population = parts.population
    x = np.zeros((parts.n_steps, parts.n_samples, *population.shape), np.int64)
    for p in population.incoming:
        arriving, weight = parts.arriving[p.name].astype(np.int64), parts.weights[p.name]
        for t in range(parts.n_steps):
            weighted = p.projection.weighted_sum(weight, arriving[t], population.shape)
            x[t] += fixed.shift(weighted, parts.exponents[p.name])
    return x


def computed(parts: Parts, x: Array) -> dict[str, Array]:
    """Compute a population from its input sums x (T, B, *shape).

    Returns
    -------
    dict of "u", "v", "s", and "held" (v is held in this step, or was just reset) → ndarray (T, B, *shape)
    """
    population, rules = parts.population, parts.rules
    shape = x.shape[1:]
    u, v = np.zeros(shape, np.int64) + parts.u, np.zeros(shape, np.int64) + parts.v
    held, n_spikes, fired = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, bool)
    traces: dict[str, list[Array]] = {"u": [], "v": [], "s": [], "held": []}
    silence = np.zeros(shape, np.int64)
    for t in range(-parts.steps_before, len(x)):
        if rules.reset_when == "shown later":
            v = _reset(population, v, fired)
        u_before = u
        u = rules.decay_u(u, population.decay_u) + ((x[t] if t >= 0 else silence) << fixed.ALIGN_BITS)
        u = rules.range_u(u + population.bias if rules.bias_into == "u" else u)
        v = rules.decay_v(v, population.decay_v) + (u if rules.v_takes == "u" else u_before)
        v = np.where(held == 0, rules.range_v(v + population.bias if rules.bias_into == "v" else v), 0)
        s = rules.fires(v, population.threshold) & (held == 0)
        if rules.reset_when == "now":
            v = _reset(population, v, s)
        elif rules.reset_when == "a step late":
            v = np.where(fired, 0, v)
        n_spikes += s
        was_held = held > 0
        held = np.where(s, population.refractory_steps - 1, np.maximum(held - 1, 0))
        if population.max_spikes:
            held = np.where(n_spikes >= population.max_spikes, len(x), held)
        if t >= 0:
            for name, value in (("u", u), ("v", v), ("s", s), ("held", was_held | s)):
                traces[name].append(value)
        fired = s
    return {name: np.stack(values) for name, values in traces.items()}


def _reset(population: ProgramPopulation, v: Array, s: Array) -> Array:
    if population.reset == "none":
        return v
    return np.where(s, v - population.threshold if population.reset == "subtract" else 0, v)
