"""What it saves to stop at the decision: a one-spike network read by its first spike, 784-400-10, T = 64.

Weights are random, so the decision comes early or late as chance has it; the mean step is printed beside the times.
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np
import pytest

from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.program import compile_program

N_SAMPLES, ROUNDS = 1000, 15


def network() -> Graph:
    random = np.random.default_rng(0)
    neurons = {"decay_v": 256, "threshold_mant": 600, "max_spikes": 1}
    return Graph(
        inputs={"input": Input(shape=(784,))},
        populations={"hidden": Population(shape=(400,), **neurons), "output": Population(shape=(10,), **neurons)},
        projections={
            "a": Dense(source="input", target="hidden", weight=random.integers(-60, 64, (400, 784)) * 2),
            "b": Dense(source="hidden", target="output", weight=random.integers(-60, 64, (10, 400)) * 2),
        },
        outputs={"output": Output(population="output")},
        n_steps=64,
        coding=InputCoding(kind="first_spike"),
        readout=Readout(kind="first_spike", output="output"),
    )


def test_until_decision(capsys: pytest.CaptureFixture[str]) -> None:
    graph, random = network(), np.random.default_rng(1)
    program, index = compile_program(graph), np.arange(N_SAMPLES)
    # As many pixels are dark as in MNIST: four of five.
    x = (random.random((N_SAMPLES, 784)) * (random.random((N_SAMPLES, 784)) < 0.2)).astype(np.float32)
    assert graph.coding is not None
    inputs = {
        "raster": {"input": graph.coding.encode(x, index, 64)},
        "events": {"input": graph.coding.spikes(x, index, 64)},
    }
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS):
        for until in ("window", "decision"):
            for form, spikes in inputs.items():
                start = time.process_time()
                result = run_native(program, spikes, until=until, threads=1)
                times.setdefault((until, form), []).append(time.process_time() - start)
    fired = result.traces["output"].s.any(axis=2)
    step = np.where(fired.any(axis=0), fired.argmax(axis=0), 63)
    with capsys.disabled():
        print(f"\nuntil decision: first spike on average in step {step.mean():.1f} of 64")  # noqa: T201
        for (until, form), seconds in times.items():
            print(f"  {until:8} {form}: {median(seconds) / N_SAMPLES * 1e6:.1f} µs of processor time a sample")  # noqa: T201
