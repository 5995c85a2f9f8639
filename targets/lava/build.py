"""Integer graph → plan of a Lava network: plain numbers and arrays, which network.py brings to life.

    Input                  io.source.RingBuffer
    projections            stock synapses, or our own (synapses.py)
    Population             LIFReset, or our own Neurons (neurons.py), cleared where its sample starts

Samples follow each other in one run, back to back, T steps each: a population at depth k works on a sample from step k
on, and is cleared there. Where the graph has delays, spikes of one sample would still be on their way in the next. Our
own synapses leave them out. Stock ones do not; if all others are stock, each sample has the network for itself for
T + depth steps, and all is cleared between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import networkx as nx

from spikegraph.export.bounds import bounds
from spikegraph.export.check import require_legal
from spikegraph.export.connectivity import Array
from spikegraph.export.errors import GraphError, RefusalError
from spikegraph.export.graph import Graph, Input
from spikegraph.export.hdf5 import graph_checksum
from spikegraph.export.passes import pipelined
from spikegraph.targets.lava._compat import LAVA_VERSION
from spikegraph.targets.lava.neurons import not_stock, planned_neurons
from spikegraph.targets.lava.planned import Planned
from spikegraph.targets.lava.synapses import planned_synapses


class LavaRefusalError(RefusalError):
    """A graph that no network of Lava's can run; carries every reason, not only the first."""

    said = "Lava cannot run this graph"


@dataclass(frozen=True, kw_only=True, eq=False)
class LavaPlan:
    """A Lava network as plain data.

    Parameters
    ----------
    network : dict
        Plain JSON: what is connected how, and when a sample starts where.
    populations, projections : dict of Planned
    """

    network: Mapping[str, Any]
    populations: Mapping[str, Planned]
    projections: Mapping[str, Planned]

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays of all processes, `PARAMETER/NODE`."""
        nodes = [*self.populations.items(), *self.projections.items()]
        return {f"{parameter}/{node}": array for node, planned in nodes for parameter, array in planned.arrays.items()}

    @property
    def rewrites(self) -> tuple[str, ...]:
        """What was changed, exactly, to fit stock processes."""
        return tuple(f"{name}: {planned.rewrite}" for name, planned in self.projections.items() if planned.rewrite)

    @property
    def stock(self) -> bool:
        """Whether all processes are Lava's own, so that Intel's compiler takes them as well."""
        return not any(planned.why_not_stock for planned in [*self.populations.values(), *self.projections.values()])

    def report(self) -> dict[str, Any]:
        """Return what was built as plain JSON: processes, rewrites, timing."""
        network = self.network
        processes = [{"process": "RingBuffer", "node": name, "stock": True} for name in network["inputs"]]
        processes += [planned.report(name) for name, planned in self.projections.items()]
        processes += [planned.report(name) for name, planned in self.populations.items()]
        how = "back to back" if network["streamed"] else "one at a time, cleared between, because the graph has delays"
        timing = {"samples": how, "steps_per_sample": network["period"], "depth": network["depth"]}
        for field in ("start_step", "reset_offset"):
            timing[field] = {name: node[field] for name, node in network["populations"].items()}
        return {
            "lava_nc": LAVA_VERSION,
            "graph": network["graph"],
            "stock": self.stock,
            "processes": processes,
            "rewrites": list(self.rewrites),
            "timing": {**timing, "reset_interval": network["period"]},
        }


def plan_lava(graph: Graph) -> LavaPlan:
    """Plan the Lava network of a graph; needs no lava-nc.

    Raises
    ------
    GraphError
        The graph is not legal.
    LavaRefusalError
        A loop has more projections than delay steps, and every process of synapses takes one; or the graph is
        pipelined already.
    """
    require_legal(graph)
    try:
        chip_graph = pipelined(graph)
    except GraphError as error:
        raise LavaRefusalError(error.problems) from None
    reach = bounds(chip_graph)
    late_steps = {name: p.delay_steps for name, p in graph.projections.items()}
    projections = {name: planned_synapses(chip_graph, name, late_steps[name], dropped=False) for name in late_steps}
    stock = not any(planned.why_not_stock for planned in projections.values()) and not any(
        reason for name, node in chip_graph.populations.items() for reason in not_stock(node, reach[name])
    )
    streamed = not (stock and any(late_steps.values()))
    if streamed:
        projections |= {
            name: planned_synapses(chip_graph, name, late, dropped=True) for name, late in late_steps.items() if late
        }
    depth = max(p.start_step for p in chip_graph.populations.values())
    period = graph.n_steps if streamed else graph.n_steps + depth
    # When the network is one sample's alone, nothing happens before it reaches a population, so all are cleared in the
    # sample's first step: none must go on with the last sample while it waits.
    populations = {
        name: planned_neurons(node, reach[name], period, node.start_step if streamed else 0)
        for name, node in chip_graph.populations.items()
    }
    network = {
        "format": "spikegraph-lava",
        "version": 2,
        "graph": graph_checksum(graph),
        "simulator": "Loihi2SimCfg" if any(node.graded for node in graph.inputs.values()) else "Loihi1SimCfg",
        "n_steps": graph.n_steps,
        "depth": depth,
        "period": period,
        "streamed": streamed,
        "parts": _parts(graph),
        "inputs": {name: _input(node) for name, node in graph.inputs.items()},
        "populations": {name: planned.to_json() for name, planned in populations.items()},
        "projections": {name: planned.to_json() for name, planned in projections.items()},
    }
    return LavaPlan(network=network, populations=populations, projections=projections)


def _input(node: Input) -> dict[str, Any]:
    return {"shape": list(node.shape), "min": min(node.min_value, 0), "max": max(node.max_value, 0)}


def _parts(graph: Graph) -> list[list[str]]:
    """Return the populations of each part of a graph that nothing connects with the rest."""
    network: nx.Graph[str] = nx.Graph((p.source, p.target) for p in graph.projections.values())
    network.add_nodes_from(graph.populations)
    return [[name for name in graph.populations if name in part] for part in nx.connected_components(network)]
