"""What an engine counts for each core of a placement, beside what it counts for each node.

Every count here follows from spikes, so it is a table: what one spike of a neuron adds, in which core. Active updates
alone need a look at each neuron. A count belongs to a population's own time (docs/semantics.md): what a spike sends
to the step in which it was fired, what it delivers to the step in which it arrives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array, csr_array

from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Conv2d, Dense, Graph, Projection, SumPool2d
from spikegraph.hwsim.assignment import destinations, synapses_by_core
from spikegraph.hwsim.placement import Placement

CORE_QUANTITIES = {
    "active_updates": "updates of neurons with x, u or v not zero before",
    "spikes": "spikes of the core's neurons",
    "sops_dense": "synaptic operations of dense projections",
    "sops_convolution": "of convolutions and pools",
    "sops_sparse": "of all others",
    "messages": "spikes sent, one for each core that they reach",
    "messages_in": "spikes that arrive, from inputs too",
    "tile_messages": "messages that stay within their tile",
    "hops_east_west": "steps of messages from tile to tile",
    "hops_north_south": "the same in the other direction",
}
SOPS = tuple(name for name in CORE_QUANTITIES if name.startswith("sops_"))  # the kinds of synapses
_PLACE = {name: place for place, name in enumerate(CORE_QUANTITIES)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """Tables of what a spike adds to which count of which core: column quantity · n_cores + core.

    Parameters
    ----------
    placement : Placement
    sent : mapping of population → csr_array (n, n_columns)
        In the step of the spike.
    delivered : mapping of projection → csr_array (n_source, n_columns)
        In the step of delivery.
    """

    placement: Placement
    sent: Mapping[str, csr_array]
    delivered: Mapping[str, csr_array]

    @property
    def n_columns(self) -> int:
        """Number of counts in each step."""
        return len(CORE_QUANTITIES) * self.placement.n_cores

    def active(self, population: str) -> csr_array:
        """Return the table of what an active update of each neuron adds."""
        core = self.placement.core_of[population]
        first = _PLACE["active_updates"] * self.placement.n_cores
        table = (np.ones(len(core), np.int64), core + first, np.arange(len(core) + 1))
        return csr_array(table, shape=(len(core), self.n_columns))

    def by_core(self, columns: Array) -> Array:
        """Split the last axis, the columns, into quantities and cores."""
        return columns.reshape(*columns.shape[:-1], len(CORE_QUANTITIES), self.placement.n_cores)


def tally_of(graph: Graph, placement: Placement) -> Tally:
    """Tell an engine what to count for a placement of this graph."""
    n_cores = placement.n_cores
    synapses = synapses_by_core(graph, placement.core_of, n_cores)
    reached = {name: destinations(graph, name, synapses, n_cores) for name in graph.populations}
    delivered = {}
    for name, p in graph.projections.items():
        tables = {kind_of(p): synapses[name], "messages_in": _first_to_arrive(graph, name, synapses)}
        delivered[name] = _table(tables, n_cores)
    sent = {name: _table(_routes(reached[name], placement, name), n_cores) for name in graph.populations}
    return Tally(placement=placement, sent=sent, delivered=delivered)


def kind_of(p: Projection) -> str:
    """Return which of `CORE_QUANTITIES` the synaptic operations of a projection are."""
    if isinstance(p, Dense):
        return "sops_dense"
    return "sops_convolution" if isinstance(p, (Conv2d, SumPool2d)) else "sops_sparse"


def _first_to_arrive(graph: Graph, name: str, synapses: Mapping[str, csr_array]) -> csr_array:
    """Mark the messages that arrive with this projection, the fastest that a neuron has there: (n_source, n_cores)."""
    p, first = graph.projections[name], csr_array(synapses[name] > 0).astype(np.int64)
    for other, q in graph.projections.items():
        if (q.source, q.target) == (p.source, p.target) and (q.delay_steps, other) < (p.delay_steps, name):
            first = csr_array(first - first * (synapses[other] > 0))
            first.eliminate_zeros()
    return first


def _routes(reached: csr_array, placement: Placement, population: str) -> dict[str, csr_array]:
    """Return what the messages of each neuron add to the counts of its own core."""
    own = placement.core_of[population]
    neuron = np.repeat(np.arange(len(own)), np.diff(reached.indptr))
    way = np.abs(placement.tiles[own[neuron]] - placement.tiles[reached.indices])
    amounts = {
        "messages": np.ones(len(neuron), np.int64),
        "tile_messages": (way.sum(axis=1) == 0).astype(np.int64),
        "hops_east_west": way[:, 0],
        "hops_north_south": way[:, 1],
    }
    shape = (len(own), placement.n_cores)
    tables = {
        name: csr_array(coo_array((amount, (neuron, own[neuron])), shape=shape)) for name, amount in amounts.items()
    }
    tables["spikes"] = csr_array((np.ones(len(own), np.int64), own, np.arange(len(own) + 1)), shape=shape)
    return tables


def _table(tables: Mapping[str, csr_array], n_cores: int) -> csr_array:
    """Put tables of single quantities, (n, n_cores) each, into their columns."""
    parts = [(table.tocoo(), _PLACE[name] * n_cores) for name, table in tables.items()]
    values = np.concatenate([part.data for part, _ in parts])
    rows = np.concatenate([part.coords[0] for part, _ in parts])
    columns = np.concatenate([part.coords[1] + first for part, first in parts])
    shape = (next(iter(tables.values())).shape[0], len(CORE_QUANTITIES) * n_cores)
    table = csr_array(coo_array((values.astype(np.int64), (rows, columns)), shape=shape))
    table.eliminate_zeros()
    return table
