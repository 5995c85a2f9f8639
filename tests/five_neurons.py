"""A network small enough to count by hand."""

from __future__ import annotations

from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.graph import Dense, Graph, Input, Output, Population


def network(kind: str = "count") -> Graph:
    """Two inputs → two neurons → three: every weight fires its target at once, without a current or a leak."""
    return Graph(
        inputs={"in": Input(shape=(2,))},
        populations={
            "first": Population(shape=(2,), threshold_mant=1),
            "second": Population(shape=(3,), threshold_mant=1),
        },
        projections={
            "a": Dense(source="in", target="first", weight=[[2, 0], [0, 2]]),
            "b": Dense(source="first", target="second", weight=[[2, 0], [0, 2], [2, 2]]),
        },
        outputs={"out": Output(population="second")},
        n_steps=4,
        coding=InputCoding(kind="first_spike"),
        readout=Readout(kind=kind, output="out"),
    )
