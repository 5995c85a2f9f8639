"""Graph files of every format, chosen by the suffix of the name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spikegraph.export.errors import FileFormatError, OptionError
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.graph import Graph
from spikegraph.export.hdf5 import load_graph, save_graph


@dataclass(frozen=True, kw_only=True)
class Format:
    """How one file format is written and read."""

    save: Callable[[Graph | FloatGraph, Path], None]
    load: Callable[[Path], Graph | FloatGraph]


FORMATS = {".h5": Format(save=save_graph, load=load_graph)}


def save(graph: Graph | FloatGraph, path: str | os.PathLike[str]) -> None:
    """Write a graph in the format that the suffix names; raises `OptionError` for another suffix."""
    _format(path).save(graph, Path(path))


def load(path: str | os.PathLike[str]) -> Graph | FloatGraph:
    """Read a graph in the format that the suffix names; raises `OptionError` for another suffix."""
    return _format(path).load(Path(path))


def load_integer(path: str | os.PathLike[str]) -> Graph:
    """Read a graph and insist on an integer graph; raises `FileFormatError` for a float graph."""
    graph = load(path)
    if isinstance(graph, FloatGraph):
        raise FileFormatError(str(path), "is a float graph, expected an integer graph", "quantize it first")
    return graph


def _format(path: str | os.PathLike[str]) -> Format:
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        what = f"has the suffix {suffix!r}" if suffix else "has no suffix"
        then = ", then spikegraph build --target onnx" if suffix == ".onnx" else ""  # a model cannot be read back
        raise OptionError(str(path), what, f"use one of {', '.join(FORMATS)}{then}")
    return FORMATS[suffix]
