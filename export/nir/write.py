"""A graph → a NIR file: nodes that mean the same to whoever reads them, and what NIR has no words for beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from spikegraph.export.assumptions import Assumptions
from spikegraph.export.check import require_legal
from spikegraph.export.connectivity import Array
from spikegraph.export.errors import OptionError
from spikegraph.export.files import whole_file
from spikegraph.export.fixed import DECAY_ONE
from spikegraph.export.float_graph import FLOAT_PROJECTIONS, FloatGraph, FloatPopulation
from spikegraph.export.graph import Graph
from spikegraph.export.loss import LossReport
from spikegraph.export.nir.conventions import convention_named
from spikegraph.export.nir.lay_out import lay_out
from spikegraph.export.nir.metadata import metadata_of
from spikegraph.export.time_constants import time_constant_of

DEFAULT = "lava"  # plain Euler steps, v_reset at once: what most readers of NIR do
DT = 1e-3


def save_nir(graph: Graph | FloatGraph, path: Path, assumed: Assumptions) -> LossReport:
    """Write a graph as NIR.

    Parameters
    ----------
    graph : Graph or FloatGraph
    path : Path
        Replaced in one step; a failure leaves what was there.
    assumed : Assumptions
        `convention`: how readers make steps of NIR's time constants ("lava" unless said). `dt`: seconds per step
        (the graph's own, else 1 ms).

    Returns
    -------
    LossReport
        What other readers do not find in the file; spikegraph reads it back from the metadata.

    Raises
    ------
    GraphError
        The graph is not legal.
    FileFormatError
        The file cannot be written, or a projection would become too large a matrix.
    """
    require_legal(graph)
    convention = convention_named(assumed.convention or DEFAULT)
    floats = graph if isinstance(graph, FloatGraph) else in_floats(graph, assumed.dt or DT)
    dt = assumed.dt if assumed.dt is not None else floats.dt
    if not (np.isfinite(dt) and dt > 0):
        raise OptionError("dt", f"is {dt}", "give seconds per step, above 0")
    made = lay_out(floats, convention, dt, integer=graph if isinstance(graph, Graph) else None)
    metadata = metadata_of(graph, made, convention.name, dt)
    _write(path, made.nodes, list(made.edges), metadata)
    facts = (
        f"convention {convention.name} ({convention.title}): tau and r are such that its steps are the graph's",
        f"dt = {dt:g} s",
    )
    return LossReport(step=f"write {path.name}", facts=facts, losses=tuple(made.losses))


def in_floats(graph: Graph, dt: float) -> FloatGraph:
    """Return an integer graph in floating point: weights and thresholds as they are, u and v in units of 64.

    What it computes is the same as long as nothing is rounded, wraps or saturates.
    """
    populations = {
        name: FloatPopulation(
            shape=p.shape,
            tau_syn=time_constant_of(1 - p.decay_u / DECAY_ONE, dt),
            tau_mem=time_constant_of(1 - p.decay_v / DECAY_ONE, dt),
            v_threshold=p.threshold_mant.astype(np.float32),
            bias=_bias(p.bias_mant, p.bias_exp, p.shape),
            reset=p.reset,
            refractory_steps=p.refractory_steps,
            max_spikes=p.max_spikes,
        )
        for name, p in graph.populations.items()
    }
    projections = {}
    for name, p in graph.projections.items():
        own = {f: getattr(p, f) for f in p.__dataclass_fields__ if f not in ("weight", "weight_exp", "kind")}
        weight = p.weight.astype(np.float32) * np.float32(2.0**p.weight_exp)
        projections[name] = FLOAT_PROJECTIONS[p.kind](weight=weight, **own)
    return FloatGraph(
        inputs=graph.inputs,
        populations=populations,
        projections=projections,
        outputs=graph.outputs,
        n_steps=graph.n_steps,
        dt=dt,
    )


def _bias(mant: Array, exp: Array, shape: tuple[int, ...]) -> Array:
    if mant.ndim == 1 and len(shape) == 3 and exp.ndim == 3:
        mant = mant.reshape(-1, 1, 1)
    if exp.ndim == 1 and len(shape) == 3 and mant.ndim == 3:
        exp = exp.reshape(-1, 1, 1)
    return np.asarray(np.ldexp(mant.astype(np.float32), exp.astype(np.int32) - 6), np.float32)


def _write(path: Path, nodes: Mapping[str, Any], edges: list[tuple[str, str]], metadata: Mapping[str, Any]) -> None:
    import nir  # here, so that its absence is told when it is needed

    made = {name: nir.dict2NIRNode(dict(fields)) for name, fields in nodes.items()}
    graph = nir.NIRGraph(made, edges, metadata=dict(metadata), type_check=False)
    with whole_file(path) as part:
        nir.write(str(part), graph)
        _without_zero_resets(part, list(nodes))


def _without_zero_resets(path: Path, nodes: list[str]) -> None:
    """Take out what is 0 where it is missing: nir before 1.0.5, to which Sinabs 3.1.3 is bound, knows no v_reset."""
    with h5py.File(path, "r+") as file:
        for name in nodes:
            node = file[f"node/nodes/{name}"]
            if "v_reset" in node and not np.any(node["v_reset"]):
                del node["v_reset"]
