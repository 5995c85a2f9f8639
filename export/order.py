"""The order in which populations are computed, and the depth of each: loops and longest paths."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx

from spikegraph.export.errors import GraphError, Problem
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.graph import Graph


def _zero_delay(graph: Graph | FloatGraph) -> nx.DiGraph[str]:
    ordered: nx.DiGraph[str] = nx.DiGraph()
    ordered.add_nodes_from([*graph.inputs, *graph.populations])
    ordered.add_edges_from((p.source, p.target) for p in graph.projections.values() if p.delay_steps == 0)
    return ordered


def zero_delay_loop(graph: Graph | FloatGraph) -> list[str] | None:
    """Return the nodes of a loop whose delays add up to zero (first node repeated at the end), or None."""
    try:
        edges = nx.find_cycle(_zero_delay(graph))
    except nx.NetworkXNoCycle:
        return None
    return [edges[0][0], *(edge[1] for edge in edges)]


def topological_order(graph: Graph | FloatGraph) -> list[str]:
    """Return the populations so that each comes after those that reach it without delay; ties by position."""
    position = {name: i for i, name in enumerate([*graph.inputs, *graph.populations])}
    ordered = nx.lexicographical_topological_sort(_zero_delay(graph), key=position.__getitem__)
    return [name for name in ordered if name in graph.populations]


def in_loops(graph: Graph | FloatGraph) -> set[str]:
    """Return the names of projections that have a delay and lie on a loop: the recurrent ones."""
    full: nx.DiGraph[str] = nx.DiGraph((p.source, p.target) for p in graph.projections.values())
    component = {node: i for i, nodes in enumerate(nx.strongly_connected_components(full)) for node in nodes}
    return {
        name
        for name, p in graph.projections.items()
        if p.delay_steps > 0 and component[p.source] == component[p.target]
    }


def depths(graph: Graph | FloatGraph) -> dict[str, int]:
    """Return each node's depth: the length of the longest path to it.

    A projection adds one; on a loop it adds one less its delay, because a chip may use up that delay for the step that
    it takes to deliver a spike.

    Raises
    ------
    GraphError
        A loop has more projections than delay steps, so that it cannot turn within its time on a chip.
    """
    recurrent = in_loops(graph)
    lengths: dict[tuple[str, str], int] = {}
    for name, p in graph.projections.items():
        length = 1 - p.delay_steps if name in recurrent else 1
        lengths[p.source, p.target] = max(length, lengths.get((p.source, p.target), length))
    depth = dict.fromkeys([*graph.inputs, *graph.populations], 0)
    for _ in range(len(depth) + 1):  # Bellman and Ford: a longer path than that has a loop in it
        before = dict(depth)
        for (source, target), length in lengths.items():
            depth[target] = max(depth[target], depth[source] + length)
        if depth == before:
            return depth
    raise GraphError([_loop_problem(lengths)])


def _loop_problem(lengths: dict[tuple[str, str], int]) -> Problem:
    weighted: nx.DiGraph[str] = nx.DiGraph()
    weighted.add_weighted_edges_from((source, target, -length) for (source, target), length in lengths.items())
    weighted.add_weighted_edges_from([("", node, 0) for node in list(weighted)])  # no node has an empty name
    loop = nx.find_negative_cycle(weighted, "")
    n = len(loop) - 1
    delays = sum(1 - lengths[edge] for edge in pairwise(loop))
    return Problem(
        where=" → ".join(loop),
        what=f"is a loop of {n} projections with {delays} delay steps in all, and on a chip each takes at least one",
        remedy=f"raise their delay_steps by {n - delays} in all",
    )
