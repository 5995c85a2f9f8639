"""A program as the kernel takes it, laid out once for all batches.

Neurons of (c, h, w) populations lie channels last in the kernel: a row of a convolution's kernel is then one run of
neighbours.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from math import gcd, prod
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from scipy.sparse import csr_array

from spikegraph.export import fixed
from spikegraph.export.bounds import bounds
from spikegraph.export.connectivity import Array
from spikegraph.hwsim.counts import QUANTITIES
from spikegraph.hwsim.kernel import Population, Projection, Source
from spikegraph.hwsim.layout import ProjectionLayout, lay_out, neuron_order
from spikegraph.hwsim.program import Program, ProgramPopulation

_NO_LIMIT = 2**31 - 1
_MASKS = {"zero": (0, 0), "subtract": (-1, -1), "none": (-1, 0)}  # what a spike leaves of v: see neuron.h
_PLANS: WeakKeyDictionary[Program, Plan] = WeakKeyDictionary()


def plan_of(program: Program) -> Plan:
    """Return the plan of a program, which is made once."""
    if program not in _PLANS:
        _PLANS[program] = Plan(program)
    return _PLANS[program]


class Plan:
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
        self.sources = (Source * len(self.names))(*(self._source(name) for name in self.names))
        self.bounds = bounds(graph)
        self.populations = (Population * len(program.populations))(*map(self._population, program.populations))

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
        return Source(
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
        projections = (Projection * len(p.incoming))(
            *(self._projection(q, layout) for q, layout in zip(p.incoming, layouts, strict=True))
        )
        self.keep.append(projections)
        keep_mask, sub_mask = _MASKS[p.reset]
        return Population(
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
        return Projection(
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

    def decides(self) -> Array:
        """Return the populations whose first spike is the decision; none where the decision stands in the last step."""
        readout = self.graph.readout
        if readout is None or readout.kind != "first_spike":
            return np.zeros(0, np.int64)
        read = {self.graph.outputs[name].population for name in readout.outputs}
        return np.flatnonzero([self.names[population.source] in read for population in self.populations])

    def per_step(self, counts: Array) -> dict[str, dict[str, Array]]:
        per_step: dict[str, dict[str, Array]] = {quantity: {} for quantity in QUANTITIES}
        for (quantity, name), slot in self.slots.items():
            per_step[quantity][name] = counts[:, slot].T
        for name in self.graph.populations:
            per_step["neuron_updates"][name] = np.broadcast_to(np.int64(prod(self.shapes[name])), counts[:, 0].T.shape)
        return per_step

    def per_core(self, counts: Array) -> Array | None:
        if self.tally is None:
            return None
        return self.tally.by_core(np.moveaxis(counts[:, len(self.slots) :], 2, 0))


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
