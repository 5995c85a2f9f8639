"""How fast the stages are: `make bench`. Not collected by `make test`.

Workload A is 784-512-10, current-free LIF, decay_v 256, T = 32, input rate 0.05.
"""

from typing import Any

import numpy as np
import pytest
import torch

from spikegraph.export.chips import load_chip
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.targets.lava import run_lava
from spikegraph.trainer.layers import SpikingDense

T, B = 32, 64


def workload_a() -> tuple[Graph, dict[str, Any]]:
    random = np.random.default_rng(0)
    weights = {"hidden": random.integers(-60, 64, (512, 784)) * 2, "output": random.integers(-60, 64, (10, 512)) * 2}
    graph = Graph(
        inputs={"input": Input(shape=(784,))},
        populations={
            "hidden": Population(shape=(512,), decay_v=256, threshold_mant=900),
            "output": Population(shape=(10,), decay_v=256, threshold_mant=900),
        },
        projections={
            "in": Dense(source="input", target="hidden", weight=weights["hidden"]),
            "out": Dense(source="hidden", target="output", weight=weights["output"]),
        },
        outputs={"output": Output(population="output")},
        n_steps=T,
    )
    return graph, {"input": (random.random((T, B, 784)) < 0.05).astype(np.uint8)}


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
    layer = SpikingDense(784, 512, tau_mem=15e-3, threshold_per="neuron", chip=load_chip(chip) if chip else None)
    s = torch.from_numpy(rasters["input"]).float()

    def step() -> None:
        spikes, _ = layer(s)
        spikes.sum().backward()

    benchmark(step)
    rates(benchmark, B)
