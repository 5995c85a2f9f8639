"""Encoded samples as files, for what runs elsewhere: what is built takes spikes, and knows no code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.files import whole_file
from spikegraph.export.graph import Graph
from spikegraph.targets.c.run import events_text
from spikegraph.targets.lava.files import save_inputs

Writer = Callable[[Graph, Mapping[str, Array], Path], None]
MOST_VALUES = 1 << 29  # steps × samples × lines that are encoded at once


def write_hdf5(graph: Graph, rasters: Mapping[str, Array], path: Path) -> None:
    """Write what a built Lava folder reads: /inputs/NAME, integers (T, N, *shape)."""
    with whole_file(path) as part:
        save_inputs(part, rasters)


def write_npz(graph: Graph, rasters: Mapping[str, Array], path: Path) -> None:
    """Write arrays inputs.NAME (T, N, *shape), for NumPy and ONNX Runtime."""
    with whole_file(path) as part, part.open("wb") as file:
        arrays: dict[str, Any] = {f"inputs.{name}": raster for name, raster in rasters.items()}
        np.savez_compressed(file, **arrays)


def write_text(graph: Graph, rasters: Mapping[str, Array], path: Path) -> None:
    """Write a line a step, as the main.c of a built C folder reads them."""
    with whole_file(path) as part:
        part.write_text(events_text(graph, rasters), encoding="utf-8")


WRITERS: dict[str, Writer] = {".h5": write_hdf5, ".npz": write_npz, ".txt": write_text}
