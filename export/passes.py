"""Graph → Graph functions. Each says what it requires and what it ensures."""

from __future__ import annotations

from dataclasses import replace

from spikegraph.export import fixed
from spikegraph.export.check import require_legal
from spikegraph.export.errors import GraphError, Problem
from spikegraph.export.graph import Graph
from spikegraph.export.order import depths


def clocked(graph: Graph) -> Graph:
    """Return the graph as a chip's clock runs it: `pipelined`, unless every projection takes a step or more already."""
    return pipelined(graph) if any(p.delay_steps == 0 for p in graph.projections.values()) else graph


def pipelined(graph: Graph) -> Graph:
    """Turn a graph with zero delays into one that a chip's clock can run: every projection takes a step or more.

    Requires: a legal graph that is not pipelined yet.
    Ensures: every projection has delay >= 1; a population at depth k starts its sample at step k; its run equals the
    run of `graph`, shifted by k, bit for bit.

    A projection gains the difference of its ends' depths: one, and more where a shorter path meets a longer one. So a
    projection from a population to itself keeps its delay, and so does every loop as a whole.

    Raises
    ------
    GraphError
        A loop has more projections than delay steps, so that it cannot turn within its time on a chip.
    """
    require_legal(graph)
    if any(population.start_step for population in graph.populations.values()):
        raise GraphError([Problem(where="graph", what="is pipelined already", remedy="pass the original graph")])
    depth = depths(graph)
    projections, problems = {}, []
    for name, p in graph.projections.items():
        delay_steps = p.delay_steps + depth[p.target] - depth[p.source]
        projections[name] = replace(p, delay_steps=delay_steps)
        if not fixed.DELAY_STEPS.holds(delay_steps):
            what = f"needs delay_steps = {delay_steps} in the pipeline, outside {fixed.DELAY_STEPS}"
            problems.append(Problem(where=name, what=what, remedy="shorten its delay, or let relays share it"))
    if problems:
        raise GraphError(problems)
    populations = {name: replace(p, start_step=depth[name]) for name, p in graph.populations.items()}
    return replace(graph, projections=projections, populations=populations)
