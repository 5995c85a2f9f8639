"""What a network needs of flash and RAM, before a compiler sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spikegraph.targets.c.layout import Layout

# Fields of the structures in network.c, each of 4 bytes where pointers have 32 bits.
_FIELDS = {"sources": 6, "inputs": 4, "projections": 19, "populations": 38, "outputs": 2, "readings": 3}

CODE = 2_900  # Cortex-M3, gcc 12.2 -Os, all kinds of nodes at once: 2,794 bytes measured; one kind needs half


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of flash and RAM on a machine of 32 bits.

    Parameters
    ----------
    weights, tables : int
        Constants: weights; parameters, and what finds weights. A compiler may leave tables of one row out.
    ram : int
        The state, all in one structure. Exact; the stack is not in it.
    code : int
        What the engine needs at most on a Cortex-M3, compiled for size.
    """

    weights: int
    tables: int
    ram: int
    code: int = CODE

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {f"{name}_bytes": n for name, n in vars(self).items()}

    def __str__(self) -> str:
        flash = self.weights + self.tables + self.code
        parts = f"weights {self.weights:,}, tables {self.tables:,}, code up to {self.code:,}"
        return f"flash {flash:,} bytes ({parts}), RAM {self.ram:,} bytes"


def memory_of(layout: Layout) -> Memory:
    """Add up what a layout needs."""
    arrays = {name: a.nbytes for name, (_, a) in layout.tables.items()}
    weights = sum(n for name, n in arrays.items() if name.startswith("weight_of_"))
    structures = sum(4 * _FIELDS[name] * len(rows) for name, rows in layout.rows.items())
    tables = sum(arrays.values()) - weights + structures
    return Memory(weights=weights, tables=tables, ram=int(layout.sizes["RAM_BYTES"]))
