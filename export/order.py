"""The order in which populations are computed, and the depth of each: longest paths and loops, by networkx."""

from __future__ import annotations

import networkx as nx

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
    """Return each node's depth: the number of projections on the longest path to it, recurrent ones left out."""
    recurrent = in_loops(graph)
    forward: nx.DiGraph[str] = nx.DiGraph()
    forward.add_nodes_from([*graph.inputs, *graph.populations])
    forward.add_edges_from((p.source, p.target) for name, p in graph.projections.items() if name not in recurrent)
    depth: dict[str, int] = {}
    for node in nx.topological_sort(forward):
        depth[node] = max((depth[source] + 1 for source in forward.predecessors(node)), default=0)
    return depth
