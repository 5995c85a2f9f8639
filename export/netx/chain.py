"""A graph as layers that follow each other, which is all that a `.net` file holds."""

from __future__ import annotations

from dataclasses import dataclass

from spikegraph.export.errors import GraphError, Problem
from spikegraph.export.graph import Graph, Projection

_REMEDY = "a .net file holds layers that follow each other; save it as .h5"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One population and what feeds it.

    Parameters
    ----------
    name, source : str
        The population, and the input or population before it.
    feeds : dict of str → Projection
        From the source.
    loops : dict of str → Projection
        From the population to itself.
    """

    name: str
    source: str
    feeds: dict[str, Projection]
    loops: dict[str, Projection]


def chain_of(graph: Graph) -> list[Stage]:
    """Return the populations in the order of their layers.

    Raises
    ------
    GraphError
        With everything that is no chain: several inputs, branches, skips, loops over several populations, a pipeline.
    """
    problems = []
    if len(graph.inputs) > 1:
        what = f"has {len(graph.inputs)} inputs ({', '.join(graph.inputs)})"
        problems.append(Problem(where="graph", what=what, remedy=_REMEDY))
    feeds = {name: {n: p for n, p in graph.into(name).items() if p.source != name} for name in graph.populations}
    for name, into in feeds.items():
        sources = list(dict.fromkeys(p.source for p in into.values()))
        if len(sources) != 1:
            what = f"is fed by {len(sources)} nodes{': ' * bool(sources)}{', '.join(sources)}"
            problems.append(Problem(where=f"population {name}", what=what, remedy=_REMEDY))
        if graph.populations[name].start_step:
            what = f"start_step = {graph.populations[name].start_step}: the graph is pipelined"
            problems.append(Problem(where=f"population {name}", what=what, remedy="save the graph as it was before"))
    for source in [*graph.inputs, *graph.populations]:
        targets = [name for name, into in feeds.items() if any(p.source == source for p in into.values())]
        if len(targets) > 1:
            problems.append(Problem(where=source, what=f"feeds {len(targets)}: {', '.join(targets)}", remedy=_REMEDY))
    if problems:
        raise GraphError(problems)
    stages: list[Stage] = []
    last = next(iter(graph.inputs))
    follows = {next(iter(into.values())).source: name for name, into in feeds.items()}
    while last in follows and len(stages) < len(graph.populations):
        name = follows[last]
        loops = {n: p for n, p in graph.into(name).items() if p.source == name}
        stages.append(Stage(name=name, source=last, feeds=feeds[name], loops=loops))
        last = name
    if len(stages) < len(graph.populations):
        unreached = [name for name in graph.populations if name not in {stage.name for stage in stages}]
        what = f"populations {', '.join(unreached)} are not reached from the input"
        raise GraphError([Problem(where="graph", what=what, remedy=_REMEDY)])
    return stages
