"""Run a graph on samples: encode, run in an engine, decide, count."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import GraphError, OptionError, Problem
from spikegraph.export.graph import Graph
from spikegraph.export.hdf5 import graph_checksum
from spikegraph.hwsim.counts import Counts
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.program import Program, compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.hwsim.result import VARIABLES, BatchResult
from spikegraph.hwsim.run import Run

Engine = Callable[[Program, Mapping[str, Array], Collection[str]], BatchResult]
ENGINES: dict[str, Engine] = {"native": run_native, "reference": run_reference}


def rasters_of(graph: Graph, x: Array, index: Array) -> dict[str, Array]:
    """Encode samples as the graph says.

    Parameters
    ----------
    graph : Graph
        With one input and a coding.
    x : ndarray of float32 (B, *input shape), 0…1
    index : ndarray of int (B,)
        Place of each sample in its data set.

    Returns
    -------
    dict of input name → ndarray of int (T, B, *shape)
    """
    if graph.coding is None or len(graph.inputs) != 1:
        what = f"has {'no coding' if graph.coding is None else f'{len(graph.inputs)} inputs'}"
        problem = Problem(where="graph", what=what, remedy="run it on rasters of its inputs from Python instead")
        raise GraphError([problem])
    return {name: graph.coding.encode(x, index, graph.n_steps) for name in graph.inputs}


def simulate(
    graph: Graph,
    samples: Iterable[tuple[Array, Array, Array]],
    *,
    engine: str = "native",
    record: Collection[str] = (),
    provenance: Mapping[str, Any] | None = None,
) -> Run:
    """Run a graph on batches of samples.

    Parameters
    ----------
    graph : Graph
        With a coding and a readout.
    samples : iterable of (x, label, index)
        x of float32 (B, *input shape), label and index of int (B,).
    engine : str
        A name of `ENGINES`.
    record : collection of str
        Populations whose states are kept at every step.
    provenance : mapping, optional
        What is run on what: plain JSON.

    Raises
    ------
    GraphError
        The graph is not legal, or has no coding or readout.
    OptionError
        Unknown engine or population; no samples.
    TargetError
        The compiled part of the native engine is missing.
    """
    if engine not in ENGINES:
        raise OptionError("--engine", f"{engine!r} is not known", f"choose one of {', '.join(ENGINES)}")
    unknown = [name for name in record if name not in graph.populations]
    if unknown:
        raise OptionError("--record", f"no population {unknown[0]!r}", f"choose among {', '.join(graph.populations)}")
    program, checksum = compile_program(graph), graph_checksum(graph)
    parts = [_batch(program, checksum, engine, batch, record, provenance or {}) for batch in samples]
    if not parts:
        raise OptionError("samples", "there are none", "give at least one")
    return Run.concatenate(parts)


def _batch(
    program: Program,
    checksum: str,
    engine: str,
    batch: tuple[Array, Array, Array],
    record: Collection[str],
    provenance: Mapping[str, Any],
) -> Run:
    (x, label, index), graph = batch, program.graph
    result = ENGINES[engine](program, rasters_of(graph, x, index), record)
    if graph.readout is None:
        problem = Problem(where="graph", what="has no readout", remedy="say how its output becomes a decision")
        raise GraphError([problem])
    tapped = result.traces[graph.outputs[graph.readout.output].population]
    n_steps, n_samples = tapped.s.shape[:2]
    s, v = (a.reshape(n_steps, n_samples, -1) for a in (tapped.s, tapped.v_before_reset))
    decision = graph.readout.decide(s, v)
    return Run(
        graph=checksum,
        engine=engine,
        n_steps=n_steps,
        depth=program.depth,
        index=np.asarray(index, np.int64),
        label=np.asarray(label, np.int64),
        predicted=decision.predicted.astype(np.int64),
        decided=decision.decided,
        decision_step=decision.step.astype(np.int64),
        output_spikes=s.sum(axis=0, dtype=np.int64),
        counts=Counts.from_steps(result.per_step, decision.step),
        dense_macs={p.name: p.dense_macs for population in program.populations for p in population.incoming},
        traces={name: {key: getattr(result.traces[name], key) for key in VARIABLES} for name in record},
        provenance=provenance,
    )
