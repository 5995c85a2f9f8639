"""Graph → what the C engine (network.c) is told of it: sizes, switches, and the rows of its tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.check import require_legal
from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Graph
from spikegraph.export.order import topological_order
from spikegraph.targets.c.limits import CRefusalError, refusals, slots_of
from spikegraph.targets.c.parameters import parameters_of
from spikegraph.targets.c.synapses import Synapses, synapses_of

_NO_LIMIT = 2**31 - 1
_MASKS = {"zero": (0, 0), "subtract": (-1, -1), "none": (-1, 0)}  # what a spike leaves of v: see neuron.h
_READOUTS = {"count": 1, "membrane": 2, "first_spike": 3}
_PARAMETERS = ("keep_u", "keep_v", "threshold", "bias")
_WORD = 32  # spikes are bits of words
_PAIRS_AND_TARGETS = {"rows": "tap", "columns": "tap", "targets": "network_index"}  # all else is an offset

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """All that C is told about a graph.

    Parameters
    ----------
    populations : list of str
        In the order in which a step computes them.
    sizes : dict of str → int or str
        The macros of the header, without the network's name: sizes, switches and types.
    tables : dict of str → (str, ndarray of int (n,), or (n, 2) of taps)
        Weights, parameters and what finds them: the type in C of each, and its numbers.
    rows : dict of str → list of rows
        The tables of structures, field by field; a word in a field names a table or an enumerator.
    rewrites : list of str
        Weights that were divided by a power of two, exactly.
    """

    populations: list[str]
    sizes: dict[str, int | str]
    tables: dict[str, tuple[str, Array]]
    rows: dict[str, list[Row]]
    rewrites: list[str]


def lay_out(graph: Graph) -> Layout:
    """Lay out a graph.

    Raises
    ------
    GraphError
        The graph is not legal.
    CRefusalError
        C does not take it; `problems` holds every reason.
    """
    require_legal(graph)
    found = refusals(graph)
    if found:
        raise CRefusalError(found)
    return _Tables(graph).layout()


@dataclass(eq=False)
class _Tables:
    """The tables of one graph, as they are filled."""

    graph: Graph
    arrays: dict[str, tuple[str, Array]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.graph
        self.order = topological_order(graph)
        self.sources = [*graph.inputs, *self.order]
        self.slots = slots_of(graph)
        self.synapses: dict[str, Synapses] = {}
        for target in self.order:
            into = {
                name: synapses_of(p, graph.shape_of(p.source), graph.shape_of(target))
                for name, p in graph.into(target).items()
            }
            # Shifts to the right come first: the first of them then needs no sum of its own.
            self.synapses |= dict(sorted(into.items(), key=lambda item: item[1].exponent >= 0))
        found = [a for s in self.synapses.values() for name, a in s.offsets.items() if name != "targets"]
        self.offset = _unsigned(max((int(a.max(initial=0)) for a in found), default=0))
        counts = [prod(graph.shape_of(name)) for name in self.sources]
        self.n_lines = sum(counts[: len(graph.inputs)])
        self.index = _unsigned(max(self.n_lines, *counts))

    def layout(self) -> Layout:
        """Fill the tables and add up what they need."""
        graph = self.graph
        rows: dict[str, list[Row]] = {
            "sources": self._source_rows(),
            "inputs": self._input_rows(),
            "projections": [row for name in self.order for row in self._projection_rows(name)],
            "populations": self._population_rows(),
            "outputs": [
                {"population": self.order.index(o.population), "of_spikes": int(o.variable == "s")}
                for o in graph.outputs.values()
            ],
            "readings": self._reading_rows(),
        }
        divided = {name: s.divisor for name, s in self.synapses.items() if s.divisor > 1}
        rewrites = [
            f"{name}: weights divided by {divisor}, weight_exp {graph.projections[name].weight_exp} → "
            f"{self.synapses[name].exponent} (exact)"
            for name, divisor in divided.items()
        ]
        return Layout(populations=self.order, sizes=self._sizes(rows), tables=self.arrays, rows=rows, rewrites=rewrites)

    def _source_rows(self) -> list[Row]:
        rows: list[Row] = []
        word, value = 0, 0
        for name in self.sources:
            n, n_slots = prod(self.graph.shape_of(name)), self.slots[name]
            n_words, graded = -(-n // _WORD), name in self.graph.inputs and self.graph.inputs[name].graded
            rows.append({"n": n, "n_words": n_words, "n_slots": n_slots, "first_word": word})
            if graded:
                rows[-1] |= {"first_value": value, "graded": 1}
            word += n_words * n_slots
            value += n * n_slots * graded
        self.n_words, self.n_values = word, value
        return rows

    def _input_rows(self) -> list[Row]:
        inputs = self.graph.inputs.values()
        first = accumulate((node.n for node in inputs), initial=0)
        return [
            {"first_line": line, "source": k, "min_value": min(node.min_value, 0), "max_value": max(node.max_value, 0)}
            for k, (line, node) in enumerate(zip(first, inputs, strict=False))
        ]

    def _common_left(self, target: str) -> int:
        """Return the shift to the left that all sums onto a population share, so that it is made once for all."""
        return max(min((self.synapses[name].exponent for name in self.graph.into(target)), default=0), 0)

    def _projection_rows(self, target: str) -> list[Row]:
        rows: list[Row] = []
        common = self._common_left(target)
        into = self.graph.into(target)
        for name in (name for name in self.synapses if name in into):
            p, s = into[name], self.synapses[name]
            row: Row = {"kind": s.kind, "source": self.sources.index(p.source), "delay": p.delay_steps}
            row |= {"left": max(s.exponent - common, 0), "right": max(-s.exponent, 0)}
            row |= {"apart": int(s.exponent < 0 and bool(rows)), "weight_bytes": s.weight.itemsize}
            row |= {"weight": self._table(f"weight_of_{name}", f"{s.weight.dtype.name}_t", s.weight)}
            row |= s.fields
            for what, a in s.offsets.items():
                ctype = _PAIRS_AND_TARGETS.get(what, "offset")
                dtype = self.index if ctype == "network_index" else self.offset
                row[what] = self._table(f"{what}_of_{name}", ctype, a.astype(dtype))
            rows.append(row)
        return rows

    def _population_rows(self) -> list[Row]:
        rows: list[Row] = []
        neurons, currents, held, counted, projections = 0, 0, 0, 0, 0
        readout = self.graph.readout
        read = {self.graph.outputs[name].population for name in readout.outputs} if readout else set()
        for name in self.order:
            p = self.graph.populations[name]
            remembers = bool((p.decay_u < fixed.DECAY_ONE).any())
            holds, counts = p.refractory_steps > 1 or p.max_spikes > 0, p.max_spikes > 0
            n_projections = len(self.graph.into(name))
            channels = p.shape[0] if len(p.shape) == 3 else 1
            keep_mask, sub_mask = _MASKS[p.reset]
            row: Row = {"n_channels": channels, "area": p.n // channels, "source": self.sources.index(name)}
            row |= {"first_neuron": neurons, "first_current": currents, "first_held": held, "first_counted": counted}
            row |= {"remembers": int(remembers), "holds": int(holds), "counts": int(counts), "read": int(name in read)}
            row |= {"left": self._common_left(name)}
            row |= {"first_projection": projections, "n_projections": n_projections}
            row |= self._parameter_rows(name)
            row |= {"keep_mask": keep_mask, "sub_mask": sub_mask, "pause": p.refractory_steps - 1}
            row |= {"max_spikes": p.max_spikes or _NO_LIMIT}
            rows.append(row)
            neurons += p.n
            currents += p.n * remembers
            held += p.n * holds
            counted += p.n * counts
            projections += n_projections
        self.n_state = {"N_NEURONS": neurons, "N_CURRENTS": currents, "N_HELD": held, "N_COUNTED": counted}
        return rows

    def _parameter_rows(self, name: str) -> Row:
        rows: Row = {}
        for parameter, (values, fields) in parameters_of(self.graph.populations[name]).items():
            table = self._table(f"{parameter}_of_{name}", f"{values.dtype.name}_t", values)
            rows[parameter] = {"value": table, **fields}
        return rows

    def _reading_rows(self) -> list[Row]:
        readout = self.graph.readout
        if readout is None:
            return []
        read = [self.graph.outputs[name].population for name in readout.outputs]
        n_classes = self.graph.populations[read[0]].n // readout.neurons_per_class
        weights = readout.weights or (1,) * len(read)
        return [
            {"population": self.order.index(p), "per_class": self.graph.populations[p].n // n_classes, "weight": weight}
            for p, weight in zip(read, weights, strict=True)
        ]

    def _table(self, name: str, ctype: str, values: Array) -> str:
        """Keep a table under a name that C takes and nothing else has; return that name, or "0" for an empty one."""
        if values.size == 0:
            return "0"
        unique = "".join(c if c.isalnum() else "_" for c in name)
        while unique in self.arrays:
            unique += "_"
        self.arrays[unique] = (ctype, values)
        return unique

    def _sizes(self, rows: dict[str, list[Row]]) -> dict[str, int | str]:
        graph, readings = self.graph, rows["readings"]
        outputs = [graph.populations[o.population].n for o in graph.outputs.values() if o.variable == "s"]
        kinds = {s.kind for s in self.synapses.values()}
        widths = {s.weight.itemsize for s in self.synapses.values()}
        largest = max(p.n for p in graph.populations.values())
        apart = any(bool(row["apart"]) for row in rows["projections"])
        score, n_classes = self._score(readings)
        sizes: dict[str, int | str] = {
            "INDEX": f"{self.index.name}_t",
            "OFFSET": f"{self.offset.name}_t",
            "SCORE": f"int{8 * score}_t",
            "N_STEPS": graph.n_steps,
            "N_INPUTS": len(graph.inputs),
            "N_LINES": self.n_lines,
            "N_POPULATIONS": len(self.order),
            "N_OUTPUTS": len(graph.outputs),
            "MAX_SPIKES": max(sum(outputs), 1),
            "READOUT": _READOUTS[graph.readout.kind] if graph.readout else 0,
            "N_READ": len(readings),
            "N_CLASSES": n_classes,
            **{name: max(n, 1) for name, n in self.n_state.items()},
            "N_SUMS": largest,
            "N_APART": largest if apart else 1,
            "N_WORDS": self.n_words,
            "N_VALUES": max(self.n_values, 1),
            **{f"HAS_{kind}": int(kind in kinds) for kind in ("DENSE", "WINDOW", "SPARSE", "ONE_TO_ONE")},
            **{f"HAS_WEIGHT{8 * width}": int(width in widths) for width in (1, 2)},
            "HAS_GRADED": int(self.n_values > 0),
            "HAS_CURRENT": int(self.n_state["N_CURRENTS"] > 0),
            "HAS_HOLD": int(self.n_state["N_HELD"] > 0),
            "HAS_COUNT": int(self.n_state["N_COUNTED"] > 0),
            "HAS_WIDE": int(any(row[q]["bytes"] == 4 for row in rows["populations"] for q in _PARAMETERS)),
            **{f"EACH_{q.upper()}": max(row[q]["per_neuron"] for row in rows["populations"]) for q in _PARAMETERS},
            "HAS_RIGHT": int(any(s.exponent < 0 for s in self.synapses.values())),
            "HAS_APART": int(apart),
        }
        words = sum(int(sizes[name]) for name in ("N_SUMS", "N_APART", "N_WORDS", *self.n_state))
        n_bytes = 4 * (words + 2) + 2 * int(sizes["N_VALUES"]) + score * n_classes * (1 + len(readings))
        sizes["RAM_BYTES"] = -(-n_bytes // score) * score
        return sizes

    def _score(self, readings: list[Row]) -> tuple[int, int]:
        """Return the bytes of what a readout adds up, and the number of classes."""
        readout, graph = self.graph.readout, self.graph
        if readout is None:
            return 4, 0
        most = sum(int(row["weight"]) * int(row["per_class"]) for row in readings)
        most *= graph.n_steps if readout.kind == "count" else 1
        most = max(most, *(int(row["per_class"]) * fixed.STATE_HALF for row in readings))
        n = graph.populations[graph.outputs[readout.output].population].n
        return 4 if most < 2**31 else 8, n // readout.neurons_per_class


def _unsigned(largest: int) -> np.dtype[Any]:
    return np.dtype(np.uint16 if largest < 1 << 16 else np.uint32)
