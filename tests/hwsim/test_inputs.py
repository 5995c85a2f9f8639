"""Inputs as rasters, as events, or some as the one and some as the other: the same run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from graph_strategies import Case, cases
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from workloads import workload_b

from spikegraph.export.errors import DataError
from spikegraph.export.events import Events
from spikegraph.export.graph import Input
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.hwsim.result import VARIABLES, BatchResult


def assert_same(expected: BatchResult, got: BatchResult) -> None:
    for name, trace in expected.traces.items():
        for variable in VARIABLES:
            assert np.array_equal(getattr(trace, variable), getattr(got.traces[name], variable)), (name, variable)
    for quantity, nodes in expected.per_step.items():
        for node, array in nodes.items():
            assert np.array_equal(got.per_step[quantity][node], array), (quantity, node)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(case=cases(), as_events=st.sets(st.sampled_from(["in0", "in1"]), min_size=1))
def test_random_graphs(case: Case, as_events: set[str]) -> None:
    program = compile_program(case.graph)
    inputs = {name: Events.from_raster(a) if name in as_events else a for name, a in case.rasters.items()}
    expected = run_reference(program, case.rasters)
    assert_same(expected, run_reference(program, inputs))
    assert_same(expected, run_native(program, inputs))


def test_a_graded_input_whose_events_carry_no_value() -> None:
    graph, rasters = workload_b(2)
    graph = replace(graph, inputs={"input": Input(shape=(2, 34, 34), min_value=-5, max_value=5)})
    program, events = compile_program(graph), Events.from_raster(rasters["input"])
    assert events.value is None
    expected = run_reference(program, rasters)
    assert expected.per_step["spikes"]["first"].any()
    assert_same(expected, run_native(program, {"input": events}))


def test_no_sample_and_no_spike() -> None:
    graph, rasters = workload_b(2)
    program = compile_program(graph)
    assert run_native(program, {"input": Events.from_raster(rasters["input"][:, :0])}).per_step["sops"]["a"].shape == (
        30,
        0,
    )
    silent = np.zeros_like(rasters["input"])
    assert_same(run_reference(program, {"input": silent}), run_native(program, {"input": Events.from_raster(silent)}))


@pytest.mark.parametrize("engine", [run_native, run_reference])
def test_events_that_do_not_fit_the_graph(engine) -> None:  # type: ignore[no-untyped-def]
    graph, rasters = workload_b(2)
    program, raster = compile_program(graph), rasters["input"]
    with pytest.raises(DataError, match=r"has shape \(29, 2, 2, 34, 34\), expected \(30, 2, 2, 34, 34\)"):
        engine(program, {"input": Events.from_raster(raster[1:])})
    with pytest.raises(DataError, match="has shape"):
        engine(program, {"input": Events.from_raster(raster.reshape(30, 2, -1))})
    with pytest.raises(DataError, match=r"holds 3…3 \(int32\), expected integers 0…1"):
        engine(program, {"input": Events.from_raster(raster * 3)})
