"""Populations that lie on several cores → one for each core, for tools that place whole populations."""

from __future__ import annotations

from spikegraph.export.chips import Chip
from spikegraph.export.graph import Graph
from spikegraph.export.mend import Rewrite
from spikegraph.export.split import said_of, split_groups
from spikegraph.hwsim.placement import place


def split_over_cores(graph: Graph, chip: Chip) -> tuple[Graph, list[Rewrite]]:
    """Split each population as the placement cuts it.

    Requires: a legal graph that fits on the chip.
    Ensures: every spike, u and v is that of the graph (see `split_populations`). A population that an output taps, or
    whose parts' sums would be rounded otherwise, stays whole.

    Returns
    -------
    Graph
    list of Rewrite
        One for each population that was split.
    """
    split, parts = split_groups(graph, place(graph, chip).core_of)
    rewrites = [
        Rewrite(
            name="split over cores",
            where=name,
            what=said_of(of),
            same="s, u, v",
        )
        for name, of in parts.items()
    ]
    return split, rewrites
