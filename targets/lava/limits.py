"""What Lava's stock processes cannot express, every reason of it: node, what, what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import networkx as nx
import numpy as np

from spikegraph.export import fixed
from spikegraph.export.bounds import Bounds, bounds
from spikegraph.export.errors import Problem, TargetError
from spikegraph.export.graph import Dense, Graph, Population, Projection
from spikegraph.targets.lava.weights import fitted

MAX_DELAY = 64  # DelayDense holds 63, and every Dense takes one
LAVA_U = 3 * fixed.STATE_HALF  # Lava wraps u once, so it must lie in (-3·2^23, 3·2^23] before
SHARED = {"decay_u": "du", "decay_v": "dv", "threshold_mant": "vth"}


class LavaRefusalError(TargetError):
    """A graph that Lava's stock processes cannot express; carries every reason, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(problems[0].where, problems[0].what, problems[0].remedy)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        self.args = (f"Lava cannot express this graph, {len(self.problems)} reason(s):\n{lines}",)


def refusals(pipelined_graph: Graph) -> list[Problem]:
    """List every reason why a pipelined graph cannot become a Lava network; none if it can."""
    found = [problem for name, p in pipelined_graph.populations.items() for problem in _neuron(name, p)]
    for name, p in pipelined_graph.projections.items():
        found += _synapses(name, p)
    found += _connected(pipelined_graph)
    if all(isinstance(p, Dense) for p in pipelined_graph.projections.values()):
        for name, bound in bounds(pipelined_graph).items():
            found += _range(name, bound)
        found += _graded(pipelined_graph)
    return found


def _neuron(where: str, population: Population) -> Iterator[Problem]:
    for parameter, name in SHARED.items():
        n_values = len(np.unique(getattr(population, parameter)))
        if n_values > 1:
            what = f"{parameter} has {n_values} values, but a Lava process has one {name}"
            yield Problem(where=where, what=what, remedy="quantize for loihi1: it folds or splits, or train with one")
    if (population.decay_v == fixed.DECAY_ONE).any():
        what = f"decay_v = {fixed.DECAY_ONE} does not fit Lava's 12-bit dv"
        yield Problem(where=where, what=what, remedy=f"use at most {fixed.DECAY_ONE - 1}")
    if population.reset != "zero":
        what = f"reset = {population.reset!r}, but Lava's LIF resets v to zero"
        yield Problem(where=where, what=what, remedy="train with reset to zero")
    if population.refractory_steps > 1:
        what = f"refractory_steps = {population.refractory_steps}, but Lava's LIFReset has no refractory period"
        yield Problem(where=where, what=what, remedy="train with refractory_steps = 1")
    if population.max_spikes:
        what = f"max_spikes = {population.max_spikes}, but Lava's LIF counts no spikes"
        yield Problem(where=where, what=what, remedy="train without a limit on spikes")


def _synapses(where: str, projection: Projection) -> Iterator[Problem]:
    if not isinstance(projection, Dense):
        what = f"{projection.kind} has no Lava process here yet"
        yield Problem(where=where, what=what, remedy="use Dense, or another target")
    elif fitted(projection.weight, projection.weight_exp) is None:
        low, high = projection.weight.min(), projection.weight.max()
        what = f"weights {low}…{high} fit neither even -256…254, nor 0…255, nor -255…0, also not times a power of two"
        yield Problem(where=where, what=what, remedy="quantize for the chip profile loihi1")
    if projection.delay_steps > MAX_DELAY:
        what = f"needs a delay of {projection.delay_steps} steps, but DelayDense holds {MAX_DELAY}"
        yield Problem(where=where, what=what, remedy="insert relay populations, or shorten the skip")


def _connected(graph: Graph) -> Iterator[Problem]:
    network: nx.Graph[str] = nx.Graph((p.source, p.target) for p in graph.projections.values())
    network.add_nodes_from(graph.populations)
    parts = [sorted(part) for part in nx.connected_components(network)]
    if len(parts) > 1:
        what = f"falls into {len(parts)} unconnected parts ({'; '.join(part[0] for part in parts)} …)"
        yield Problem(where="graph", what=f"{what}, but Lava runs one network", remedy="build each part by itself")


def _range(where: str, bound: Bounds) -> Iterator[Problem]:
    low, high = bound.u
    if low <= -LAVA_U or high > LAVA_U:
        what = f"u may reach {low}…{high} before it wraps, but Lava wraps once, so beyond ±{LAVA_U} it leaves 24 bits"
        yield Problem(where=where, what=what, remedy="lower weights, weight_exp or fan-in, or raise decay_u")


def _graded(graph: Graph) -> Iterator[Problem]:
    for name, p in graph.projections.items():
        source = graph.inputs.get(p.source)
        if source is None or not source.graded:
            continue
        # Twice the weights: `fitted` may double them.
        most = 2 * int(np.abs(p.weight.astype(np.int64)).sum(axis=1).max(initial=0))
        most *= max(abs(source.min_value), abs(source.max_value))
        if most >= 1 << 31:
            what = f"graded sums may reach {most}, but Lava adds them in 32 bits"
            yield Problem(where=name, what=what, remedy="lower the input's range or the fan-in")
