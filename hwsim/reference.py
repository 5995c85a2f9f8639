"""The reference engine: the living definition of what a spike graph computes.

Plain NumPy, to be read beside docs/semantics.md, line for line. A batch of samples runs side by side, each from cleared
state. Nothing clever goes in here; speed is another engine's business.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from scipy.sparse import csr_array

from spikegraph.export import fixed
from spikegraph.export.connectivity import Array
from spikegraph.hwsim.counts import QUANTITIES
from spikegraph.hwsim.program import Program, ProgramPopulation
from spikegraph.hwsim.rasters import Spikes, checked_samples, raster_of
from spikegraph.hwsim.result import BatchResult, Trace


class _State:
    """What a population remembers from step to step, for B samples; all of it starts cleared."""

    def __init__(self, population: ProgramPopulation, n_samples: int) -> None:
        shape = (n_samples, *population.shape)
        self.u = np.zeros(shape, np.int64)
        self.v = np.zeros(shape, np.int64)
        self.held = np.zeros(shape, np.int64)  # steps for which v stays 0 yet
        self.n_spikes = np.zeros(shape, np.int64)


def run_reference(program: Program, inputs: Mapping[str, Spikes], record: Collection[str] = ()) -> BatchResult:
    """Run a batch.

    Parameters
    ----------
    program : Program
    inputs : mapping of input name → ndarray of int (T, B, *shape) or Events
        The spikes of each input.
    record : collection of str
        Populations whose x, u, v and s are kept at every step. Outputs' s and v before reset are always kept.

    Returns
    -------
    BatchResult

    Raises
    ------
    DataError
        The spikes do not fit the graph's inputs.
    """
    graph, n_steps = program.graph, program.graph.n_steps
    n_samples = checked_samples(graph, inputs)
    n_total = n_steps + program.depth
    spikes = {
        name: np.zeros((n_total, n_samples, *graph.shape_of(name)), np.int64)
        for name in (*graph.inputs, *graph.populations)
    }
    for name in graph.inputs:
        spikes[name][:n_steps] = raster_of(inputs[name])
    states = {population.name: _State(population, n_samples) for population in program.populations}
    tapped = {output.population for output in graph.outputs.values()}
    traces = {
        p.name: Trace.empty(n_steps, n_samples, p.shape) for p in program.populations if p.name in {*record, *tapped}
    }
    per_step = _no_counts(program, n_samples)
    for name in graph.inputs:
        per_step["spikes"][name][:] = _per_sample(spikes[name][:n_steps] != 0, 2)

    per_core = np.zeros((n_steps, n_samples, program.tally.n_columns if program.tally else 0), np.int64)

    for t in range(n_total):
        for population in program.populations:
            step = t - population.start_step  # the sample's own time in this population
            if not 0 <= step < n_steps:
                continue
            name, state = population.name, states[population.name]

            x = np.zeros((n_samples, *population.shape), np.int64)
            for p in population.incoming:
                arrives = t - p.projection.delay_steps
                if arrives < 0:
                    continue
                s_source = spikes[p.projection.source][arrives]
                weighted = p.projection.weighted_sum(p.projection.weight, s_source, population.shape)
                x += fixed.shift(weighted, p.projection.weight_exp)
                per_step["sops"][p.name][step] = _per_sample((s_source != 0) * p.fan_out, 1)
                per_step["effective_sops"][p.name][step] = _per_sample((s_source != 0) * p.effective_fan_out, 1)
                if program.tally:
                    per_core[step] += _tallied(s_source != 0, program.tally.delivered[p.name])
            active = (x != 0) | (state.u != 0) | (state.v != 0)

            u = fixed.decay(state.u, population.decay_u) + (x << fixed.ALIGN_BITS)
            state.u = fixed.wrap24(u)
            v = fixed.decay(state.v, population.decay_v) + state.u + population.bias
            integrates = state.held == 0
            v_before_reset = np.where(integrates, fixed.saturate24(v), 0)
            s = v_before_reset > population.threshold
            if population.reset == "zero":
                v_after = np.where(s, 0, v_before_reset)
            elif population.reset == "subtract":
                v_after = np.where(s, v_before_reset - population.threshold, v_before_reset)
            else:
                v_after = v_before_reset
            state.v = v_after
            state.n_spikes += s
            state.held = np.where(s, population.refractory_steps - 1, np.maximum(state.held - 1, 0))
            if population.max_spikes:
                state.held = np.where(state.n_spikes >= population.max_spikes, n_total, state.held)
            spikes[name][t] = s

            per_step["neuron_updates"][name][step] = s[0].size
            per_step["active_updates"][name][step] = _per_sample(active, 1)
            per_step["spikes"][name][step] = _per_sample(s, 1)
            if program.tally:
                per_core[step] += _tallied(s, program.tally.sent[name]) + _tallied(active, program.tally.active(name))
            per_step["wraps"][name][step] = _per_sample(state.u != u, 1)
            per_step["saturations"][name][step] = _per_sample(integrates & (v_before_reset != v), 1)
            if name in traces:
                traces[name].put(step, x=x, u=state.u, v=state.v, s=s, v_before_reset=v_before_reset)

    return BatchResult(
        traces=traces, per_step=per_step, per_core=program.tally.by_core(per_core) if program.tally else None
    )


def _no_counts(program: Program, n_samples: int) -> dict[str, dict[str, Array]]:
    graph, populations = program.graph, list(program.graph.populations)
    nodes = {"sops": list(graph.projections), "effective_sops": list(graph.projections)}
    nodes["spikes"] = [*graph.inputs, *populations]
    return {
        quantity: {node: np.zeros((graph.n_steps, n_samples), np.int64) for node in nodes.get(quantity, populations)}
        for quantity in QUANTITIES
    }


def _tallied(happened: Array, table: csr_array) -> Array:
    return np.asarray(happened.reshape(len(happened), -1).astype(np.int64) @ table)


def _per_sample(array: Array, first_axis: int) -> Array:
    return np.asarray(array.sum(axis=tuple(range(first_axis, array.ndim)), dtype=np.int64))
