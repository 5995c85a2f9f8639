"""The places that a graph can run in: each takes a graph and the spikes of its inputs, and returns what it computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import TargetError
from spikegraph.export.graph import Graph
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.hwsim.simulate import Engine

Execution = Mapping[
    str, Mapping[str, Array]
]  # population → "s", "u", "v" → (T, B, *shape), in the population's own time
Place = Callable[[Graph, Mapping[str, Array]], Execution]
VARIABLES = ("u", "v", "s")  # in the order in which a step computes them


def reference(graph: Graph, rasters: Mapping[str, Array]) -> Execution:
    """Run a graph in the reference engine: the definition."""
    return _run_in(run_reference, graph, rasters)


def native(graph: Graph, rasters: Mapping[str, Array]) -> Execution:
    """Run a graph in the native engine."""
    return _run_in(run_native, graph, rasters)


def _run_in(engine: Engine, graph: Graph, rasters: Mapping[str, Array]) -> Execution:
    traces = engine(compile_program(graph), rasters, list(graph.populations)).traces
    return {name: {variable: getattr(traces[name], variable) for variable in VARIABLES} for name in graph.populations}


def lava(graph: Graph, rasters: Mapping[str, Array]) -> Execution:
    """Run a graph in Lava's bit-accurate process models."""
    from spikegraph.targets.lava.run import run_lava

    return run_lava(graph, rasters)


def ort(graph: Graph, rasters: Mapping[str, Array]) -> Execution:
    """Run a graph as an ONNX model, in ONNX Runtime."""
    try:
        from spikegraph.targets.ort import run_ort
    except ModuleNotFoundError as error:
        raise TargetError("ort", f"{error.name} is not installed", "pip install 'spikegraph[onnx]'") from error
    return run_ort(graph, rasters)


def c(graph: Graph, rasters: Mapping[str, Array]) -> Execution:
    """Run a graph as C that the machine's compiler compiles."""
    from spikegraph.targets.c.run import run_c

    return run_c(graph, rasters)


PLACES: dict[str, Place] = {"reference": reference, "native": native, "lava": lava, "ort": ort, "c": c}
