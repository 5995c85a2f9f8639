"""The native engine: compiled, event-driven, bit-identical to the reference. The one that people use.

Python lays the program out for the kernel once (`_Plan`), and hands each batch over as pointers; threads share the
samples of a batch. What runs is _kernel.c, and its neuron is neuron.h. Neurons of (c, h, w) populations lie channels
last in the kernel: a row of a convolution's kernel is then one run of neighbours.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from math import gcd, prod
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from scipy.sparse import csr_array

from spikegraph.export import fixed
from spikegraph.export.check import bounds
from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.errors import OptionError, TargetError
from spikegraph.export.events import Events
from spikegraph.hwsim.counts import QUANTITIES, Until
from spikegraph.hwsim.layout import ProjectionLayout, lay_out, neuron_order
from spikegraph.hwsim.program import Program, ProgramPopulation
from spikegraph.hwsim.rasters import Spikes, checked_samples
from spikegraph.hwsim.result import BatchResult, Trace

LEVELS = ("baseline", "avx2", "avx512")
THREADS, LEVEL = "SPIKEGRAPH_THREADS", "SPIKEGRAPH_LEVEL"
_NO_LIMIT = 2**31 - 1
_RASTER_TYPES = {"u1": 0, "b1": 0, "i1": 1, "i2": 2}
_MASKS = {"zero": (0, 0), "subtract": (-1, -1), "none": (-1, 0)}  # what a spike leaves of v: see neuron.h


def _structure(name: str, fields: str) -> type[ctypes.Structure]:
    """Mirror a structure of _kernel.h: a field whose name starts with * is a pointer."""
    types = [(f.lstrip("*"), ctypes.c_void_p if f.startswith("*") else ctypes.c_int64) for f in fields.split()]
    return type(name, (ctypes.Structure,), {"_fields_": types})


_Source = _structure("_Source", "n ring graded raster_type *raster *offsets *index *value spikes_slot")
_Projection = _structure(
    "_Projection",
    "kind source delay exponent weight_bytes *weight row_stride target_stride *site *patches *rows_ptr *rows "
    "*runs_ptr *runs *row_begin *row_end *indices *fan_out *effective fan_out_each effective_each "
    "sops_slot effective_slot *tally_ptr *tally",
)
_Population = _structure(
    "_Population",
    "n source start_step sum_bytes general exponent current may_hold biased each small_most unit_bits "
    "*keep_u *keep_v *threshold *bias keep_mask sub_mask pause max_spikes n_projections *projections "
    "active_slot wraps_slot saturations_slot *tally_ptr *tally n_runs *runs "
    "*trace_x *trace_u *trace_v *trace_before *trace_s",
)
_Batch = _structure(
    "_Batch",
    "n_steps n_total n_samples n_sources n_populations n_slots level *sources *populations *counts "
    "next_sample cancel decides",
)


@cache
def kernel() -> ctypes.CDLL:
    """Load the compiled part.

    Raises
    ------
    TargetError
        It was not built, or from another version of this package.
    """
    remedy = "build it: install a C compiler, then `pip install --force-reinstall --no-deps` this package again"
    try:
        path = import_module("spikegraph.hwsim._kernel").__file__
    except ImportError as error:
        raise TargetError("native engine", f"its compiled part is missing ({error})", remedy) from error
    library = ctypes.CDLL(str(path))
    library.sg_run.restype = library.sg_level.restype = ctypes.c_int64
    sizes = (ctypes.c_int64 * 4)()
    library.sg_sizes(sizes)
    if list(sizes) != [ctypes.sizeof(s) for s in (_Source, _Projection, _Population, _Batch)]:
        raise TargetError("native engine", f"its compiled part {path} is from another version", remedy)
    return library


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
    library = kernel()
    chosen, n_threads = _level(library, level), _threads(threads)
    return _plan(program).run(library, inputs, record, until, chosen, n_threads)


def _level(library: ctypes.CDLL, level: str | None) -> int:
    best = library.sg_level()
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


_PLANS: WeakKeyDictionary[Program, _Plan] = WeakKeyDictionary()


def _plan(program: Program) -> _Plan:
    if program not in _PLANS:
        _PLANS[program] = _Plan(program)
    return _PLANS[program]


class _Plan:
    """A program as the kernel takes it: everything that does not change from batch to batch."""

    def __init__(self, program: Program) -> None:
        graph = program.graph
        # Not the program itself: this is held by a dict whose keys are programs, which must be able to go.
        self.graph, self.depth, self.tally = graph, program.depth, program.tally
        self.names = [*graph.inputs, *(p.name for p in program.populations)]
        self.shapes = {name: graph.shape_of(name) for name in self.names}
        self.orders = {name: neuron_order(graph, name) for name in self.names}
        self.slots = {key: slot for slot, key in enumerate(self._counted())}
        self.keep: list[Any] = []  # arrays that the structures point into
        self.sources = (_Source * len(self.names))(*(self._source(name) for name in self.names))
        self.bounds = bounds(graph)
        self.populations = (_Population * len(program.populations))(*map(self._population, program.populations))

    def _counted(self) -> Iterator[tuple[str, str]]:
        for name in self.names:
            yield "spikes", name
        for name in self.graph.populations:
            yield from ((quantity, name) for quantity in ("active_updates", "wraps", "saturations"))
        for name in self.graph.projections:
            yield from ((quantity, name) for quantity in ("sops", "effective_sops"))

    def _tallied(self, table: csr_array, order: Array | None) -> dict[str, int]:
        """Lay out a table of `Tally`; its columns come after the slots of the nodes."""
        rows = table if order is None else table[order]
        pairs = np.stack([rows.indices + len(self.slots), rows.data], axis=1).astype(np.int32)
        return {"tally_ptr": self._pointer(rows.indptr.astype(np.int64)), "tally": self._pointer(pairs)}

    def _tallied_population(self, name: str) -> dict[str, int]:
        if self.tally is None:
            return {}
        core = _reordered(self.tally.placement.core_of[name], self.orders[name])
        ends = np.append(np.flatnonzero(np.diff(core)) + 1, len(core))
        # The first columns are those of active_updates.
        runs = np.stack([ends, core[ends - 1] + len(self.slots)], axis=1).astype(np.int32)
        sent = self._tallied(self.tally.sent[name], self.orders[name])
        return {"n_runs": len(runs), "runs": self._pointer(runs), **sent}

    def _pointer(self, array: Array) -> int:
        self.keep.append(array)
        return int(array.ctypes.data)

    def _source(self, name: str) -> Any:
        delays = [p.delay_steps for p in self.graph.projections.values() if p.source == name]
        graded = name in self.graph.inputs and self.graph.inputs[name].graded
        return _Source(
            n=prod(self.shapes[name]),
            ring=max(delays, default=0) + 1,
            graded=graded,
            spikes_slot=self.slots["spikes", name],
        )

    def _population(self, p: ProgramPopulation) -> Any:
        order, limits = self.orders[p.name], self.bounds[p.name]
        parameters = {
            "keep_u": _padded(fixed.DECAY_ONE - _reordered(p.decay_u, order)),
            "keep_v": _padded(fixed.DECAY_ONE - _reordered(p.decay_v, order)),
            "threshold": _padded(_reordered(p.threshold, order), fill=_NO_LIMIT),
            "bias": _padded(_reordered(p.bias, order)),
        }
        exponents = {q.projection.weight_exp for q in p.incoming}
        # One shift serves all projections if there is but one, or if shifting left by the same number is all they do.
        alike = len(exponents) == 1 and (len(p.incoming) == 1 or min(exponents) >= 0)
        reach = max(abs(end) for end in limits.x)
        fits = (reach << fixed.ALIGN_BITS) + fixed.STATE_HALF < 2**31  # so u before wrapping fits in 32 bits
        low, high = limits.sum_all if alike else limits.sum_each
        sum_bytes = next(size for size in (2, 4, 8) if -(2 ** (8 * size - 1)) <= low and high < 2 ** (8 * size - 1))
        general = bool(p.incoming) and not (alike and fits and sum_bytes < 8)
        may_hold = p.refractory_steps > 1 or p.max_spikes > 0
        # The neurons that pad a population have no bias: they must not share one.
        each = bool(p.bias.any()) or any(a.min() < a.max() for a in (p.decay_u, p.decay_v, p.threshold))
        unit = gcd(fixed.DECAY_ONE, *(int(np.gcd.reduce(parameters[name])) for name in ("keep_u", "keep_v")))
        layouts = [lay_out(self.graph, q.projection, self.orders) for q in p.incoming]
        projections = (_Projection * len(p.incoming))(
            *(self._projection(q, layout) for q, layout in zip(p.incoming, layouts, strict=True))
        )
        self.keep.append(projections)
        keep_mask, sub_mask = _MASKS[p.reset]
        return _Population(
            n=prod(p.shape),
            source=self.names.index(p.name),
            start_step=p.start_step,
            sum_bytes=sum_bytes,
            general=general,
            **self._tallied_population(p.name),
            exponent=min(exponents, default=0),
            current=bool((p.decay_u < fixed.DECAY_ONE).any()),
            may_hold=may_hold,
            biased=bool(p.bias.any()),
            each=each or bool(exponents - {0}),
            small_most=_small_most(reach << fixed.ALIGN_BITS, p, unit),
            unit_bits=unit.bit_length() - 1,
            **{name: self._pointer(a) for name, a in parameters.items()},
            keep_mask=keep_mask,
            sub_mask=sub_mask,
            pause=p.refractory_steps - 1,
            max_spikes=p.max_spikes or _NO_LIMIT,
            n_projections=len(p.incoming),
            projections=ctypes.addressof(projections),
            active_slot=self.slots["active_updates", p.name],
            wraps_slot=self.slots["wraps", p.name],
            saturations_slot=self.slots["saturations", p.name],
        )

    def _projection(self, q: Any, layout: ProjectionLayout) -> Any:
        p, order, counts = q.projection, self.orders[q.projection.source], {}
        for name, array in (("fan_out", q.fan_out), ("effective", q.effective_fan_out)):
            counts[name + "_each"] = int(array.flat[0])
            if (array != array.flat[0]).any():
                counts[name] = self._pointer(_reordered(array, order, np.int32))
        return _Projection(
            kind=layout.kind,
            source=self.names.index(p.source),
            delay=p.delay_steps,
            exponent=p.weight_exp,
            weight_bytes=layout.arrays["weight"].itemsize,
            row_stride=layout.row_stride,
            target_stride=layout.target_stride,
            **{name: self._pointer(array) for name, array in layout.arrays.items()},
            **counts,
            **(self._tallied(self.tally.delivered[q.name], order) if self.tally else {}),
            sops_slot=self.slots["sops", q.name],
            effective_slot=self.slots["effective_sops", q.name],
        )

    def run(
        self,
        library: ctypes.CDLL,
        inputs: Mapping[str, Spikes],
        record: Collection[str],
        until: Until,
        level: int,
        n_threads: int,
    ) -> BatchResult:
        """Run a batch: point copies of the structures at its inputs, traces and counts."""
        graph, n_steps = self.graph, self.graph.n_steps
        n_samples = checked_samples(graph, inputs)
        sources = type(self.sources).from_buffer_copy(self.sources)
        keep = [_point(source, inputs[name]) for source, name in zip(sources, graph.inputs, strict=False)]
        populations = type(self.populations).from_buffer_copy(self.populations)
        tapped = {output.population for output in graph.outputs.values()}
        traces = {}
        for population in populations:
            name = self.names[population.source]
            if name in {*record, *tapped}:
                shape = self.shapes[name]
                trace = Trace.empty(n_steps, n_samples, shape if len(shape) == 1 else (*shape[1:], shape[0]))
                population.general = True
                population.trace_x, population.trace_s = trace.x.ctypes.data, trace.s.ctypes.data
                population.trace_u, population.trace_v = trace.u.ctypes.data, trace.v.ctypes.data
                population.trace_before = trace.v_before_reset.ctypes.data
                traces[name] = trace
        n_slots = len(self.slots) + (self.tally.n_columns if self.tally else 0)
        counts = np.empty((n_samples, n_slots, n_steps), np.int64)
        batch = _Batch(
            n_steps=n_steps,
            n_total=n_steps + self.depth,
            n_samples=n_samples,
            n_sources=len(sources),
            n_populations=len(populations),
            n_slots=n_slots,
            level=level,
            sources=ctypes.addressof(sources),
            populations=ctypes.addressof(populations),
            counts=counts.ctypes.data,
            decides=self._decides() if until == "decision" else -1,
        )
        _run_threads(library, batch, min(n_threads, max(n_samples, 1)))
        del keep  # the kernel is done with what it points at
        return BatchResult(
            traces={name: _channels_first(trace, self.shapes[name]) for name, trace in traces.items()},
            per_step=self._per_step(counts),
            per_core=self._per_core(counts),
        )

    def _decides(self) -> int:
        """Return which population's first spike is the decision; -1 where the decision stands in the last step."""
        readout = self.graph.readout
        if readout is None or readout.kind != "first_spike":
            return -1
        name = self.graph.outputs[readout.output].population
        return next(k for k, population in enumerate(self.populations) if self.names[population.source] == name)

    def _per_step(self, counts: Array) -> dict[str, dict[str, Array]]:
        per_step: dict[str, dict[str, Array]] = {quantity: {} for quantity in QUANTITIES}
        for (quantity, name), slot in self.slots.items():
            per_step[quantity][name] = counts[:, slot].T
        for name in self.graph.populations:
            per_step["neuron_updates"][name] = np.broadcast_to(np.int64(prod(self.shapes[name])), counts[:, 0].T.shape)
        return per_step

    def _per_core(self, counts: Array) -> Array | None:
        if self.tally is None:
            return None
        return self.tally.by_core(np.moveaxis(counts[:, len(self.slots) :], 2, 0))


def _run_threads(library: ctypes.CDLL, batch: Any, n_threads: int) -> None:
    """Run `sg_run` in threads; an interrupt stops each after the step that it is at."""
    with ThreadPoolExecutor(n_threads) as pool:
        try:
            futures = [pool.submit(library.sg_run, ctypes.byref(batch)) for _ in range(n_threads)]
            results = [future.result() for future in futures]
        except BaseException:
            batch.cancel = 1
            raise
    if any(results):
        raise TargetError("native engine", "is out of memory", "run fewer samples at a time, or record less")


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


def _small_most(reach: int, p: ProgramPopulation, unit: int) -> int:
    """Bound |u| and |v| before a step in which u wraps nowhere, v saturates nowhere, and all fits in 32 bits.

    Parameters
    ----------
    reach : int
        Bound of |x << 6|.
    unit : int
        What is kept of u and v is a multiple of this / 4096.
    """
    room = fixed.STATE_MAX - reach - max(int(p.bias.max()), -int(p.bias.min()))
    remains = 1 + bool((p.decay_u < fixed.DECAY_ONE).any())  # v takes up both itself and what is left of u
    largest = fixed.DECAY_ONE - min(int(p.decay_u.min()), int(p.decay_v.min()))
    return max(min((2**31 - 1) // max(largest // unit, 1), room // remains), -1)


def _padded(parameter: Array, fill: int = 0) -> Array:
    """Add neurons that stay at 0 up to a multiple of 32."""
    return np.pad(parameter, (0, -len(parameter) % 32), constant_values=fill)


def _reordered(array: Array, order: Array | None, dtype: type[Any] = np.int32) -> Array:
    flat = array.astype(dtype, copy=False).ravel()
    return np.ascontiguousarray(flat if order is None else flat[order])


def _channels_first(trace: Trace, shape: Shape) -> Trace:
    if len(shape) == 1:
        return trace
    return Trace(**{name: np.moveaxis(array, -1, 2) for name, array in vars(trace).items()})
