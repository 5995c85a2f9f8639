"""Large sparse networks: within 1.3 × the memory of their arrays, nothing of their size widened, and bit-identical."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from large import network_bytes
from workloads import workload_c

from spikegraph.export.hdf5 import save_graph
from spikegraph.hwsim.layout import lay_out
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.hwsim.result import VARIABLES

TESTS = Path(__file__).parents[1]


def measured(*arguments: object) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, str(TESTS / "large.py"), *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("from_file", [False, True], ids=["made", "loaded"])
def test_memory_is_within_the_ratio(from_file: bool, tmp_path: Path) -> None:
    """20,000 neurons, 2,000,000 synapses: from nothing to the end of a run, in a process of its own."""
    path = tmp_path / "c.h5"
    if from_file:
        save_graph(workload_c(0.02)[0], path)
    found = measured(0.02, *[path] * from_file)
    assert found["network"] > 20_000 * 100 * 5
    assert found["peak"] <= 1.3 * found["network"], found


def test_nothing_of_the_size_of_the_synapses_is_widened() -> None:
    graph, rasters = workload_c(0.02)
    run_native(compile_program(graph), rasters)
    tracemalloc.start()
    try:
        run_native(compile_program(graph), rasters)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # One array of int64 for the synapses alone would be 16 MB; neurons take some dozen numbers each.
    assert peak < 0.3 * network_bytes(graph)


@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_workload_c_is_bit_identical(rate: float) -> None:
    graph, rasters = workload_c(0.002, rate=rate, n_steps=6)
    program = compile_program(graph)
    expected = run_reference(program, rasters)
    got = run_native(program, rasters)
    for quantity, nodes in expected.per_step.items():
        for node, array in nodes.items():
            assert np.array_equal(array, got.per_step[quantity][node]), (quantity, node)
    for variable in VARIABLES:
        assert np.array_equal(getattr(expected.traces["output"], variable), getattr(got.traces["output"], variable))
    assert expected.per_step["sops"]["recurrent"].sum() > 0
    assert expected.per_step["spikes"]["output"].sum() > 0


def test_one_array_serves_graph_and_kernel() -> None:
    """What the kernel walks along are the graph's own arrays."""
    graph, _ = workload_c(0.002)
    p: Any = graph.projections["recurrent"]
    arrays = lay_out(graph, p, {"neurons": None}).arrays
    assert arrays["weight"] is p.weight
    assert np.shares_memory(arrays["indices"], p.indices)
    assert np.shares_memory(arrays["row_begin"], p.indptr)
    assert np.shares_memory(arrays["row_end"], p.indptr)
