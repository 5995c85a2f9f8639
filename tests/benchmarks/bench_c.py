"""C beside the native engine, ONNX Runtime and a Cortex-M3 in qemu: the tables in docs/c.md.

    PYTHONPATH=tests python tests/benchmarks/bench_c.py net.h5 digits:test [FOLDER OF THE DATA]

One thread each, processor time. All get spikes that are encoded already, in turns, round after round. ONNX Runtime
takes part where it is installed; instructions are counted where qemu and an Arm compiler are.
"""

import ctypes
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import cortex_m
import numpy as np

from spikegraph import stages
from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Graph
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.simulate import rasters_of
from spikegraph.targets.c.folder import write_files
from spikegraph.targets.c.layout import lay_out
from spikegraph.targets.c.memory import memory_of
from spikegraph.targets.c.run import events_text
from spikegraph.targets.c.source import sources_of
from spikegraph.trainer.data import load_split

ROUNDS, LEAST_S, N_SAMPLES, N_COUNTED = 9, 0.2, 100, 20
DRIVER = Path(__file__).parent / "c_driver.c"
COMPILERS = {
    "gcc -O2": ["gcc", "-O2"],
    "gcc -O3": ["gcc", "-O3"],
    "gcc -O3 -march=native": ["gcc", "-O3", "-march=native"],
    "clang -O3 -march=native": ["clang", "-O3", "-march=native"],
}
Run = Callable[[], object]


def compiled(graph: Graph, folder: Path, command: list[str]) -> ctypes.CDLL:
    folder.mkdir()
    write_files(sources_of(graph, lay_out(graph), "net"), folder)
    library = folder / "net.so"
    sources = [str(folder / "net.c"), str(DRIVER)]
    subprocess.run([*command, "-std=c99", "-shared", "-fPIC", f"-I{folder}", *sources, "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def events_of(raster: Array) -> tuple[Array, Array]:
    """Events of a raster (T, B, *shape) as net_event of 16-bit lines, and where each step of each sample ends."""
    by_sample = raster.reshape(*raster.shape[:2], -1).swapaxes(0, 1)
    sample, step, line = np.nonzero(by_sample)
    events = np.stack([line, by_sample[sample, step, line]], axis=1).astype(np.int16)
    n_steps = by_sample.shape[1]
    ends = np.searchsorted(sample * n_steps + step, np.arange(len(by_sample) * n_steps), side="right")
    return events, ends.astype(np.int32)


def decided(library: ctypes.CDLL, events: Array, ends: Array, n_samples: int) -> Array:
    predicted = np.zeros(n_samples, np.int32)
    events_at, ends_at, predicted_at = (ctypes.c_void_p(a.ctypes.data) for a in (events, ends, predicted))
    library.run(events_at, ends_at, ctypes.c_int32(n_samples), predicted_at)
    return predicted


def runners(graph: Graph, raster: Array, folder: Path) -> dict[str, Run]:
    (source,) = graph.inputs
    program, (events, ends) = compile_program(graph), events_of(raster)
    runs: dict[str, Run] = {"native": lambda: run_native(program, {source: raster}, threads=1)}
    for k, (name, command) in enumerate(COMPILERS.items()):
        runs[f"c, {name}"] = partial(decided, compiled(graph, folder / str(k), command), events, ends, raster.shape[1])
    if find_spec("onnxruntime"):
        from spikegraph.export.onnx import run_model
        from spikegraph.targets.ort import open_session

        session = open_session(run_model(graph), threads=1)
        output = next(iter(graph.outputs.values())).population
        runs["onnxruntime"] = lambda: session.run([f"{output}/s"], {source: raster})[0]
    return runs


def require_the_same(graph: Graph, runs: dict[str, Run], raster: Array) -> None:
    (source,), output = graph.inputs, next(iter(graph.outputs.values())).population
    trace = run_native(compile_program(graph), {source: raster}).traces[output]
    flat = [a.reshape(*a.shape[:2], -1) for a in (trace.s, trace.v_before_reset)]
    expected = {"c": graph.readout.decide(*flat).predicted, "o": trace.s}
    for name, run in runs.items():
        if name[0] in expected and not np.array_equal(run(), expected[name[0]]):
            raise SystemExit(f"{name} differs")


def seconds(run: Run, n_samples: int) -> float:
    """Seconds of the processor a sample, over as many repetitions as take a while."""
    n, begin = 0, time.process_time()
    while time.process_time() - begin < LEAST_S:
        run()
        n += n_samples
    return (time.process_time() - begin) / n


def on_a_cortex_m3(graph: Graph, raster: Array, folder: Path) -> None:
    (source,) = graph.inputs
    program, part = compile_program(graph), np.ascontiguousarray(raster[:, :N_COUNTED])
    counts = run_native(program, {source: part}).per_step
    sops, updates = (sum(int(a.sum()) for a in counts[q].values()) / N_COUNTED for q in ("sops", "neuron_updates"))
    write_files(sources_of(graph, lay_out(graph), "net"), folder)
    (folder / "events").write_text(events_text(graph, {source: part}))
    print(f"{sops:,.0f} synaptic operations, {updates:,.0f} neuron updates a sample, on a Cortex-M3:")
    for option in ("-Os", "-O2", "-O3"):
        n = cortex_m.instructions(cortex_m.run(folder, option)) / N_COUNTED
        subprocess.run(
            ["arm-none-eabi-gcc", *cortex_m.CPU, "-std=c99", option, "-c", "net.c", "-o", "net.o"],
            cwd=folder,
            check=True,
        )
        size = subprocess.run(
            ["arm-none-eabi-size", "-A", "net.o"], cwd=folder, check=True, capture_output=True, text=True
        )
        sections = [line.split() for line in size.stdout.splitlines() if line.startswith(".")]
        text, constant, data, bss = (
            sum(int(n) for name, n, _ in sections if name.startswith(f".{kind}"))
            for kind in ("text", "rodata", "data", "bss")
        )
        sizes = f"code {text}, constants {constant}, data {data}, bss {bss}"
        print(f"{option}: {n:,.0f} instructions a sample; {sizes} bytes")


def main(path: str, data: str, place: str | None = None) -> None:
    graph = stages.load_integer(path)
    split = load_split(data, Path(place) if place else None)
    (source,) = graph.inputs
    index = np.arange(N_SAMPLES) % len(split)
    shape = (graph.n_steps, N_SAMPLES, *graph.inputs[source].shape)
    raster = np.ascontiguousarray(rasters_of(graph, split.samples(index), index)[source].reshape(shape), np.uint8)
    print(f"{path}: {memory_of(lay_out(graph))}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        runs = runners(graph, raster, folder)
        require_the_same(graph, runs, raster)
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, run in runs.items():
                taken[name].append(seconds(run, N_SAMPLES))
        for name, times in taken.items():
            print(f"{name}: {median(times) * 1e6:,.0f} µs a sample (best {min(times) * 1e6:,.0f})", flush=True)
        if not cortex_m.MISSING:
            on_a_cortex_m3(graph, raster, folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
