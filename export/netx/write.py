"""An integer graph → a `.net` file."""

from __future__ import annotations

from pathlib import Path

from spikegraph.export.assumptions import Assumptions
from spikegraph.export.errors import OptionError
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.graph import Graph
from spikegraph.export.loss import LossReport


def save_netx(graph: Graph | FloatGraph, path: Path, assumed: Assumptions) -> LossReport:
    """Refuse: `.net` files can be read so far."""
    raise OptionError(str(path), "a .net file can be read, not written yet", "save as .h5")
