"""Encoded samples as files, for what runs elsewhere: what is built takes spikes, and knows no code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import FileFormatError
from spikegraph.export.graph import Graph
from spikegraph.targets.c.run import events_text
from spikegraph.targets.lava.files import save_inputs, whole_file

Writer = Callable[[Graph, Mapping[str, Array], Path], None]
MOST_VALUES = 1 << 29  # steps × samples × lines that are encoded at once


def write_hdf5(graph: Graph, rasters: Mapping[str, Array], path: Path) -> None:
    """Write what a built Lava folder reads: /inputs/NAME, integers (T, N, *shape)."""
    with _told(path):
        save_inputs(path, rasters)


def write_npz(graph: Graph, rasters: Mapping[str, Array], path: Path) -> None:
    """Write arrays inputs.NAME (T, N, *shape), for NumPy and ONNX Runtime."""
    with _told(path), whole_file(path) as file:
        arrays: dict[str, Any] = {f"inputs.{name}": raster for name, raster in rasters.items()}
        np.savez_compressed(file, **arrays)


def write_text(graph: Graph, rasters: Mapping[str, Array], path: Path) -> None:
    """Write a line a step, as the main.c of a built C folder reads them."""
    with _told(path), whole_file(path) as file:
        file.write(events_text(graph, rasters).encode())


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise FileFormatError(str(path), what, "name a file in a folder that exists and may be written to") from error


WRITERS: dict[str, Writer] = {".h5": write_hdf5, ".npz": write_npz, ".txt": write_text}
