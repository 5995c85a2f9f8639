"""The float engine: what a float spike graph computes, in NumPy, before anything is quantized.

The equations are those of `FloatPopulation`; order of a step, delays, resets, pauses and limits are those of
docs/semantics.md. Input sums are added up in float64, in the order of the source's neurons, and rounded once: a
sample's result depends neither on its batch nor on the processor's way to multiply matrices.

A step at a time would be slow. So populations that are on no loop take their input sums from many steps at once, as one
product of sparse matrices; those of a loop wait, step by step, for each other only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import networkx as nx
import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from spikegraph.export.check import require_legal
from spikegraph.export.connectivity import Array, per_neuron
from spikegraph.export.float_graph import FloatGraph, FloatPopulation, FloatProjection
from spikegraph.export.order import topological_order
from spikegraph.export.time_constants import kept_share
from spikegraph.hwsim.rasters import Spikes, checked_samples, raster_of
from spikegraph.hwsim.result import Trace

_CHUNK_BYTES = 32 << 20  # of input sums of one population
_MOST_STORED = 1 << 23  # synapses of a convolution as a matrix; the window of a larger one slides instead


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatResult:
    """One batch of a float graph.

    Parameters
    ----------
    traces : mapping of population → Trace
        Of those asked for, and of those that outputs tap; x, u and v in floats.
    spikes : mapping of population → ndarray of bool (T, B, *shape)
        Of all.
    """

    traces: Mapping[str, Trace]
    spikes: Mapping[str, Array]


def run_float(
    graph: FloatGraph,
    inputs: Mapping[str, Spikes],
    record: Collection[str] = (),
    *,
    dtype: npt.DTypeLike = np.float32,
) -> FloatResult:
    """Run a batch.

    Parameters
    ----------
    graph : FloatGraph
    inputs : mapping of input name → ndarray of int (T, B, *shape) or Events
        The spikes of each input.
    record : collection of str
        Populations whose x, u, v and s are kept at every step. Outputs' are always kept.
    dtype : float32 or float64
        Of sums, states and parameters.

    Raises
    ------
    GraphError
        The graph is not legal.
    DataError
        The spikes do not fit the graph's inputs.
    """
    require_legal(graph)
    n_samples = checked_samples(graph, inputs)
    kept = {*record, *(output.population for output in graph.outputs.values())}
    sent = {name: _rows(raster_of(inputs[name])) for name in graph.inputs}
    traces: dict[str, Trace] = {}
    spikes: dict[str, Array] = {}
    for names in _components(graph):
        neurons = {name: _Neurons(graph, name, n_samples, np.dtype(dtype)) for name in names}
        for name in kept.intersection(names):
            traces[name] = neurons[name].record()
        if len(names) == 1 and not any(p.source in names for p in graph.into(names[0]).values()):
            neurons[names[0]].run(_sums(graph, names[0], sent, n_samples))
        else:
            _run_loop(graph, neurons, sent, n_samples)
        for name, one in neurons.items():
            spikes[name] = one.s
            sent[name] = _rows(one.s)
    return FloatResult(traces=traces, spikes=spikes)


def _components(graph: FloatGraph) -> Iterator[list[str]]:
    """Yield the populations in an order of computation, those that are on loops with each other together."""
    full: nx.DiGraph[str] = nx.DiGraph()
    full.add_nodes_from(graph.populations)
    full.add_edges_from((p.source, p.target) for p in graph.projections.values() if p.source in graph.populations)
    position = {name: i for i, name in enumerate(topological_order(graph))}
    parts = nx.condensation(full)
    for part in nx.topological_sort(parts):
        yield sorted(parts.nodes[part]["members"], key=position.__getitem__)


def _rows(raster: Array) -> csr_array:
    """Return spikes (T, B, *shape) as a sparse matrix (T · B, n)."""
    return csr_array(raster.reshape(prod(raster.shape[:2]), prod(raster.shape[2:]))).astype(np.float64)


class _Synapses:
    """Input sums of one projection, from the rows of many steps at once."""

    def __init__(self, graph: FloatGraph, p: FloatProjection) -> None:
        self.p, self.source, self.target = p, graph.shape_of(p.source), graph.shape_of(p.target)
        shape = (prod(self.source), prod(self.target))
        self.matrix: Any = None
        if p.kind == "Dense":
            self.matrix = np.ascontiguousarray(p.weight.T, np.float64)
        elif p.kind not in ("Conv2d", "SumPool2d") or p.dense_macs(self.source, self.target) <= _MOST_STORED:
            sources, targets, places = p.synapses(self.source, self.target)
            self.matrix = csr_array((p.weight.ravel()[places].astype(np.float64), (sources, targets)), shape=shape)

    def sums(self, rows: csr_array) -> Array:
        """Return the sums (rows, n target) of float64."""
        if self.matrix is None:
            s = rows.toarray().astype(np.int64).reshape(-1, *self.source)
            return self.p.weighted_sum(self.p.weight, s, self.target).reshape(len(s), -1)
        product = rows @ self.matrix
        return np.asarray(product if isinstance(product, np.ndarray) else product.toarray())


def _sums(graph: FloatGraph, name: str, sent: Mapping[str, csr_array], n_samples: int) -> Iterator[Array]:
    """Yield the input sums of a population, (steps, B, n) of float64, from sources that are all known."""
    incoming = [_Synapses(graph, p) for p in graph.into(name).values() if p.source in sent]
    n, per_step = graph.populations[name].n, max(n_samples, 1) * graph.populations[name].n * 8
    length = max(_CHUNK_BYTES // per_step, 1)
    for start in range(0, graph.n_steps, length):
        stop = min(start + length, graph.n_steps)
        x = np.zeros(((stop - start) * n_samples, n))
        for synapses in incoming:
            delay = synapses.p.delay_steps
            first, last = max(start - delay, 0), max(stop - delay, 0)
            rows = sent[synapses.p.source][first * n_samples : last * n_samples]
            if rows.shape[0]:
                x[(first + delay - start) * n_samples :][: rows.shape[0]] += synapses.sums(rows)
        yield x.reshape(stop - start, n_samples, n)


def _run_loop(
    graph: FloatGraph, neurons: Mapping[str, _Neurons], sent: Mapping[str, csr_array], n_samples: int
) -> None:
    """Run populations that wait for each other, step by step."""
    outside = {name: (step for x in _sums(graph, name, sent, n_samples) for step in x) for name in neurons}
    inside = {name: [_Synapses(graph, p) for p in graph.into(name).values() if p.source in neurons] for name in neurons}
    for t in range(graph.n_steps):
        for name, one in neurons.items():
            x = next(outside[name])
            for synapses in inside[name]:
                arrives = t - synapses.p.delay_steps
                if arrives >= 0:
                    s = neurons[synapses.p.source].s[arrives].reshape(n_samples, -1)
                    x = x + synapses.sums(csr_array(s.astype(np.float64)))
            one.step(t, x)


class _Neurons:
    """A population: its parameters, and its state for B samples, cleared."""

    def __init__(self, graph: FloatGraph, name: str, n_samples: int, dtype: np.dtype[Any]) -> None:
        self.population: FloatPopulation = graph.populations[name]
        self.n_steps, self.n_samples, self.dtype = graph.n_steps, n_samples, dtype
        population, state = self.population, (n_samples, self.population.n)
        self.kept_u, self.kept_v, self.threshold, self.bias = (
            self._each(value)
            for value in (
                kept_share(population.tau_syn, graph.dt),
                kept_share(population.tau_mem, graph.dt),
                population.v_threshold,
                population.bias,
            )
        )
        self.u, self.v = np.zeros(state, dtype), np.zeros(state, dtype)
        self.s = np.zeros((graph.n_steps, n_samples, *population.shape), bool)
        self.pauses = population.refractory_steps > 1 or population.max_spikes > 0
        self.held = np.zeros(state if self.pauses else (0,), np.int64)  # steps for which v stays 0 yet
        self.n_spikes = np.zeros_like(self.held)
        self.trace: Trace | None = None

    def _each(self, parameter: Any) -> Array:
        """Return one number, or one for each neuron."""
        value = np.asarray(parameter).astype(self.dtype)
        return value if value.ndim == 0 else per_neuron(value, self.population.shape).ravel()

    def record(self) -> Trace:
        """Keep every state from now on."""
        x, u, v, v_before_reset = (np.zeros(self.s.shape, self.dtype) for _ in range(4))
        self.trace = Trace(x=x, u=u, v=v, s=self.s, v_before_reset=v_before_reset)
        return self.trace

    def run(self, sums: Iterator[Array]) -> None:
        """Run the whole window on sums (steps, B, n)."""
        for t, x in enumerate(step for chunk in sums for step in chunk):
            self.step(t, x)

    def step(self, t: int, x: Array) -> None:
        """Run one step on the sums (B, n)."""
        population, x = self.population, x.astype(self.dtype)
        self.u = self.kept_u * self.u + x
        v_before_reset = self.kept_v * self.v + self.u + self.bias
        if self.pauses:
            v_before_reset[self.held > 0] = 0
        s = v_before_reset > self.threshold
        if population.reset == "zero":
            self.v = np.where(s, self.dtype.type(0), v_before_reset)
        elif population.reset == "subtract":
            self.v = v_before_reset - s * self.threshold
        else:
            self.v = v_before_reset
        if self.pauses:
            self.n_spikes += s
            self.held = np.where(s, population.refractory_steps - 1, np.maximum(self.held - 1, 0))
            if population.max_spikes:
                self.held[self.n_spikes >= population.max_spikes] = self.n_steps
        shape = self.s.shape[1:]
        self.s[t] = s.reshape(shape)
        if self.trace is not None:
            states = {"x": x, "u": self.u, "v": self.v, "v_before_reset": v_before_reset}
            self.trace.put(t, **{name: state.reshape(shape) for name, state in states.items()})
