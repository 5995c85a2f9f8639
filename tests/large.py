"""How much memory workload C takes: run as a program, so that a process of its own starts from nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from workloads import raster, workload_c

from spikegraph.export.graph import Graph
from spikegraph.export.hdf5 import load_graph, save_graph
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.program import compile_program


def network_bytes(graph: Graph) -> int:
    """Return the bytes of a graph's arrays, and of u and v, 4 each, of every neuron."""
    nodes = [*graph.populations.values(), *graph.projections.values()]
    arrays = [value for node in nodes for value in vars(node).values() if isinstance(value, np.ndarray)]
    return sum(array.nbytes for array in arrays) + sum(8 * population.n for population in graph.populations.values())


def peak_bytes() -> int:
    """Return the most memory that this process ever held (its ru_maxrss would begin at its parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def report(scale: float, path: str | None) -> dict[str, float]:
    """Make the graph, or load it from a file, compile it and run it; say what that took beyond a very small one."""
    small, rasters = workload_c(0.001)
    with TemporaryDirectory() as folder:
        save_graph(small, Path(folder) / "small.h5")
        run_native(compile_program(load_graph(Path(folder) / "small.h5")), rasters)
    base = peak_bytes()
    if path is None:
        graph, rasters = workload_c(scale)
    else:
        graph = load_graph(path)
        rasters = {"input": raster(graph.inputs["input"].n, 0.01, graph.n_steps)}
    made = peak_bytes() - base
    run_native(compile_program(graph), rasters)
    return {"network": network_bytes(graph), "base": base, "made": made, "peak": peak_bytes() - base}


if __name__ == "__main__":
    print(json.dumps(report(float(sys.argv[1]), *sys.argv[2:] or [None])))  # noqa: T201
