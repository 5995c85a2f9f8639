"""Every exact rewrite that brings a graph closer to what a chip can hold, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from spikegraph.export.biases import one_bias_exponent
from spikegraph.export.check import require_legal
from spikegraph.export.chips import Chip
from spikegraph.export.errors import GraphError
from spikegraph.export.graph import Graph
from spikegraph.export.one_spike import one_spike
from spikegraph.export.pauses import same_decays, same_pauses, same_resets
from spikegraph.export.relays import delay_chains
from spikegraph.export.split import said_of, split_populations
from spikegraph.export.weights import legal_weights

Pass = Callable[[Graph, Chip], tuple[Graph, Mapping[str, str]]]


@dataclass(frozen=True, kw_only=True)
class Rewrite:
    """One exact rewrite of one node.

    Parameters
    ----------
    name : str
        Of the rewrite: a key of `REWRITES`.
    where : str
        The node, by its name before the rewrite.
    what : str
    same : str
        What of the nodes that existed before is the same, bit for bit: of "s", "u" and "v".
    """

    name: str
    where: str
    what: str
    same: str

    def __str__(self) -> str:
        return f"{self.where}: {self.name}: {self.what} (same {self.same})"


def _split(graph: Graph, chip: Chip) -> tuple[Graph, Mapping[str, str]]:
    try:
        split, parts = split_populations(graph, chip)
    except GraphError:  # what cannot be split stays, for the chip to refuse
        return graph, {}
    return split, {name: said_of(of) for name, of in parts.items()}


# In this order: a bias of one exponent needs no split, and a split may leave weights that need another exponent.
REWRITES: dict[str, tuple[Pass, str]] = {
    "one bias exponent": (one_bias_exponent, "s, u, v"),
    "same reset": (same_resets, "s, u, and v but in the steps of spikes"),
    "same decay": (same_decays, "s, u, v"),
    "same pause": (same_pauses, "s, u, v"),
    "one spike": (one_spike, "s; by a pause also u, v"),
    "split": (_split, "s, u, v"),
    "legal weights": (legal_weights, "s, u, v"),
    "delay chain": (delay_chains, "s, u, v"),
}


def mend(graph: Graph, chip: Chip) -> tuple[Graph, list[Rewrite]]:
    """Apply every exact rewrite that a chip asks for. What none of them mends is left as it is.

    Requires: a legal graph.
    Ensures: every spike of every input and population that existed before is what it was; see `Rewrite.same`.
    """
    require_legal(graph)
    done = []
    for name, (rewrite, same) in REWRITES.items():
        graph, nodes = rewrite(graph, chip)
        done += [Rewrite(name=name, where=where, what=what, same=same) for where, what in nodes.items()]
    return graph, done
