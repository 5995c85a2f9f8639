"""The native engine against the machine and against the reference engine: `make bench`, table in docs/performance.md.

What is compared runs interleaved, so that a neighbour on the machine slows all alike; figures are medians over rounds.
The bound is the rate at which the kernel's own inner loop adds rows of int8 that lie in the second-level cache
(784 × 512, 39 of them a call, as workload A does it). The share of the bound is of processor time, which neighbours on
the machine do not take away; samples a second are of wall time.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import pytest
from workloads import workload_a, workload_b

from spikegraph.export.connectivity import Array
from spikegraph.export.events import Events
from spikegraph.export.graph import Graph
from spikegraph.hwsim.native import LEVELS, kernel, run_native
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference

ROUNDS = 15
Workload = tuple[Graph, dict[str, Array]]


def inner_loop(level: int, times: int = 20_000, n_rows: int = 784, width: int = 512, n_events: int = 39) -> Any:
    """Return a call that adds rows, and the number of additions that it does."""
    random = np.random.default_rng(0)
    weight = random.integers(-128, 128, (n_rows, width)).astype(np.int8)
    index = np.sort(random.choice(n_rows, n_events, replace=False)).astype(np.int32)
    sums = np.zeros(width + 64, np.int32)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (weight, index, sums)]
    numbers = [ctypes.c_int64(n) for n in (level, width, n_events, times)]
    arguments = (numbers[0], pointers[0], numbers[1], pointers[1], numbers[2], pointers[2], numbers[3])

    def call(keep: Any = (weight, index, sums)) -> None:
        kernel().sg_add_rows(*arguments)

    return call, times * n_events * width


def seconds(call: Callable[[], Any]) -> tuple[float, float]:
    """Return wall and processor time."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - processor


WORKLOADS = {
    "A": lambda: workload_a(1000),
    "A, current": lambda: workload_a(1000, decay_u=1024),
    "A, input 0.3": lambda: workload_a(400, rate=0.3),
    "B": lambda: workload_b(60),
    "B, current": lambda: workload_b(60, decay_u=1024),
}


@pytest.mark.parametrize("name", WORKLOADS)
def test_native_engine(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    graph, rasters = WORKLOADS[name]()
    program, best = compile_program(graph), kernel().sg_level()
    n_samples = rasters["input"].shape[1]
    events = {"input": Events.from_raster(rasters["input"])}
    few = {"input": rasters["input"][:, : max(4, n_samples // 30)]}
    result = run_native(program, rasters)
    sops = sum(int(a.sum()) for a in result.per_step["sops"].values()) / n_samples
    rates = {k: float(a.mean()) / int(np.prod(graph.shape_of(k))) for k, a in result.per_step["spikes"].items()}
    calls: dict[str, tuple[Callable[[], Any], int]] = {
        "1 thread": (lambda: run_native(program, rasters, threads=1), n_samples),
        "1, events": (lambda: run_native(program, events, threads=1), n_samples),
        "2 threads": (lambda: run_native(program, rasters, threads=2), n_samples),
        "reference": (lambda: run_reference(program, few), few["input"].shape[1]),
    }
    add_rows, additions = inner_loop(best)
    times: dict[str, list[tuple[float, float]]] = {what: [] for what in (*calls, "bound")}
    for _ in range(ROUNDS):
        times["bound"].append(seconds(add_rows))
        for what, (call, _n) in calls.items():
            if what != "reference" or len(times[what]) < 3:
                times[what].append(seconds(call))
    bound = additions / median(processor for _, processor in times["bound"])
    with capsys.disabled():
        print(f"\n{name}: {LEVELS[best]}; {sops:,.0f} sops a sample; rates ", end="")  # noqa: T201
        print(", ".join(f"{k} {r:.3f}" for k, r in rates.items()), f"; bound {bound / 1e9:.1f} G/s a thread")  # noqa: T201
        reference = median(wall for wall, _ in times["reference"]) / calls["reference"][1]
        for what, (_call, n) in calls.items():
            per_sample, processor = (median(column) / n for column in zip(*times[what], strict=True))
            print(  # noqa: T201
                f"  {what:10} {1 / per_sample:10,.0f} samples/s, best {n / min(times[what])[0]:,.0f},"
                f" {1 / processor:,.0f} a processor second; {sops / per_sample / 1e9:.2f} G sops/s,"
                f" {sops / processor / bound:.3f} of the bound, {reference / per_sample:,.0f} × reference"
            )
