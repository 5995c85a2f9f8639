"""Graph → Graph functions. Each says what it requires and what it ensures."""

from __future__ import annotations

from dataclasses import replace

from spikegraph.export.check import require_legal
from spikegraph.export.errors import GraphError, Problem
from spikegraph.export.graph import Graph
from spikegraph.export.order import depths, in_loops


def pipelined(graph: Graph) -> Graph:
    """Turn a graph with zero delays into one that a chip's clock can run: every projection takes a step or more.

    Requires: a legal graph that is not pipelined yet.
    Ensures: every projection has delay >= 1; a population at depth k starts its sample at step k; its run equals the
    run of `graph`, shifted by k, bit for bit.

    A projection gains the difference of its ends' depths (one, and more where a shorter path meets a longer one). A
    recurrent projection from a population to itself keeps its delay.

    Raises
    ------
    GraphError
        A loop has more projections than delay steps, so that it cannot turn within its time on a chip.
    """
    require_legal(graph)
    if any(population.start_step for population in graph.populations.values()):
        raise GraphError([Problem(where="graph", what="is pipelined already", remedy="pass the original graph")])
    depth, recurrent = depths(graph), in_loops(graph)
    projections, problems = {}, []
    for name, p in graph.projections.items():
        delay_steps = p.delay_steps + depth[p.target] - depth[p.source]
        if delay_steps < 1:
            what = f"its loop leaves a delay of {delay_steps} on a chip, where each projection takes at least one step"
            remedy = f"give it delay_steps of at least {1 + depth[p.source] - depth[p.target]}"
            problems.append(Problem(where=name, what=what, remedy=remedy))
        elif name not in recurrent and delay_steps > 1023:
            problems.append(Problem(where=name, what=f"would need a delay of {delay_steps}", remedy="insert relays"))
        else:
            projections[name] = replace(p, delay_steps=delay_steps)
    if problems:
        raise GraphError(problems)
    populations = {name: replace(p, start_step=depth[name]) for name, p in graph.populations.items()}
    return replace(graph, projections=projections, populations=populations)
