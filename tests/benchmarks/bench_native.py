"""The native engine against the machine and against the reference engine: `make bench`, table in docs/performance.md.

What is compared runs interleaved, so that a neighbour on the machine slows all alike; figures are medians over rounds.
Three bounds, of one thread, from parts.c, which is the kernel's own code with nothing around it:

- rows: the rate at which rows of int8, drawn at random from 784 × 512 of them, which lie in the second-level cache, are
  added. One rate for every workload.
- additions: the time that the workload's own additions take, of the same spikes, when nothing else is done.
- parts: that, the neuron updates and the lists of spikes, each by itself.

A share is the bound's time over the engine's, both of processor time, which neighbours on the machine do not take away;
samples a second are of wall time.
"""

from __future__ import annotations

import ctypes
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from workloads import workload_a, workload_b

from spikegraph.export.connectivity import Array
from spikegraph.export.events import Events
from spikegraph.export.graph import Graph
from spikegraph.hwsim.kernel import LEVELS, Batch, Projection, kernel
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.plan import plan_of
from spikegraph.hwsim.program import Program, compile_program
from spikegraph.hwsim.reference import run_reference

ROUNDS = 15
LISTED = 4  # samples whose spikes the parts get
PARTS = {"additions": "a", "updates": "u", "lists": "l"}
Workload = tuple[Graph, dict[str, Array]]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Compile the inner loops by themselves, as the kernel is compiled."""
    library = tmp_path_factory.mktemp("parts") / "parts.so"
    source = Path(__file__).with_name("parts.c")
    subprocess.run(["gcc", "-std=gnu11", "-O3", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def rows(parts: ctypes.CDLL, level: int, n_events: int = 39_000) -> tuple[Callable[[], Any], int]:
    """Return a call that adds rows, and the number of additions that it does."""
    random = np.random.default_rng(0)
    weight = random.integers(-128, 128, (784, 512)).astype(np.int8)
    index = np.concatenate([np.sort(random.choice(784, 39, replace=False)) for _ in range(n_events // 39)])
    index = index.astype(np.int32)
    sums = np.zeros(512 + 64, np.int32)

    def call() -> None:
        for _ in range(20):
            parts.add_rows(
                ctypes.c_int64(level),
                ctypes.c_void_p(weight.ctypes.data),
                ctypes.c_int64(512),
                ctypes.c_void_p(index.ctypes.data),
                ctypes.c_int64(len(index)),
                ctypes.c_void_p(sums.ctypes.data),
            )

    return call, 20 * len(index) * 512


def part(
    parts: ctypes.CDLL, which: str, program: Program, rasters: dict[str, Array], level: int
) -> tuple[Callable[[], Any], int]:
    """Return a call that does one part of the work of the first samples, and the number of samples that it does."""
    plan, graph = plan_of(program), program.graph
    few = {name: raster[:, :LISTED] for name, raster in rasters.items()}
    traces = run_native(program, few, list(graph.populations)).traces
    n_lists = graph.n_steps * LISTED
    index, ends = [], [0]
    for name in plan.names:
        s = few[name] if name in few else traces[name].s
        flat = s.reshape(n_lists, -1)[:, plan.orders[name] if plan.orders[name] is not None else slice(None)]
        index.append(np.nonzero(flat)[1].astype(np.int32))
        ends.extend(ends[-1] + np.cumsum(np.count_nonzero(flat, axis=1)))
    indices, offsets = np.concatenate(index), np.array(ends, np.int64)
    tapped = {output.population for output in graph.outputs.values()}
    populations, projections = type(plan.populations).from_buffer_copy(plan.populations), []
    for population in populations:
        population.general |= plan.names[population.source] in tapped
        copied = (Projection * population.n_projections).from_address(population.projections)
        projections.append(type(copied).from_buffer_copy(copied))
        for projection in projections[-1]:
            projection.effective = None  # synapses are not counted
        population.projections = ctypes.addressof(projections[-1])
    batch = Batch(
        n_steps=graph.n_steps,
        n_sources=len(plan.sources),
        n_populations=len(populations),
        n_slots=len(plan.slots),
        level=level,
        sources=ctypes.addressof(plan.sources),
        populations=ctypes.addressof(populations),
    )
    times = max(200 // LISTED, 1) if np.prod(graph.shape_of("input")) < 1000 else 4

    def call(keep: Any = (populations, projections)) -> None:
        failed = parts.run_part(
            ctypes.byref(batch),
            ctypes.c_int64(ord(which)),
            ctypes.c_int64(n_lists),
            ctypes.c_void_p(offsets.ctypes.data),
            ctypes.c_void_p(indices.ctypes.data),
            ctypes.c_int64(times),
        )
        assert not failed

    return call, times * LISTED


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
    "B, input 0.3": lambda: workload_b(30, rate=0.3),
}


@pytest.mark.parametrize("name", WORKLOADS)
def test_native_engine(name: str, parts: ctypes.CDLL, capsys: pytest.CaptureFixture[str]) -> None:
    graph, rasters = WORKLOADS[name]()
    program, best = compile_program(graph), kernel().sg_level()
    n_samples = rasters["input"].shape[1]
    events = {"input": Events.from_raster(rasters["input"])}
    few = {"input": rasters["input"][:, : max(4, n_samples // 30)]}
    result = run_native(program, rasters)
    sops = sum(int(a.sum()) for a in result.per_step["sops"].values()) / n_samples
    rates = {k: float(a.mean()) / int(np.prod(graph.shape_of(k))) for k, a in result.per_step["spikes"].items()}
    engines: dict[str, tuple[Callable[[], Any], int]] = {
        "1 thread": (lambda: run_native(program, rasters, threads=1), n_samples),
        "1, events": (lambda: run_native(program, events, threads=1), n_samples),
        "2 threads": (lambda: run_native(program, rasters, threads=2), n_samples),
        "reference": (lambda: run_reference(program, few), few["input"].shape[1]),
    }
    add_rows, additions = rows(parts, best)
    bounds = {what: part(parts, letter, program, rasters, best) for what, letter in PARTS.items()}
    calls = {"rows": (add_rows, additions), **bounds, **engines}
    times: dict[str, list[tuple[float, float]]] = {what: [] for what in calls}
    for _ in range(ROUNDS):
        for what, (call, _n) in calls.items():
            if what != "reference" or len(times[what]) < 3:
                times[what].append(seconds(call))
    wall, processor = (
        {what: median(pair[k] for pair in times[what]) / n for what, (_, n) in calls.items()} for k in (0, 1)
    )
    bound = {
        "rows": processor["rows"] * sops,
        "additions": processor["additions"],
        "parts": sum(processor[what] for what in PARTS),
    }
    with capsys.disabled():
        print(f"\n{name}: {LEVELS[best]}; {sops:,.0f} sops a sample; rates ", end="")  # noqa: T201
        print(", ".join(f"{k} {r:.3f}" for k, r in rates.items()), end="; ")  # noqa: T201
        print(f"rows {1e-9 / processor['rows']:.1f} G/s a thread; µs a sample: ", end="")  # noqa: T201
        print(", ".join(f"{what} {1e6 * processor[what]:,.1f}" for what in PARTS))  # noqa: T201
        for what, (_call, n) in engines.items():
            shares = ", ".join(f"{t / processor[what]:.2f} of {b}" for b, t in bound.items())
            print(  # noqa: T201
                f"  {what:10} {1 / wall[what]:10,.0f} samples/s, best {n / min(times[what])[0]:,.0f},"
                f" {1 / processor[what]:,.0f} a processor second; {sops / wall[what] / 1e9:.2f} G sops/s;"
                f" share: {shares}; {wall['reference'] / wall[what]:,.0f} × reference"
            )
