"""The float engine against a naive one, number by number; against the integers of the reference; and in its chunks.

Weights are multiples of 1/64 and spikes integers, so that every sum of them is exact in float64 and no order of
addition can be told from another: what follows must then be equal to the last bit.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from graph_strategies import FEATURES, Case, cases
from hypothesis import HealthCheck, assume, event, given, settings
from naive_synapses import synapses

from spikegraph.export.chips import load_chip
from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.errors import DataError, GraphError
from spikegraph.export.float_graph import (
    FLOAT_PROJECTIONS,
    FloatDense,
    FloatGraph,
    FloatPopulation,
    FloatProjection,
)
from spikegraph.export.graph import Graph, Input, Output, Projection
from spikegraph.export.quantize import quantize
from spikegraph.hwsim import float_engine
from spikegraph.hwsim.float_engine import run_float
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.hwsim.simulate import count_right, decide, samples_per_batch, simulate

VARIABLES = ("x", "u", "v", "s", "v_before_reset")
MODEST = FEATURES - {"extreme"}
THOROUGH = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def floats(p: Projection, factor: float) -> FloatProjection:
    geometry = {name: value for name, value in vars(p).items() if name not in ("weight", "weight_exp")}
    return FLOAT_PROJECTIONS[p.kind](weight=p.weight * factor * 2.0**p.weight_exp, **geometry)


def float_twin(graph: Graph, factor: float) -> FloatGraph:
    """The same graph with weights, thresholds and biases times a factor, and leaks that are not rounded."""
    biases = {p.name: p.bias for p in compile_program(graph).populations}
    populations = {
        name: FloatPopulation(
            shape=p.shape,
            tau_syn=tau(p.decay_u),
            tau_mem=tau(p.decay_v),
            v_threshold=p.threshold_mant * factor,
            bias=biases[name] * factor / 64,
            reset=p.reset,
            refractory_steps=p.refractory_steps,
            max_spikes=p.max_spikes,
        )
        for name, p in graph.populations.items()
    }
    return FloatGraph(
        inputs=graph.inputs,
        populations=populations,
        projections={name: floats(p, factor) for name, p in graph.projections.items()},
        outputs=graph.outputs,
        n_steps=graph.n_steps,
        dt=1.0,
    )


def tau(decay: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.abs(1 / np.log1p(-decay / 4096))  # 0 of 4096, infinity of 0


def each(parameter: Any, shape: tuple[int, ...]) -> list[float]:
    values = np.asarray(parameter, np.float64)
    one_per_channel = values.ndim == 1 and len(shape) == 3
    return (np.zeros(shape) + (values.reshape(-1, 1, 1) if one_per_channel else values)).ravel().tolist()


def naive(graph: FloatGraph, rasters: dict[str, np.ndarray], b: int) -> dict[str, dict[str, list]]:
    """One sample, one neuron at a time, in Python's floats; what is needed of a step is asked for by recursion."""
    leaving = {
        name: synapses(p, graph.shape_of(p.source), graph.shape_of(p.target)) for name, p in graph.projections.items()
    }
    found = {name: {variable: [] for variable in VARIABLES} for name in graph.populations}
    states = {name: [[0.0, 0.0, 0, 0] for _ in range(p.n)] for name, p in graph.populations.items()}

    def spikes(name: str, t: int) -> list:
        if t < 0:
            return [0] * (graph.inputs[name].n if name in graph.inputs else graph.populations[name].n)
        if name in graph.inputs:
            return rasters[name][t, b].ravel().tolist()
        while len(found[name]["s"]) <= t:
            step(name, len(found[name]["s"]))
        return found[name]["s"][t]

    def step(name: str, t: int) -> None:
        p = graph.populations[name]
        x = [0.0] * p.n
        for p_name, projection in graph.projections.items():
            if projection.target == name:
                s = spikes(projection.source, t - projection.delay_steps)
                for j, i, w in leaving[p_name]:
                    x[i] += w * s[j]
        row: dict[str, list] = {variable: [] for variable in VARIABLES}
        taus = zip(each(p.tau_syn, p.shape), each(p.tau_mem, p.shape), strict=True)
        rest = zip(each(p.v_threshold, p.shape), each(p.bias, p.shape), strict=True)
        for i, ((tau_syn, tau_mem), (threshold, bias)) in enumerate(zip(taus, rest, strict=True)):
            u, v, pause, fired = states[name][i]
            u = u * (math.exp(-graph.dt / tau_syn) if tau_syn else 0.0) + x[i]
            v = v * (math.exp(-graph.dt / tau_mem) if tau_mem else 0.0) + u + bias
            if pause or (p.max_spikes and fired >= p.max_spikes):
                v = 0.0
            s = v > threshold
            after = {"zero": 0.0, "subtract": v - threshold, "none": v}[p.reset] if s else v
            states[name][i] = [u, after, p.refractory_steps - 1 if s else max(pause - 1, 0), fired + s]
            for variable, value in zip(VARIABLES, (x[i], u, after, s, v), strict=True):
                row[variable].append(value)
        for variable in VARIABLES:
            found[name][variable].append(row[variable])

    for name in graph.populations:
        spikes(name, graph.n_steps - 1)
    return found


@given(cases(MODEST))
@THOROUGH
def test_equal_to_a_naive_engine(case: Case) -> None:
    graph = float_twin(case.graph, 1 / 64)
    result = run_float(graph, case.rasters, record=graph.populations, dtype=np.float64)
    n_samples = next(iter(case.rasters.values())).shape[1]
    for b in range(n_samples):
        expected = naive(graph, case.rasters, b)
        for name, trace in result.traces.items():
            for variable in VARIABLES:
                got = getattr(trace, variable)[:, b].reshape(graph.n_steps, -1)
                np.testing.assert_array_equal(got, expected[name][variable], err_msg=f"{name}.{variable}[{b}]")
    spikes = {name: trace.s for name, trace in result.traces.items()}
    event("spikes" if any(s.any() for s in spikes.values()) else "silent")
    assert all(np.array_equal(result.spikes[name], s) for name, s in spikes.items())


@given(cases(MODEST))
@THOROUGH
def test_equal_to_the_reference_where_floats_are_integers(case: Case) -> None:
    """No leak that rounds, no shift that floors, no sum that wraps: in units of v the floats are the integers."""
    populations = {
        name: replace(p, decay_u=4096, decay_v=np.where(p.decay_v < 1000, 0, 4096))
        for name, p in case.graph.populations.items()
    }
    projections = {name: replace(p, weight_exp=max(p.weight_exp, 0)) for name, p in case.graph.projections.items()}
    graph = replace(case.graph, populations=populations, projections=projections)
    expected = run_reference(compile_program(graph), case.rasters, record=list(graph.populations))
    assume(not any(one.any() for q in ("wraps", "saturations") for one in expected.per_step[q].values()))
    twin = float_twin(graph, 1.0)
    result = run_float(twin, case.rasters, record=graph.populations, dtype=np.float64)
    for name, trace in result.traces.items():
        for variable in VARIABLES:
            unit = 64 if variable in ("u", "v", "v_before_reset") else 1
            got, integers = getattr(trace, variable) * unit, getattr(expected.traces[name], variable)
            np.testing.assert_array_equal(got, integers, err_msg=f"{name}.{variable}")


@given(cases(MODEST))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_chunks_and_windows_change_nothing(case: Case) -> None:
    graph = float_twin(case.graph, 1 / 64)
    whole = run_float(graph, case.rasters, record=graph.populations)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(float_engine, "_CHUNK_BYTES", 1)
        patch.setattr(float_engine, "_MOST_STORED", 0)
        in_pieces = run_float(graph, case.rasters, record=graph.populations)
    for name, trace in whole.traces.items():
        for variable in VARIABLES:
            np.testing.assert_array_equal(getattr(trace, variable), getattr(in_pieces.traces[name], variable))


def net(**change: Any) -> FloatGraph:
    rng = np.random.default_rng(0)
    parts: dict[str, Any] = {
        "inputs": {"in": Input(shape=(6,))},
        "populations": {"n": FloatPopulation(shape=(4,), tau_mem=0.01)},
        "projections": {"p": FloatDense(source="in", target="n", weight=rng.normal(size=(4, 6)).astype(np.float32))},
        "outputs": {"out": Output(population="n")},
        "n_steps": 30,
    }
    return FloatGraph(**{**parts, **change})


def test_a_sample_does_not_depend_on_its_batch() -> None:
    rng = np.random.default_rng(1)
    raster = rng.integers(0, 2, (30, 7, 6))
    together = run_float(net(), {"in": raster}).traces["n"]
    for b in range(7):
        alone = run_float(net(), {"in": raster[:, b : b + 1]}).traces["n"]
        np.testing.assert_array_equal(together.v[:, b], alone.v[:, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_states_are_of_the_type_asked_for(dtype: Any) -> None:
    trace = run_float(net(), {"in": np.ones((30, 2, 6), np.int8)}, dtype=dtype).traces["n"]
    assert {getattr(trace, name).dtype for name in ("x", "u", "v", "v_before_reset")} == {np.dtype(dtype)}
    assert trace.s.dtype == bool


def test_no_samples_are_no_result() -> None:
    assert run_float(net(), {"in": np.zeros((30, 0, 6), np.int8)}).spikes["n"].shape == (30, 0, 4)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DataError, match=r"raster in: has shape \(30, 2, 5\), expected \(30, 2, 6\)"):
        run_float(net(), {"in": np.zeros((30, 2, 5), np.int8)})
    with pytest.raises(GraphError, match=r"has shape \(4, 6\), expected \(4, 7\)"):
        run_float(net(inputs={"in": Input(shape=(7,))}), {"in": np.zeros((30, 2, 7), np.int8)})


def test_float_graphs_and_integer_graphs_decide_alike() -> None:
    """Weights of whole numbers: quantized exactly, so that samples are decided rightly by both or neither."""
    rng = np.random.default_rng(2)
    weight = rng.integers(-127, 128, (4, 6))
    weight[0, 0] = 127
    graph = net(
        populations={"n": FloatPopulation(shape=(4,), v_threshold=200.0)},
        projections={"p": FloatDense(source="in", target="n", weight=weight)},
        coding=InputCoding(kind="rate", seed=3),
        readout=Readout(kind="count", output="out"),
    )
    integer = quantize(graph, load_chip("loihi2"))[0]
    x, label, index = rng.random((40, 6), np.float32), rng.integers(0, 4, 40), np.arange(40)
    batches = [(x[:25], label[:25], index[:25]), (x[25:], label[25:], index[25:])]
    n_right, n_samples = count_right(graph, batches)
    assert (n_right, n_samples) == count_right(integer, batches)
    run = simulate(integer, batches)
    assert n_samples == 40
    assert n_right == int((run.decided & (run.predicted == label)).sum()) > 0
    assert 1 <= samples_per_batch(graph) <= 250


def test_without_a_readout_nothing_is_decided() -> None:
    with pytest.raises(GraphError, match="has no readout"):
        decide(net(), {"in": np.zeros((30, 2, 6), np.int8)})
