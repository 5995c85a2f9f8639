"""Several graphs that read the same input → one graph in which they decide together: an ensemble, deployed as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from spikegraph.export.check import require_legal
from spikegraph.export.coding import Readout
from spikegraph.export.errors import GraphError, Problem
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.graph import NAME, Graph

GraphT = TypeVar("GraphT", Graph, FloatGraph)


def join(
    graphs: Sequence[GraphT], names: Sequence[str], *, weights: Sequence[int] = (), readout: Readout | None = None
) -> GraphT:
    """Put graphs side by side on one input.

    Requires: legal graphs of one kind that have the same inputs, coding and n_steps (and dt).
    Ensures: each computes what it computes alone, bit for bit, on the spikes that the first one's code makes (the seeds
    of rate codes may differ, as those of networks that were trained from different seeds do); population, projection
    and output x of the graph called n is called n.x; the inputs keep their names.

    Parameters
    ----------
    graphs : sequence of Graph, or of FloatGraph
        Two or more.
    names : sequence of str
        One for each graph.
    weights : sequence of int, optional
        One for each graph: what each of its output spikes counts for. Without them all count alike.
    readout : Readout, optional
        How they decide together, with names of outputs as they become; by default all outputs that their own readouts
        read, jointly.

    Raises
    ------
    GraphError
        They do not go together; every reason is listed.
    """
    for graph in graphs:
        require_legal(graph)
    found = list(_problems(graphs, names))
    if readout is None:
        found += _readout_problems(graphs, names, weights)
    if found:
        raise GraphError(found)
    populations: dict[str, Any] = {}
    projections: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    for name, graph in zip(names, graphs, strict=True):
        new = {**{node: node for node in graph.inputs}, **{node: f"{name}.{node}" for node in graph.populations}}
        for node, p in graph.populations.items():
            populations[new[node]] = p
        for node, q in graph.projections.items():
            projections[f"{name}.{node}"] = replace(q, source=new[q.source], target=new[q.target])
        for node, output in graph.outputs.items():
            outputs[f"{name}.{node}"] = replace(output, population=new[output.population])
    joint = replace(
        graphs[0],
        populations=populations,
        projections=projections,
        outputs=outputs,
        readout=_joint_readout(graphs, names, weights) if readout is None else readout,
        provenance=_provenance(graphs, names),
    )
    require_legal(joint)
    return joint


def _problems(graphs: Sequence[GraphT], names: Sequence[str]) -> Iterator[Problem]:
    if len(graphs) < 2 or len(set(names)) != len(graphs) or len(names) != len(graphs):
        what = f"got {len(graphs)} graph{'s' * (len(graphs) != 1)}, named {', '.join(names) or 'nothing'}"
        remedy = "give two graphs or more, and each a name of its own (--names a,b)"
        yield Problem(where="join", what=what, remedy=remedy)
        return
    first: Graph | FloatGraph = graphs[0]
    for name, graph in zip(names, graphs, strict=True):
        if not NAME.match(name):
            remedy = "use letters, digits, '_', '.' and '-'"
            yield Problem(where="join", what=f"the name {name!r} is not one that a node may have", remedy=remedy)
        if type(graph) is not type(first):
            what = f"is a {type(graph).__name__}, and {names[0]} a {type(first).__name__}"
            yield Problem(where=name, what=what, remedy="quantize all of them, or none")
            continue
        for field in ("inputs", "coding", "n_steps", *(["dt"] if isinstance(first, FloatGraph) else [])):
            mine, theirs = _compared(graph, field), _compared(first, field)
            if mine != theirs:
                what = f"{field} is {_said(mine)}, and {_said(theirs)} in {names[0]}"
                yield Problem(where=name, what=what, remedy="join graphs that read the same in the same steps")


def _compared(graph: Graph | FloatGraph, field: str) -> Any:
    """Return a field of a graph as it must be alike; the seed of a code need not be, the first one's serves all."""
    value = getattr(graph, field)
    return replace(value, seed=0) if field == "coding" and value is not None else value


def _said(value: Any) -> str:
    return ", ".join(f"{name} {node}" for name, node in value.items()) if hasattr(value, "items") else str(value)


def _readout_problems(graphs: Sequence[GraphT], names: Sequence[str], weights: Sequence[int]) -> Iterator[Problem]:
    if weights and len(weights) != len(graphs):
        what = f"got {len(weights)} weights for {len(graphs)} graphs"
        yield Problem(where="join", what=what, remedy="give one for each, or none")
    expected: tuple[str, int] | None = None
    for name, graph in zip(names, graphs, strict=False):
        if graph.readout is None:
            yield Problem(where=name, what="has no readout", remedy="say how they decide together")
        elif graph.readout.kind == "membrane":
            what = "reads potentials, which have no scale in common with those of another graph"
            yield Problem(where=name, what=what, remedy="join graphs that read spikes: count or first_spike")
        else:
            kind = (graph.readout.kind, _n_classes(graph, graph.readout))
            expected = expected or kind
            if kind != expected:
                what = f"reads {kind[0]} of {kind[1]} classes, {names[0]} {expected[0]} of {expected[1]}"
                yield Problem(where=name, what=what, remedy="join graphs that tell the same classes apart alike")


def _n_classes(graph: Graph | FloatGraph, readout: Readout) -> int:
    return graph.populations[graph.outputs[readout.output].population].n // readout.neurons_per_class


def _joint_readout(graphs: Sequence[GraphT], names: Sequence[str], weights: Sequence[int]) -> Readout:
    readouts = [graph.readout for graph in graphs if graph.readout is not None]
    outputs = [f"{name}.{output}" for name, readout in zip(names, readouts, strict=True) for output in readout.outputs]
    each = [
        int(weight) * own
        for weight, readout in zip(weights or [1] * len(graphs), readouts, strict=True)
        for own in readout.weights or (1,) * len(readout.outputs)
    ]
    return replace(
        readouts[0],
        output=outputs[0],
        joined=tuple(outputs[1:]),
        weights=tuple(each) if set(each) != {1} else (),
    )


def _provenance(graphs: Sequence[GraphT], names: Sequence[str]) -> dict[str, Any]:
    """Keep what made each, and at the top what all agree on of the chip."""
    each = {name: dict(graph.provenance) for name, graph in zip(names, graphs, strict=True)}
    first = each[names[0]]
    alike = {
        key: first[key]
        for key in ("chip", "weight_bits")
        if key in first and all(one.get(key) == first[key] for one in each.values())
    }
    return {**alike, "joined": each}
