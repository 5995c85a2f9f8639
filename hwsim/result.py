"""What an engine returns for one batch: traces of populations and counts per step. Every engine fills the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spikegraph.export.connectivity import Array, Shape
from spikegraph.hwsim.counts import PerNode

VARIABLES = ("x", "u", "v", "s", "v_before_reset")


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """One population over the window, in its own time (step 0 is where its sample starts): arrays (T, B, *shape).

    Types are those of integer graphs; in a float graph x, u and v are floats.

    Parameters
    ----------
    x : ndarray of int64
        Input sum.
    u, v : ndarray of int32
        Synaptic current, and membrane potential after reset.
    s : ndarray of bool
    v_before_reset : ndarray of int32
    """

    x: Array
    u: Array
    v: Array
    s: Array
    v_before_reset: Array

    @classmethod
    def empty(cls, n_steps: int, n_samples: int, shape: Shape) -> Trace:
        """Return a trace to be filled step by step."""
        full = (n_steps, n_samples, *shape)
        u, v, v_before_reset = (np.zeros(full, np.int32) for _ in range(3))
        return cls(x=np.zeros(full, np.int64), u=u, v=v, s=np.zeros(full, bool), v_before_reset=v_before_reset)

    def put(self, step: int, **values: Array) -> None:
        """Write one step of each variable named."""
        for name, value in values.items():
            getattr(self, name)[step] = value


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchResult:
    """One batch.

    Parameters
    ----------
    traces : mapping of population → Trace
        Of the populations asked for, and of those that outputs tap.
    per_step : mapping of quantity → node → ndarray of int64 (T, B)
        See `spikegraph.hwsim.counts.QUANTITIES`.
    per_core : ndarray of int64 (T, B, n_quantities, n_cores), or None
        See `spikegraph.hwsim.tally.CORE_QUANTITIES`; None unless the program has a tally.
    """

    traces: Mapping[str, Trace]
    per_step: PerNode
    per_core: Array | None = None
