"""Workload C, a million neurons and a hundred million synapses: its memory, and its time against the events it has.

One sample runs on one thread: threads share samples. What is compared runs interleaved; figures are medians over rounds
of processor time, which neighbours on the machine do not take away (but they share its memory with us).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest
from workloads import raster, workload_c

from spikegraph.export.hdf5 import save_graph
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.program import compile_program

ROUNDS, N_STEPS = 7, 10
# So few spikes that they take hardly any time, yet enough that no neuron sleeps: what a step takes whatever happens.
FIXED = 0.0005
TESTS = Path(__file__).parents[1]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.h5"
    save_graph(workload_c()[0], path)
    for what, arguments in (("made", ["1"]), ("loaded from a file", ["1", str(path)])):
        command = [sys.executable, str(TESTS / "large.py"), *arguments]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        with capsys.disabled():
            print(  # noqa: T201
                f"\nC, {what}, compiled and run: at most {found['peak'] / 1e6:.0f} MB beyond an interpreter of"
                f" {found['base'] / 1e6:.0f} MB; its arrays take {found['network'] / 1e6:.0f} MB:"
                f" {found['peak'] / found['network']:.2f} times that"
            )
        assert found["peak"] <= 1.3 * found["network"]


def test_time_follows_events(capsys: pytest.CaptureFixture[str]) -> None:
    graph, first = workload_c(n_steps=N_STEPS)
    n = graph.inputs["input"].n
    start = time.process_time()
    program = compile_program(graph)
    run_native(program, {"input": first["input"][:, :0]})
    prepared = time.process_time() - start
    rasters = {rate: {"input": raster(n, rate, N_STEPS)} for rate in (0.0, FIXED, 0.01, 0.03, 0.1, 0.3)}
    results = {rate: run_native(program, spikes, threads=1) for rate, spikes in rasters.items()}
    times: dict[float, list[float]] = {rate: [] for rate in rasters}
    for _ in range(ROUNDS):
        for rate, spikes in rasters.items():
            before = time.process_time()
            run_native(program, spikes, threads=1)
            times[rate].append((time.process_time() - before) / N_STEPS)
    events = {rate: sum(int(a.sum()) for a in r.per_step["sops"].values()) / N_STEPS for rate, r in results.items()}
    fixed = median(times[FIXED])
    with capsys.disabled():
        print(f"\nC: compiled and laid out in {prepared:.1f} s; one thread")  # noqa: T201
        for rate, taken in times.items():
            step, spiking = median(taken), results[rate].per_step["spikes"]["neurons"].mean() / n
            line = f"  {spiking:8.3%} fire: {events[rate]:12,.0f} events, {step * 1e3:7.2f} ms a step"
            if rate > FIXED:
                beyond = (step - fixed) / (events[rate] - events[FIXED])
                line += f", {step / events[rate] * 1e9:.2f} ns an event, {beyond * 1e9:.2f} beyond the fixed part"
            print(f"{line} (best {min(taken) * 1e3:.2f} ms)")  # noqa: T201
    # In proportion, or better: rows that lie closer together are fetched faster.
    assert median(times[0.3]) / median(times[0.01]) < 1.3 * events[0.3] / events[0.01]
