"""The largest values that x, u and v took in a run, before wrapping and saturation: to be set beside their bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Graph
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.program import ProgramPopulation, compile_program
from spikegraph.hwsim.rasters import Spikes
from spikegraph.hwsim.result import Trace


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Lowest and highest x, u and v of one population over all neurons, steps and samples, and 0."""

    x: tuple[int, int] = (0, 0)
    u: tuple[int, int] = (0, 0)
    v: tuple[int, int] = (0, 0)

    def then(self, **arrays: Array) -> Seen:
        """Widen by what is in these arrays."""
        wider = {}
        for name, array in arrays.items():
            low, high = getattr(self, name)
            wider[name] = (min(low, int(array.min(initial=0))), max(high, int(array.max(initial=0))))
        return Seen(**wider)


def extremes(graph: Graph, batches: Iterable[Mapping[str, Spikes]]) -> dict[str, Seen]:
    """Run a graph in the native engine and return the extremes of every population.

    Parameters
    ----------
    graph : Graph
    batches : iterable of mapping of input name → spikes
        See `run_native`; every state of a batch is in memory at once.
    """
    program = compile_program(graph)
    seen = {name: Seen() for name in graph.populations}
    for inputs in batches:
        result = run_native(program, inputs, list(graph.populations))
        for p in program.populations:
            trace = result.traces[p.name]
            u = _before_wrapping(p, trace) if result.per_step["wraps"][p.name].any() else trace.u
            v = trace.v_before_reset
            v = _before_saturation(p, trace) if result.per_step["saturations"][p.name].any() else v
            seen[p.name] = seen[p.name].then(x=trace.x, u=u, v=v)
    return seen


def _last(trace: Array) -> Array:
    """Return the values of the step before, int64; 0 before the first."""
    return np.concatenate([np.zeros_like(trace[:1]), trace[:-1]]).astype(np.int64)


def _before_wrapping(p: ProgramPopulation, trace: Trace) -> Array:
    return np.asarray(fixed.decay(_last(trace.u), p.decay_u) + (trace.x << fixed.ALIGN_BITS))


def _before_saturation(p: ProgramPopulation, trace: Trace) -> Array:
    v = fixed.decay(_last(trace.v), p.decay_v) + trace.u + p.bias
    return np.where(np.abs(trace.v_before_reset) == fixed.STATE_MAX, v, trace.v_before_reset)
