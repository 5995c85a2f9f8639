"""How fast the stages are: `make bench`. Not collected by `make test`.

Workload A is in tests/workloads.py. The native engine against the machine: bench_native.py.
"""

from typing import Any

import pytest
import torch
from networks import dense_network
from workloads import workload_a

from spikegraph.export.chips import load_chip
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.targets.lava import run_lava

B = 64


def rates(benchmark: Any, n_samples: int, sops: float = 0.0) -> None:
    seconds = benchmark.stats.stats.median
    benchmark.extra_info["samples_per_second"] = round(n_samples / seconds, 1)
    if sops:
        benchmark.extra_info["sops_per_second"] = f"{sops / seconds:.3g}"


def test_reference_engine_workload_a(benchmark: Any) -> None:
    graph, rasters = workload_a()
    program = compile_program(graph)
    result = benchmark(run_reference, program, rasters)
    rates(benchmark, B, sum(a.sum() for a in result.per_step["sops"].values()))


def test_lava_workload_a(benchmark: Any) -> None:
    graph, rasters = workload_a()
    few = {"input": rasters["input"][:, :8]}
    benchmark.pedantic(run_lava, (graph, few), rounds=3)
    rates(benchmark, 8)


@pytest.mark.parametrize("chip", [None, "loihi1"], ids=["float", "loihi1"])
def test_training_step_workload_a(benchmark: Any, chip: str | None) -> None:
    _, rasters = workload_a()
    network = dense_network(784, 512, chip=load_chip(chip) if chip else None, tau_mem=15e-3, threshold_per="neuron")
    s = torch.from_numpy(rasters["input"]).float()

    def step() -> None:
        network(s).s["output"].sum().backward()

    benchmark(step)
    rates(benchmark, B)
