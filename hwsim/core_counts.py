"""What was counted for each core of a placement, step by step, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.container import StoredArray
from spikegraph.hwsim.counts import Until
from spikegraph.hwsim.placement import Placement
from spikegraph.hwsim.tally import CORE_QUANTITIES

_AT_ONCE = 16 << 20  # bytes that are read from a file at once


@dataclass(frozen=True, kw_only=True, eq=False)
class CoreCounts:
    """Counts of a run on a chip.

    Parameters
    ----------
    placement : Placement
    counts : ndarray of uint32 (N, T, n_quantities, n_cores), in memory or in a run file
        `CORE_QUANTITIES`, each core's steps in its population's own time. Beyond the decision it says nothing if the
        run stopped there.
    """

    placement: Placement
    counts: Array | StoredArray

    def __len__(self) -> int:
        return int(self.counts.shape[0])

    @classmethod
    def concatenate(cls, parts: Sequence[CoreCounts]) -> CoreCounts | None:
        """Join consecutive batches, which are in memory; None if there is none."""
        held = [part.counts for part in parts if not isinstance(part.counts, StoredArray)]
        return cls(placement=parts[0].placement, counts=np.concatenate(held)) if held else None

    def samples(self, first: int, last: int) -> Array:
        """Return samples `first` up to, not including, `last`: uint32 (samples, T, n_quantities, n_cores)."""
        counts = self.counts
        return counts.read(first, last) if isinstance(counts, StoredArray) else counts[first:last]

    def pieces(self) -> Iterator[tuple[slice, dict[str, Array]]]:
        """Yield samples in parts: which, and each quantity of `PRICED` as int64 (samples, T, n_cores)."""
        n_samples, *rest = self.counts.shape
        n = max(_AT_ONCE // (8 * int(np.prod(rest))), 1)
        for first in range(0, n_samples, n):
            part = slice(first, min(first + n, n_samples))
            block = self.samples(part.start, part.stop).astype(np.int64)
            quantities = dict(zip(CORE_QUANTITIES, np.moveaxis(block, 2, 0), strict=True))
            updates = np.broadcast_to(self.placement.loads["neurons"], quantities["spikes"].shape)
            inactive = updates - quantities["active_updates"]
            yield part, {**quantities, "neuron_updates": updates, "inactive_updates": inactive}

    def sums(self, decision_step: Array) -> dict[Until, dict[str, Array]]:
        """Add up each quantity over samples and steps, the window's and those until decision: int64 (n_cores,)."""
        total: dict[Until, dict[str, Array]] = {"window": {}, "decision": {}}
        for part, quantities in self.pieces():
            n_steps = next(iter(quantities.values())).shape[1]
            counted = (np.arange(n_steps) <= decision_step[part, None]).astype(np.int64)
            for name, values in quantities.items():
                total["window"][name] = total["window"].get(name, 0) + values.sum(axis=(0, 1))
                total["decision"][name] = total["decision"].get(name, 0) + np.einsum("nt,ntc->c", counted, values)
        return total
