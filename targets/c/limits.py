"""What the C target does not take, every reason of it: node, what, what to do."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from spikegraph.export.errors import Problem, RefusalError
from spikegraph.export.graph import Graph

MAX_WEIGHTS = 1 << 24  # stored, of all projections together: some 70 MB of C text
MAX_SPIKES_KEPT = 1 << 28  # neurons and lines, each as often as steps of its spikes are kept: 32 MB


class CRefusalError(RefusalError):
    """A graph that the C target does not take; carries every reason, not only the first."""

    said = "C cannot hold this graph"


def refusals(graph: Graph) -> list[Problem]:
    """List every reason why a legal graph does not become C; none if it does."""
    return [*_pipelined(graph), *_size(graph)]


def _pipelined(graph: Graph) -> Iterator[Problem]:
    for name, population in graph.populations.items():
        if population.start_step:
            what = f"start_step = {population.start_step}, but in C all populations start at once"
            yield Problem(where=name, what=what, remedy="build the graph that is not pipelined: it computes the same")


def _size(graph: Graph) -> Iterator[Problem]:
    n_weights = sum(p.weight.size for p in graph.projections.values())
    if n_weights > MAX_WEIGHTS:
        what = f"stores {n_weights:,} weights, but at most {MAX_WEIGHTS:,} are written as C"
        yield Problem(where="graph", what=what, remedy="use a smaller network, or the native engine")
    slots = slots_of(graph)
    n_kept = sum(slots[name] * prod(graph.shape_of(name)) for name in slots)
    if n_kept > MAX_SPIKES_KEPT:
        what = f"keeps {n_kept:,} spikes for its neurons and delays, but at most {MAX_SPIKES_KEPT:,} are kept in C"
        yield Problem(where="graph", what=what, remedy="use fewer neurons or shorter delays, or the native engine")


def slots_of(graph: Graph) -> dict[str, int]:
    """Return for how many steps the spikes of each input and population are kept: its longest delay, and this step."""
    slots = dict.fromkeys([*graph.inputs, *graph.populations], 1)
    for p in graph.projections.values():
        slots[p.source] = max(slots[p.source], p.delay_steps + 1)
    return slots
