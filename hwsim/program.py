"""Graph → program, which every engine runs: populations in the order of a step, parameters spread over neurons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.check import require_legal
from spikegraph.export.connectivity import Array, Shape, per_neuron
from spikegraph.export.graph import Graph, Projection, Reset
from spikegraph.export.order import topological_order
from spikegraph.hwsim.tally import Tally


@dataclass(frozen=True, kw_only=True, eq=False)
class ProgramProjection:
    """A projection with the number of synapses that each source neuron has.

    Parameters
    ----------
    fan_out, effective_fan_out : ndarray of int64, shape of the source
        Stored synapses of each source neuron; those whose weight is not zero.
    dense_macs : int
        Multiply-accumulates of the same layer in a dense network, once.
    """

    name: str
    projection: Projection
    fan_out: Array
    effective_fan_out: Array
    dense_macs: int


@dataclass(frozen=True, kw_only=True, eq=False)
class ProgramPopulation:
    """A population with one parameter per neuron: int64 arrays of the population's shape, views where one is for all.

    `threshold` and `bias` are in the units of v, their exponents applied.
    """

    name: str
    shape: Shape
    decay_u: Array
    decay_v: Array
    threshold: Array
    bias: Array
    reset: Reset
    refractory_steps: int
    max_spikes: int
    start_step: int
    incoming: tuple[ProgramProjection, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """A legal graph, ready to run.

    Parameters
    ----------
    populations : tuple of ProgramPopulation
        In the order in which a step computes them.
    depth : int
        Steps that a pipelined graph needs beyond n_steps; 0 otherwise.
    tally : Tally, optional
        What to count for each core of a placement.
    """

    graph: Graph
    populations: tuple[ProgramPopulation, ...]
    depth: int
    tally: Tally | None = None


def compile_program(graph: Graph, tally: Tally | None = None) -> Program:
    """Compile a graph; raises `GraphError` with every problem of a graph that is not legal."""
    require_legal(graph)
    populations = tuple(_population(graph, name) for name in topological_order(graph))
    return Program(graph=graph, populations=populations, depth=max(p.start_step for p in populations), tally=tally)


def _population(graph: Graph, name: str) -> ProgramPopulation:
    population = graph.populations[name]
    shape = population.shape
    decay_u, decay_v, threshold_mant, bias_mant, bias_exp = (
        getattr(population, parameter).astype(np.int64) for parameter in population.PARAMETERS
    )
    if bias_mant.shape != bias_exp.shape:
        bias_mant, bias_exp = per_neuron(bias_mant, shape), per_neuron(bias_exp, shape)
    return ProgramPopulation(
        name=name,
        shape=shape,
        decay_u=per_neuron(decay_u, shape),
        decay_v=per_neuron(decay_v, shape),
        threshold=per_neuron(threshold_mant << fixed.ALIGN_BITS, shape),
        bias=per_neuron(bias_mant << bias_exp, shape),
        reset=population.reset,
        refractory_steps=population.refractory_steps,
        max_spikes=population.max_spikes,
        start_step=population.start_step,
        incoming=tuple(_projection(graph, p_name, p) for p_name, p in graph.into(name).items()),
    )


def _projection(graph: Graph, name: str, p: Projection) -> ProgramProjection:
    source, target = graph.shape_of(p.source), graph.shape_of(p.target)
    stored, effective = p.fan_out(p.stored(), source, target), p.fan_out(p.weight, source, target)
    return ProgramProjection(
        name=name,
        projection=p,
        fan_out=stored,
        effective_fan_out=stored if np.array_equal(stored, effective) else effective,
        dense_macs=p.dense_macs(source, target),
    )
