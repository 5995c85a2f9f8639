"""The targets that a graph can be built for: each writes a folder that stands alone, and returns the build report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from spikegraph.export.errors import TargetError
from spikegraph.export.graph import Graph

Builder = Callable[[Graph, str | Path], dict[str, Any]]


def lava(graph: Graph, folder: str | Path) -> dict[str, Any]:
    """Build Lava processes, and what runs them."""
    from spikegraph.targets.lava.folder import build_lava

    return build_lava(graph, folder).report()


def onnx(graph: Graph, folder: str | Path) -> dict[str, Any]:
    """Build ONNX models: a step, and a run."""
    from spikegraph.targets.onnx import build_onnx

    return build_onnx(graph, folder)


def c(graph: Graph, folder: str | Path) -> dict[str, Any]:
    """Build portable C99."""
    from spikegraph.targets.c.folder import build_c

    return build_c(graph, folder)


BUILDERS: dict[str, Builder] = {"lava": lava, "onnx": onnx, "c": c}


def build(graph: Graph, folder: str | Path, target: str) -> dict[str, Any]:
    """Build a graph for a target into a folder; return the build report.

    Raises
    ------
    TargetError
        There is no such target, or it cannot hold the graph.
    """
    if target not in BUILDERS:
        raise TargetError(f"target {target!r}", "is not known", f"choose one of {', '.join(BUILDERS)}")
    return BUILDERS[target](graph, folder)
