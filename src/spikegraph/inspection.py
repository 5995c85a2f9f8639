"""The stage `inspect`: what a graph file holds, as plain JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.formats import load
from spikegraph.export.graph import Population, Projection
from spikegraph.export.hdf5 import graph_checksum
from spikegraph.export.order import depths

_FLOAT_PARAMETERS = ("tau_syn", "tau_mem", "v_threshold", "bias")


def inspect(path: str | Path) -> dict[str, Any]:
    """Describe a graph file as plain JSON: populations, projections, bits, ranges, delays, provenance.

    Of a float graph: its dt, and the ranges of its numbers.
    """
    graph = load(path)
    depth = depths(graph)
    floats = isinstance(graph, FloatGraph)
    return {
        "file": str(path),
        "kind": "float-graph" if floats else "graph",
        **({"dt": graph.dt} if isinstance(graph, FloatGraph) else {}),
        "content": graph_checksum(graph),
        "n_steps": graph.n_steps,
        "inputs": {
            name: {"shape": list(node.shape), "values": [node.min_value, node.max_value]}
            for name, node in graph.inputs.items()
        },
        "populations": {
            name: {
                "shape": list(node.shape),
                "depth": depth[name],
                "reset": node.reset,
                "refractory_steps": node.refractory_steps,
                "max_spikes": node.max_spikes,
                **{
                    parameter: _range(np.asarray(getattr(node, parameter)))
                    for parameter in (node.PARAMETERS if isinstance(node, Population) else _FLOAT_PARAMETERS)
                },
            }
            for name, node in graph.populations.items()
        },
        "projections": {
            name: {
                "kind": p.kind,
                "source": p.source,
                "target": p.target,
                "weight_shape": list(p.weight.shape),
                "weights": int(p.weight.size),
                "nonzero": int((p.weight != 0).sum()),
                "weight": _range(p.weight),
                **(_integers(p) if isinstance(p, get_args(Projection)) else {}),
                "delay_steps": p.delay_steps,
            }
            for name, p in graph.projections.items()
        },
        "outputs": {name: {"population": o.population, "variable": o.variable} for name, o in graph.outputs.items()},
        "coding": vars(graph.coding) if graph.coding else None,
        "readout": vars(graph.readout) if graph.readout else None,
        "provenance": dict(graph.provenance),
    }


def _integers(p: Projection) -> dict[str, int]:
    return {"step": _step(p.weight), "bits": _bits(p.weight), "weight_exp": p.weight_exp}


def _range(array: Array) -> list[Any]:
    return [array.min().item(), array.max().item()] if array.size else [0, 0]


def _step(weight: Array) -> int:
    """Largest number that divides every weight."""
    return max(1, int(np.gcd.reduce(weight, axis=None)))


def _bits(weight: Array) -> int:
    """Width of the narrowest signed integer that holds every weight, counted in steps; 1 for two opposite weights."""
    if weight.size and (np.abs(weight) == np.abs(weight).max()).all() and weight.min() < 0 < weight.max():
        return 1
    low, high = (end // _step(weight) for end in _range(weight))
    return max(high.bit_length() if high > 0 else 0, (-low - 1).bit_length() if low < 0 else 0) + 1
