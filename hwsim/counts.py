"""What was counted in a run: exactly, per node and sample, over the window and until the decision.

Definitions are in docs/semantics.md. A count over the window is never used for a count until decision, nor the reverse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import OptionError

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
Until = Literal["window", "decision"]
UNTIL: tuple[Until, ...] = get_args(Until)


@dataclass(frozen=True, kw_only=True, eq=False)
class Counts:
    """Counts per sample.

    Parameters
    ----------
    window, until_decision : mapping of quantity → node → ndarray of int64 (N,)
        The quantities of `QUANTITIES`; a node is a projection for (effective_)sops, else an input or population.
        `window` is empty if the run stopped at its decisions: what would have followed is not known.
    """

    window: PerNode
    until_decision: PerNode

    @classmethod
    def from_steps(cls, steps: PerNode, decision_step: Array, until: Until = "window") -> Counts:
        """Sum counts per step (T, B) over the window, and up to and including each sample's step of decision (B,).

        With `until` "decision" only the latter; what the steps after the decision hold then does not matter.
        """

        def per_sample(part: Array) -> PerNode:
            return {
                quantity: {node: np.einsum("tb,tb->b", counts, part) for node, counts in nodes.items()}
                for quantity, nodes in steps.items()
            }

        n_steps = len(next(counts for nodes in steps.values() for counts in nodes.values()))
        counted = np.arange(n_steps)[:, None] <= decision_step
        window = per_sample(np.ones_like(counted, np.int64)) if until == "window" else {}
        return cls(window=window, until_decision=per_sample(counted.astype(np.int64)))

    @classmethod
    def concatenate(cls, parts: Sequence[Counts]) -> Counts:
        """Join the counts of consecutive batches."""

        def join(per_node: Sequence[PerNode]) -> PerNode:
            return {
                quantity: {node: np.concatenate([part[quantity][node] for part in per_node]) for node in nodes}
                for quantity, nodes in per_node[0].items()
            }

        return cls(window=join([p.window for p in parts]), until_decision=join([p.until_decision for p in parts]))

    def of(self, until: Until) -> PerNode:
        """Return the counts over the window or until decision; raises `OptionError` if the window is not known."""
        if until == "window" and not self.window:
            what = "are not known: the run stopped at its decisions"
            raise OptionError("counts over the window", what, "ask until decision, or simulate again over the window")
        return self.window if until == "window" else self.until_decision

    def mean(self, quantity: str, *, until_decision: bool = False) -> float:
        """Return the mean over samples of a quantity, summed over its nodes."""
        nodes = self.of("decision" if until_decision else "window")[quantity]
        return float(sum(array.mean() for array in nodes.values()))

    def total(self, quantity: str) -> int:
        """Return the sum of a quantity over the window, all nodes and samples."""
        return int(sum(array.sum() for array in self.of("window")[quantity].values()))
