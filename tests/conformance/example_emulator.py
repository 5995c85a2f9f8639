"""An example of a place that is another program: it reads a graph and spikes from files, and writes what it computed.

    CONFORMANCE_EMULATOR=conformance.example_emulator:run make conformance

What runs in the other process here is this project's reference engine; put yours in its place.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.formats import load_integer, save
from spikegraph.export.graph import Graph
from spikegraph.targets.places import Execution, reference


def run(graph: Graph, rasters: Mapping[str, Array]) -> Execution:
    """Run a graph in another process: graph.h5 and inputs.npz go in, traces.npz comes out."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("graph.h5", "inputs.npz", "traces.npz")]
        save(graph, files[0])
        np.savez(files[1], **rasters)  # type: ignore[arg-type]
        subprocess.run([sys.executable, __file__, *map(str, files)], check=True)
        with np.load(files[2]) as traces:
            names = [name.rpartition("/") for name in traces]
            return {p: {v: traces[f"{p}/{v}"] for q, _, v in names if q == p} for p in graph.populations}


def main(graph_file: str, inputs_file: str, traces_file: str) -> None:
    """Read a graph and spikes, run them, and write `POPULATION/VARIABLE` arrays (T, B, *shape)."""
    with np.load(inputs_file) as inputs:
        execution = reference(load_integer(graph_file), dict(inputs))
    np.savez(traces_file, **{f"{p}/{v}": array for p, of in execution.items() for v, array in of.items()})  # type: ignore[arg-type]


if __name__ == "__main__":
    main(*sys.argv[1:])
