"""Run a graph on samples: encode, run in an engine, decide, count."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np

from spikegraph.export.coding import Decision, InputCoding, Readout
from spikegraph.export.connectivity import Array
from spikegraph.export.errors import GraphError, OptionError, Problem
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.graph import Graph
from spikegraph.export.hdf5 import graph_checksum
from spikegraph.export.order import depths
from spikegraph.export.recordings import Recordings
from spikegraph.hwsim.core_counts import CoreCounts
from spikegraph.hwsim.counts import UNTIL, Counts, Until
from spikegraph.hwsim.float_engine import run_float
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.placement import Placement
from spikegraph.hwsim.program import Program, compile_program
from spikegraph.hwsim.rasters import Spikes, raster_of
from spikegraph.hwsim.reference import run_reference
from spikegraph.hwsim.result import VARIABLES, BatchResult, Trace
from spikegraph.hwsim.run import Run
from spikegraph.hwsim.run_file import RunFile
from spikegraph.hwsim.tally import CORE_QUANTITIES, kind_of, tally_of

Engine = Callable[[Program, Mapping[str, Spikes], Collection[str]], BatchResult]
Samples = Array | Recordings
ENGINES: dict[str, Engine] = {"native": run_native, "reference": run_reference}
# Engines that leave out what follows a decision; of the others' results it is left out here.
_STOPPING: dict[str, Engine] = {"native": partial(run_native, until="decision")}
MOST_SAMPLES = 250  # in a batch
BATCH_BYTES = 64 << 20
_TRACE_BYTES = 21  # of one neuron in one step: x 8, u, v and v_before_reset 4 each, s 1


def rasters_of(graph: Graph | FloatGraph, x: Samples, index: Array) -> dict[str, Array]:
    """Encode samples as the graph says.

    Parameters
    ----------
    graph : Graph or FloatGraph
        With one input and a coding.
    x : ndarray of float32 (B, *input shape), 0…1, or Recordings of that shape
    index : ndarray of int (B,)
        Place of each sample in its data set.

    Returns
    -------
    dict of input name → ndarray of int (T, B, *shape)
    """
    coding, name = _coded_input(graph)
    return {name: coding.encode(x, index, graph.n_steps)}


def _coded_input(graph: Graph | FloatGraph) -> tuple[InputCoding, str]:
    if graph.coding is None or len(graph.inputs) != 1:
        what = f"has {'no coding' if graph.coding is None else f'{len(graph.inputs)} inputs'}"
        problem = Problem(
            where="graph",
            what=what,
            remedy="say how data become its spikes: spikegraph convert --coding; or run it on rasters from Python",
        )
        raise GraphError([problem])
    return graph.coding, next(iter(graph.inputs))


def samples_per_batch(
    graph: Graph | FloatGraph,
    record: Collection[str] = (),
    engine: str = "native",
    placement: Placement | None = None,
) -> int:
    """Return how many samples to run at once, so that a batch's spikes, counts and traces fit in `BATCH_BYTES`.

    At least 1, whatever its size, and at most `MOST_SAMPLES`: more is no faster.
    """
    kept = {*record, *(output.population for output in graph.outputs.values())}
    n_counts = len(graph.inputs) + 5 * len(graph.populations) + 2 * len(graph.projections)
    if placement is not None:
        n_counts += 2 * len(CORE_QUANTITIES) * placement.n_cores
    per_step = 8 * n_counts + sum((2 if node.graded else 1) * node.n for node in graph.inputs.values())
    per_step += _TRACE_BYTES * sum(graph.populations[name].n for name in kept)
    n_sources = sum(node.n for nodes in (graph.inputs, graph.populations) for node in nodes.values())
    if isinstance(graph, FloatGraph):
        per_step += 3 * n_sources  # a byte, and 12 for each spike
    elif engine == "reference":
        per_step += 8 * n_sources
    return min(max(BATCH_BYTES // (graph.n_steps * per_step), 1), MOST_SAMPLES)


def simulate(
    graph: Graph,
    samples: Iterable[tuple[Samples, Array, Array]],
    *,
    engine: str = "native",
    until: Until = "window",
    record: Collection[str] = (),
    placement: Placement | None = None,
    corrupt: Callable[[Array, Array], Array] | None = None,
    out: str | os.PathLike[str] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Run:
    """Run a graph on batches of samples.

    Parameters
    ----------
    graph : Graph
        With a coding and a readout.
    samples : iterable of (x, label, index)
        x of float32 (B, *input shape) or Recordings, label and index of int (B,); see `samples_per_batch`.
    engine : str
        A name of `ENGINES`.
    until : "window" or "decision"
        With "decision" a sample ends with the step of its decision: of a readout by the first spike that may be long
        before the end of the window. What would have followed is not known, and not counted.
    record : collection of str
        Populations whose states are kept at every step.
    placement : Placement, optional
        Count for each core of it.
    corrupt : callable(raster, index) → raster, optional
        Noise on the input spikes, (T, B, *input shape).
    out : path, optional
        Run file, written as the batches come. The traces are then in the file only, and read when they are asked for.
    provenance : mapping, optional
        What is run on what: plain JSON.

    Raises
    ------
    GraphError
        The graph is not legal, or has no coding or readout.
    OptionError
        Unknown engine or population; no samples; states recorded although samples end early; `out` is no .h5.
    FileFormatError
        `out` cannot be written.
    TargetError
        The compiled part of the native engine is missing.
    """
    if engine not in ENGINES:
        raise OptionError("--engine", f"{engine!r} is not known", f"choose one of {', '.join(ENGINES)}")
    if until not in UNTIL:
        raise OptionError("--until", f"{until!r} is not known", f"choose one of {', '.join(UNTIL)}")
    unknown = [name for name in record if name not in graph.populations]
    if unknown:
        raise OptionError("--record", f"no population {unknown[0]!r}", f"choose among {', '.join(graph.populations)}")
    if record and until == "decision":
        raise OptionError("--record", "keeps every step of the window", "leave out --until decision")
    tally = tally_of(graph, placement) if placement is not None else None
    program, checksum = compile_program(graph, tally), graph_checksum(graph)
    with RunFile(out) if out is not None else nullcontext() as file:
        keep = file.append if file else _whole  # no name here for a batch: its traces must go before the next one runs
        parts = [keep(_batch(program, checksum, engine, until, x, record, corrupt, provenance or {})) for x in samples]
        if not parts:
            raise OptionError("samples", "there are none", "give at least one")
        run = Run.concatenate(parts)
        return file.finish(run) if file else run


def _whole(part: Run) -> Run:
    return part


def _batch(
    program: Program,
    checksum: str,
    engine: str,
    until: Until,
    batch: tuple[Samples, Array, Array],
    record: Collection[str],
    corrupt: Callable[[Array, Array], Array] | None,
    provenance: Mapping[str, Any],
) -> Run:
    (x, label, index), graph = batch, program.graph
    run_batch = _STOPPING.get(engine, ENGINES[engine]) if until == "decision" else ENGINES[engine]
    coding, name = _coded_input(graph)
    _readout(graph)  # before anything runs
    spikes = coding.spikes(x, index, graph.n_steps)
    if corrupt is not None:
        spikes = corrupt(raster_of(spikes), index)
    result = run_batch(program, {name: spikes}, record)
    n_steps = graph.n_steps
    s, decision = decided(graph, result.traces)
    output, depth = _deepest(graph)
    spikes_each = [one.sum(axis=0, dtype=np.int64) for one in s] if until == "window" else []
    return Run(
        graph=checksum,
        engine=engine,
        n_steps=n_steps,
        depth=depth,
        until=until,
        index=np.asarray(index, np.int64),
        label=np.asarray(label, np.int64),
        predicted=decision.predicted.astype(np.int64),
        decided=decision.decided,
        decision_step=decision.step.astype(np.int64),
        output_spikes=np.concatenate(spikes_each, axis=1) if spikes_each else None,
        counts=Counts.from_steps(result.per_step, decision.step, until),
        cores=_cores(program, result),
        output=output,
        projections={name: (kind_of(p), p.target) for name, p in graph.projections.items()},
        dense_macs={p.name: p.dense_macs for population in program.populations for p in population.incoming},
        traces={name: {key: getattr(result.traces[name], key) for key in VARIABLES} for name in record},
        provenance=provenance,
    )


def _readout(graph: Graph | FloatGraph) -> Readout:
    if graph.readout is None:
        problem = Problem(where="graph", what="has no readout", remedy="say how its output becomes a decision")
        raise GraphError([problem])
    return graph.readout


def decided(graph: Graph | FloatGraph, traces: Mapping[str, Trace]) -> tuple[list[Array], Decision]:
    """Return the spikes (T, B, n) of each output that is read, and what is decided from them."""
    tapped = [traces[name] for name in _read(graph)]
    n_steps, n_samples = tapped[0].s.shape[:2]
    s, v = (
        [a.reshape(n_steps, n_samples, -1) for a in arrays]
        for arrays in ([trace.s for trace in tapped], [trace.v_before_reset for trace in tapped])
    )
    return s, _readout(graph).decide(s, v)


def decide(graph: Graph | FloatGraph, rasters: Mapping[str, Spikes]) -> Decision:
    """Run a batch and decide; an integer graph in the native engine, a float graph in the float engine.

    Parameters
    ----------
    graph : Graph or FloatGraph
        With a readout.
    rasters : mapping of input → ndarray of int (T, B, *shape) or Events

    Raises
    ------
    GraphError
        The graph is not legal, or has no readout.
    DataError
        The spikes do not fit it.
    """
    _readout(graph)
    if isinstance(graph, FloatGraph):
        return decided(graph, run_float(graph, rasters).traces)[1]
    return decided(graph, run_native(compile_program(graph), rasters).traces)[1]


def count_right(graph: Graph | FloatGraph, samples: Iterable[tuple[Samples, Array, Array]]) -> tuple[int, int]:
    """Return how many samples are decided rightly, and how many there are.

    Parameters
    ----------
    graph : Graph or FloatGraph
        With a coding and a readout.
    samples : iterable of (x, label, index)
        As of `simulate`.
    """
    coding, name = _coded_input(graph)
    n_right = n_samples = 0
    for x, label, index in samples:
        right = decide(graph, {name: coding.spikes(x, index, graph.n_steps)}).correct(label)
        n_right, n_samples = n_right + int(right.sum()), n_samples + len(right)
    return n_right, n_samples


def _read(graph: Graph | FloatGraph) -> list[str]:
    """Return the populations that are read."""
    return [graph.outputs[name].population for name in graph.readout.outputs] if graph.readout else []


def _deepest(graph: Graph) -> tuple[str, int]:
    """Return the population for which a decision waits, and by how many steps a chip delays it, one a projection."""
    read = _read(graph)
    if all(p.delay_steps > 0 for p in graph.projections.values()):
        depth = {name: population.start_step for name, population in graph.populations.items()}
    else:
        try:
            depth = depths(graph)
        except GraphError:  # a loop that is too short for any chip
            return read[0], 0
    output = max(read, key=depth.__getitem__)
    return output, depth[output]


def _cores(program: Program, result: BatchResult) -> CoreCounts | None:
    if program.tally is None or result.per_core is None:
        return None
    return CoreCounts(placement=program.tally.placement, counts=np.moveaxis(result.per_core, 1, 0).astype(np.uint32))
