"""What was counted in a run: exactly, per node and sample, over the window and until the decision.

Definitions are in docs/semantics.md. A count over the window is never used for a count until decision, nor the reverse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spikegraph.export.connectivity import Array

QUANTITIES = {
    "sops": "synaptic operations: additions that spikes caused, one for each stored synapse",
    "effective_sops": "those whose weight is not zero",
    "neuron_updates": "one per neuron per step",
    "active_updates": "those with x, u or v not zero before the update",
    "spikes": "spikes of inputs and populations",
    "wraps": "times that u left its 24 bits",
    "saturations": "times that v left its 24 bits",
}

PerNode = Mapping[str, Mapping[str, Array]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Counts:
    """Counts per sample.

    Parameters
    ----------
    window, until_decision : mapping of quantity → node → ndarray of int64 (N,)
        The quantities of `QUANTITIES`; a node is a projection for (effective_)sops, else an input or population.
    """

    window: PerNode
    until_decision: PerNode

    @classmethod
    def from_steps(cls, steps: PerNode, decision_step: Array) -> Counts:
        """Sum counts per step (T, B) over the window, and up to and including each sample's step of decision (B,)."""
        samples = np.arange(len(decision_step))
        return cls(
            window={q: {node: a.sum(axis=0) for node, a in nodes.items()} for q, nodes in steps.items()},
            until_decision={
                q: {node: a.cumsum(axis=0)[decision_step, samples] for node, a in nodes.items()}
                for q, nodes in steps.items()
            },
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Counts]) -> Counts:
        """Join the counts of consecutive batches."""

        def join(per_node: Sequence[PerNode]) -> PerNode:
            return {
                quantity: {node: np.concatenate([part[quantity][node] for part in per_node]) for node in nodes}
                for quantity, nodes in per_node[0].items()
            }

        return cls(window=join([p.window for p in parts]), until_decision=join([p.until_decision for p in parts]))

    def mean(self, quantity: str, *, until_decision: bool = False) -> float:
        """Return the mean over samples of a quantity, summed over its nodes."""
        nodes = (self.until_decision if until_decision else self.window)[quantity]
        return float(sum(array.mean() for array in nodes.values()))

    def total(self, quantity: str) -> int:
        """Return the sum of a quantity over the window, all nodes and samples."""
        return int(sum(array.sum() for array in self.window[quantity].values()))
