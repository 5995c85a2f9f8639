"""A node of a graph as a process of Lava, in plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spikegraph.export.connectivity import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Planned:
    """A process that stands for a population or a projection.

    Parameters
    ----------
    process : str
        Its class: one of Lava's own, or `Neurons` or `Synapses` of processes.py.
    entry : dict
        Plain JSON: its options, besides the arrays.
    arrays : dict of ndarray
        By the name of the parameter.
    rewrite : str
        What was changed, exactly, to fit a stock process; "" if nothing.
    why_not_stock : str
        "" for a stock process.
    note : str
        What else there is to know of it; "" if nothing.
    """

    process: str
    entry: Mapping[str, Any]
    arrays: Mapping[str, Array] = field(default_factory=dict)
    rewrite: str = ""
    why_not_stock: str = ""
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return what the plan holds of it, arrays by name."""
        return {"process": self.process, **self.entry, "arrays": list(self.arrays)}

    def report(self, node: str) -> dict[str, Any]:
        """Return what the report says of it."""
        ends = {"from": self.entry["source"], "to": self.entry["target"]} if "source" in self.entry else {}
        report = {"process": self.process, "node": node, **ends, "stock": not self.why_not_stock}
        return (
            report
            | ({"why_not_stock": self.why_not_stock} if self.why_not_stock else {})
            | ({"note": self.note} if self.note else {})
        )
