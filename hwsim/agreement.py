"""How far the spikes of integers are from those of floats: in each population, and in what the network puts out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikegraph.export.connectivity import Array

MEMORY = 8.0  # steps in which a spike is forgotten, where spike trains are compared


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How what a whole network puts out compares with the float graph.

    Parameters
    ----------
    n_samples : int
    distance : float
        Of the outputs' spike trains, or potentials where these are read: squared, as a share of their own size.
    n_alike : int, optional
        Samples for which both name the same class, where there is a readout.
    n_right : int, optional
        Samples that are decided rightly, where labels are known.
    n_wraps, n_saturations : int
        Of all populations.
    """

    n_samples: int
    distance: float
    n_alike: int | None
    n_right: int | None
    n_wraps: int = 0
    n_saturations: int = 0

    @property
    def rank(self) -> tuple[int, float]:
        """Lower is better: decisions first, then the distance."""
        return -(self.n_alike or 0), self.distance


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Spikes of one population, in floats and in integers.

    Parameters
    ----------
    n_values : int
        Neurons × steps × samples.
    n_float, n_integer, n_common : int
        Spikes of either, and those that both have.
    """

    n_values: int = 0
    n_float: int = 0
    n_integer: int = 0
    n_common: int = 0

    def then(self, later: Agreement) -> Agreement:
        """Join with the same over the samples that follow."""
        return Agreement(**{name: value + getattr(later, name) for name, value in vars(self).items()})

    @property
    def equal(self) -> float:
        """Share of all values that are equal, spike or none."""
        return 1 - (self.n_float + self.n_integer - 2 * self.n_common) / self.n_values if self.n_values else 1.0

    @property
    def in_common(self) -> float:
        """Spikes that both have, of those that either has; 1 if neither has one."""
        either = self.n_float + self.n_integer - self.n_common
        return self.n_common / either if either else 1.0


def filtered_square(s: Array, other: Array | None = None) -> Array:
    """Return, for each neuron, the squared distance of spike trains (T, B, *shape), or from silence.

    Each spike is a decaying exponential (van Rossum, Neural Computation 13(4), 2001), with a memory of `MEMORY` steps.
    """
    kept = np.float32(np.exp(-1 / MEMORY))
    state, total = np.zeros(s.shape[1:], np.float32), np.zeros(s.shape[2:])
    for t in range(len(s)):
        state *= kept
        state += s[t] if other is None else s[t].astype(np.int8) - other[t].astype(np.int8)
        total += np.einsum("b...,b...->...", state, state)
    return total
