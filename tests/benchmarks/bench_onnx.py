"""ONNX models in ONNX Runtime beside the native engine: the table in docs/onnx.md.

    python tests/benchmarks/bench_onnx.py net.h5 digits:test [FOLDER OF THE DATA]

Both get spikes that are encoded already, in turns, round after round, in one thread. Seconds are of processor time,
which is less at the mercy of what else runs on the machine.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from spikegraph import stages
from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Graph
from spikegraph.export.onnx import run_model, step_model
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.simulate import rasters_of
from spikegraph.targets.ort import open_session
from spikegraph.trainer.data import load_split

ROUNDS, BATCHES, LEAST_S = 9, (1, 32, 256), 0.2
Run = Callable[[Array], Array]  # raster (T, B, *shape) → spikes of the output (T, B, n)


def runners(graph: Graph) -> dict[str, Run]:
    program, (source,) = compile_program(graph), graph.inputs
    output = next(iter(graph.outputs.values())).population
    run, step = (open_session(make(graph), threads=1) for make in (run_model, step_model))
    results = [result.name for result in step.get_outputs()]
    fed_back = [name for name in results if f"{name}/last" in {i.name for i in step.get_inputs()}]

    def native(raster: Array) -> Array:
        return np.asarray(run_native(program, {source: raster}, threads=1).traces[output].s)

    def whole(raster: Array) -> Array:
        return np.asarray(run.run([f"{output}/s"], {source: raster})[0])

    def stepped(raster: Array) -> Array:
        n = raster.shape[1]
        given = {i.name: np.zeros((n, *i.shape[1:]), i.type[7:-1]) for i in step.get_inputs()}
        spikes = []
        for s in raster:
            values = dict(zip(results, step.run(None, given | {source: s}), strict=True))
            given |= {f"{name}/last": values[name] for name in fed_back}
            spikes.append(values[f"{output}/s"])
        return np.stack(spikes)

    return {"native": native, "run.onnx": whole, "step.onnx": stepped}


def rate(run: Run, raster: Array) -> float:
    """Samples a second of processor time, over as many repetitions as take a while."""
    n, begin = 0, time.process_time()
    while time.process_time() - begin < LEAST_S:
        run(raster)
        n += raster.shape[1]
    return n / (time.process_time() - begin)


def main(path: str, data: str, place: str | None = None) -> None:
    graph = stages.load_integer(path)
    split = load_split(data, Path(place) if place else None)
    (source,) = graph.inputs
    index = np.arange(max(BATCHES)) % len(split)
    raster = rasters_of(graph, split.samples(index), index)[source].reshape(
        graph.n_steps, -1, *graph.inputs[source].shape
    )
    raster = np.ascontiguousarray(raster, np.int16 if graph.inputs[source].graded else np.uint8)
    runs = runners(graph)
    expected = runs["native"](raster)
    same = all(np.array_equal(run(raster), expected) for run in runs.values())
    sizes = {make.__name__: make(graph).ByteSize() for make in (run_model, step_model)}
    print(f"{path}: {Path(path).stat().st_size:,} bytes; {sizes}")
    print(f"{raster.mean():.3f} of a spike for each line and step")
    print("output spikes equal" if same else "OUTPUT SPIKES DIFFER", f"over {len(index)} samples")
    print("| batch | " + " | ".join(f"{name}, samples/s (best)" for name in runs) + " | native × run.onnx |")
    for batch in BATCHES:
        part = np.ascontiguousarray(raster[:, :batch])
        rates: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, run in runs.items():
                rates[name].append(rate(run, part))
        cells = [f"{median(r):,.0f} ({max(r):,.0f})" for r in rates.values()]
        ratio = median(a / b for a, b in zip(rates["native"], rates["run.onnx"], strict=True))
        print(f"| {batch} | " + " | ".join(cells) + f" | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
