"""What a network needs of flash and RAM, before a compiler sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spikegraph.targets.c.layout import Layout

# Fields of the structures in network.c, each of 4 bytes where pointers have 32 bits.
_FIELDS = {"sources": 6, "inputs": 4, "projections": 19, "populations": 40, "outputs": 2, "readings": 3}


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of flash and RAM on a machine of 32 bits.

    Parameters
    ----------
    weights, tables : int
        Constants: weights; parameters, and what finds weights. Exact.
    ram : int
        The state, all in one structure. Exact; stack is not in it.
    """

    weights: int
    tables: int
    ram: int

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {"weights_bytes": self.weights, "tables_bytes": self.tables, "ram_bytes": self.ram}

    def __str__(self) -> str:
        return (
            f"flash {self.weights + self.tables:,} bytes (weights {self.weights:,}, tables {self.tables:,}) and code, "
            f"RAM {self.ram:,} bytes"
        )


def memory_of(layout: Layout) -> Memory:
    """Add up what a layout needs."""
    arrays = {name: a.nbytes for name, (_, a) in layout.tables.items()}
    weights = sum(n for name, n in arrays.items() if name.startswith("weight_of_"))
    structures = sum(4 * _FIELDS[name] * len(rows) for name, rows in layout.rows.items())
    tables = sum(arrays.values()) - weights + structures
    return Memory(weights=weights, tables=tables, ram=int(layout.sizes["RAM_BYTES"]))
