"""The native engine: compiled, event-driven, bit-identical to the reference. The one that people use.

Python lays the program out for the kernel once (plan.py), and hands each batch over as pointers; threads share the
samples of a batch. What runs is _kernel.c, and its neuron is neuron.h.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Shape
from spikegraph.export.errors import DataError, OptionError, TargetError
from spikegraph.export.events import Events
from spikegraph.export.graph import Input
from spikegraph.hwsim.counts import Until
from spikegraph.hwsim.kernel import LEVELS, Batch, kernel
from spikegraph.hwsim.plan import Plan, plan_of
from spikegraph.hwsim.program import Program
from spikegraph.hwsim.rasters import Spikes, checked_samples
from spikegraph.hwsim.result import BatchResult, Trace

THREADS, LEVEL = "SPIKEGRAPH_THREADS", "SPIKEGRAPH_LEVEL"
_RASTER_TYPES = {"u1": 0, "b1": 0, "i1": 1, "i2": 2}
_BYTES = ("u1", "b1", "i1")
_NOT_BINARY = 1  # SG_NOT_BINARY in _kernel.h


def run_native(
    program: Program,
    inputs: Mapping[str, Spikes],
    record: Collection[str] = (),
    *,
    until: Until = "window",
    threads: int | None = None,
    level: str | None = None,
) -> BatchResult:
    """Run a batch: the same call as `run_reference`, and the same result.

    Parameters
    ----------
    program : Program
    inputs : mapping of input name → ndarray of int (T, B, *shape) or Events
        The spikes of each input, each within its `min_value…max_value`, or 0.
    record : collection of str
        Populations whose x, u, v and s are kept at every step. Outputs' are always kept.
    until : "window" or "decision"
        With "decision", a sample whose output is read by its first spike ends there: traces and counts are whole up to
        and including the step of the decision, and must not be used beyond.
    threads : int, optional
        Threads that share the samples; by default SPIKEGRAPH_THREADS, or as many as there are processors.
    level : str, optional
        Vector instructions, one of `LEVELS`; by default SPIKEGRAPH_LEVEL, or the best that the processor has.

    Raises
    ------
    TargetError
        The compiled part is missing.
    DataError
        The spikes of an input do not fit it, or leave what it may carry, so that no bound holds.
    OptionError
        Unknown level, or one that the processor lacks; threads below 1.
    """
    return _run(plan_of(program), inputs, record, until, _level(level), _threads(threads))


def _level(level: str | None) -> int:
    best = kernel().sg_level()
    name = level or os.environ.get(LEVEL) or LEVELS[best]
    if name not in LEVELS[: best + 1]:
        remedy = f"choose one of {', '.join(LEVELS[: best + 1])}"
        raise OptionError(LEVEL, f"{name!r} is not among the vector instructions of this processor", remedy)
    return LEVELS.index(name)


def _threads(threads: int | None) -> int:
    said: Any = os.environ.get(THREADS) or len(os.sched_getaffinity(0)) if threads is None else threads
    if not str(said).isdecimal() or int(said) < 1:
        raise OptionError(THREADS, f"{said!r} is not a number of threads", "give at least 1")
    return int(said)


def _run(
    plan: Plan, inputs: Mapping[str, Spikes], record: Collection[str], until: Until, level: int, n_threads: int
) -> BatchResult:
    """Run a batch: point copies of the structures at its inputs, traces and counts."""
    graph, n_steps = plan.graph, plan.graph.n_steps
    # Binary rasters of bytes are checked by the kernel as it reads them, where it reads every step.
    whole = until == "window"
    seen_later = [name for name, spikes in inputs.items() if whole and _is_binary(graph.inputs.get(name), spikes)]
    n_samples = checked_samples(graph, inputs, seen_later)
    sources = type(plan.sources).from_buffer_copy(plan.sources)
    keep = [_point(source, inputs[name]) for source, name in zip(sources, graph.inputs, strict=False)]
    populations = type(plan.populations).from_buffer_copy(plan.populations)
    tapped = {output.population for output in graph.outputs.values()}
    traces = {}
    for population in populations:
        name = plan.names[population.source]
        if name in {*record, *tapped}:
            shape = plan.shapes[name]
            trace = Trace.empty(n_steps, n_samples, shape if len(shape) == 1 else (*shape[1:], shape[0]))
            population.general = True
            population.trace_x, population.trace_s = trace.x.ctypes.data, trace.s.ctypes.data
            population.trace_u, population.trace_v = trace.u.ctypes.data, trace.v.ctypes.data
            population.trace_before = trace.v_before_reset.ctypes.data
            traces[name] = trace
    n_slots = len(plan.slots) + (plan.tally.n_columns if plan.tally else 0)
    counts = np.empty((n_samples, n_slots, n_steps), np.int64)
    decides = (plan.decides() if until == "decision" else np.zeros(0)).astype(np.int64)
    batch = Batch(
        n_steps=n_steps,
        n_total=n_steps + plan.depth,
        n_samples=n_samples,
        n_sources=len(sources),
        n_populations=len(populations),
        n_slots=n_slots,
        level=level,
        sources=ctypes.addressof(sources),
        populations=ctypes.addressof(populations),
        counts=counts.ctypes.data,
        n_decides=len(decides),
        decides=decides.ctypes.data,
    )
    failed = _run_threads(batch, min(n_threads, max(n_samples, 1)))
    if _NOT_BINARY in failed:
        checked_samples(graph, inputs)  # says what is wrong, unless it is this:
        raise DataError("rasters", "hold bools that are neither 0 nor 1, or were changed", "give arrays of 0 and 1")
    if any(failed):
        raise TargetError("native engine", "is out of memory", "run fewer samples at a time, or record less")
    del keep, decides  # the kernel is done with what it points at
    return BatchResult(
        traces={name: _channels_first(trace, plan.shapes[name]) for name, trace in traces.items()},
        per_step=plan.per_step(counts),
        per_core=plan.per_core(counts),
    )


def _is_binary(node: Input | None, spikes: Spikes) -> bool:
    """Return whether these are a raster of bytes in which only 0 and 1 may stand."""
    return node is not None and not node.graded and not isinstance(spikes, Events) and spikes.dtype.str[1:] in _BYTES


def _run_threads(batch: Any, n_threads: int) -> list[int]:
    """Run `sg_run` in threads, return what each returned; an interrupt stops each after the step that it is at."""
    with ThreadPoolExecutor(n_threads) as pool:
        try:
            futures = [pool.submit(kernel().sg_run, ctypes.byref(batch)) for _ in range(n_threads)]
            return [future.result() for future in futures]
        except BaseException:
            batch.cancel = 1
            raise


def _point(source: Any, spikes: Spikes) -> Any:
    """Point a source at its spikes; return what must stay in memory while the kernel runs."""
    if isinstance(spikes, Events):
        value = spikes.value
        if value is None and source.graded:
            value = np.ones(len(spikes.index), np.int32)
        source.offsets, source.index = spikes.offsets.ctypes.data, spikes.index.ctypes.data
        source.value = value.ctypes.data if value is not None else None
        return spikes, value
    readable = spikes if spikes.dtype.str[1:] in _RASTER_TYPES else spikes.astype(np.int16)
    raster = np.ascontiguousarray(readable)
    source.raster, source.raster_type = raster.ctypes.data, _RASTER_TYPES[raster.dtype.str[1:]]
    return raster


def _channels_first(trace: Trace, shape: Shape) -> Trace:
    if len(shape) == 1:
        return trace
    return Trace(**{name: np.moveaxis(array, -1, 2) for name, array in vars(trace).items()})
