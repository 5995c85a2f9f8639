"""A float graph on calibration data, and how well integers do as it does: populations alone, and the whole network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.chips import Chip
from spikegraph.export.coding import Decision
from spikegraph.export.compensate import compensated, spread_of
from spikegraph.export.connectivity import Array
from spikegraph.export.errors import OptionError
from spikegraph.export.float_graph import FloatConv2d, FloatDense, FloatGraph
from spikegraph.export.graph import Graph, Input, Output
from spikegraph.export.quantize import quantize
from spikegraph.export.scaling import Scaling, relaxed, rescaled, rescaled_graph
from spikegraph.hwsim.agreement import Agreement, Outcome, filtered_square
from spikegraph.hwsim.float_engine import run_float
from spikegraph.hwsim.gram import gram
from spikegraph.hwsim.native import run_native
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.rasters import Spikes, checked_samples, raster_of
from spikegraph.hwsim.result import Trace
from spikegraph.hwsim.simulate import decided, samples_per_batch

_MOST_BYTES = 2 << 30  # of all spikes of the float graph
_MOST_INPUTS = 5000  # of a neuron, whose weights are rounded together: that takes the cube of it
_SEARCHED = 1 << 23  # neurons × steps × samples on which the settings of one population are compared


def pieces(rasters: Mapping[str, Spikes], size: int) -> Iterator[dict[str, Array]]:
    """Yield rasters of at most `size` samples."""
    whole = {name: raster_of(spikes) for name, spikes in rasters.items()}
    for start in range(0, _samples(whole), size):
        yield {name: raster[:, start : start + size] for name, raster in whole.items()}


class Bench:
    """What the float graph does on the calibration data, and what its populations do in integers.

    Parameters
    ----------
    graph : FloatGraph
        The original: what is to be kept.
    prepared : FloatGraph
        The same in the rules of the chip: see `spikegraph.export.scaling.prepared`.
    chip : Chip
    batches : iterable of mapping of input → spikes
    label : ndarray of int, optional
        Of all samples.

    Raises
    ------
    OptionError
        There are no samples, or more than fit into memory; there are not as many labels.
    """

    def __init__(
        self,
        graph: FloatGraph,
        prepared: FloatGraph,
        chip: Chip,
        batches: Iterable[Mapping[str, Spikes]],
        label: Array | None = None,
    ) -> None:
        self.graph, self.prepared, self.chip, self.label = graph, prepared, relaxed(chip), label
        each = graph.n_steps * sum(node.n for nodes in (graph.inputs, graph.populations) for node in nodes.values())
        parts: list[dict[str, Array]] = []
        read: list[dict[str, Array]] = []
        decisions: list[Decision] = []
        self.n_samples = 0
        for batch in batches:
            checked_samples(graph, batch)
            for piece in pieces(batch, samples_per_batch(graph)):
                result = run_float(graph, piece)
                parts.append({**{name: _small(raster) for name, raster in piece.items()}, **result.spikes})
                read.append({name: trace.v_before_reset for name, trace in result.traces.items()})
                if graph.readout is not None:
                    decisions.append(decided(graph, result.traces)[1])
                self.n_samples += _samples(piece)
                if each * self.n_samples > _MOST_BYTES:
                    what = (
                        f"{self.n_samples} of them hold {each * self.n_samples >> 20} MiB of spikes in all populations"
                    )
                    raise OptionError("calibration samples", what, f"give at most {_MOST_BYTES // each}")
        if not self.n_samples:
            raise OptionError("calibration samples", "there are none", "give at least one")
        if label is not None and len(label) != self.n_samples:
            raise OptionError("labels", f"{len(label)} for {self.n_samples} samples", "give one for each")
        # Spikes of every input and population, and potentials of the populations that outputs tap.
        self.spikes = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
        self.potentials = {name: np.concatenate([part[name] for part in read], axis=1) for name in read[0]}
        self.predicted = np.concatenate([one.predicted for one in decisions]) if decisions else None
        self.n_right: int | None = None
        if decisions and label is not None:
            right = self.predicted == label, np.concatenate([one.decided for one in decisions])
            self.n_right = int(np.logical_and(*right).sum())
        self.sent = {name: self.spikes[name] for name in graph.inputs}  # by what is in integers already
        self.spreads: dict[str, list[Array]] = {}  # of projections, once they are needed
        self.read_v = {output.population for output in graph.outputs.values() if output.variable == "v"}
        if graph.readout is not None and graph.readout.kind == "membrane":
            self.read_v |= {graph.outputs[name].population for name in graph.readout.outputs}

    def searched(self, name: str) -> int:
        """Return on how many samples the settings of one population are compared."""
        return min(max(_SEARCHED // (self.graph.n_steps * self.graph.populations[name].n), 4), self.n_samples)

    def quantized(
        self, scalings: Mapping[str, Scaling], part: FloatGraph | None = None
    ) -> tuple[Graph, dict[str, float]]:
        """Return the integer graph of these settings, and what 1 in v is worth in each population.

        It is of a chip that shares nothing.
        """
        rescaled, finer = rescaled_graph(self.prepared if part is None else part, scalings, self.chip)
        graph, report = quantize(rescaled, self.chip, finer=finer)
        units = {  # of populations that nothing reaches: others' are known exactly
            name: float(p.v_threshold.max()) / (int(graph.populations[name].threshold_mant.max()) << fixed.ALIGN_BITS)
            for name, p in rescaled.populations.items()
        }
        for name, p in graph.projections.items():
            units[p.target] = report.projections[name].scale / 2.0 ** (p.weight_exp + fixed.ALIGN_BITS)
        return graph, units

    def alone(self, name: str, scaling: Scaling) -> Array | None:
        """Quantize one population, fed by what has been sent, and return the distance of each of its neurons.

        Sources that are not in integers yet, such as on a loop, send what they do in floats. None: u wraps.
        """
        distance, start = np.zeros(self.graph.shape_of(name)), 0
        for trace, wraps, unit in self._alone(name, scaling, self.searched(name)):
            if wraps:
                return None
            distance += self._distance(name, trace, unit, slice(start, start + trace.s.shape[1]))
            start += trace.s.shape[1]
        return distance

    def compensated(self, name: str, scaling: Scaling) -> Scaling:
        """Return the setting with weights rounded so that errors of one make up for those of others.

        So are dense ones and those of convolutions, up to `_MOST_INPUTS` to a neuron.
        """
        _, incoming, _ = rescaled(self.prepared, name, replace(scaling, rounded={}), self.chip)
        limit, rounded = self.chip.weight.format, {}
        for p_name, p in incoming.items():
            if isinstance(p, FloatDense | FloatConv2d) and p.clip and p.weight[0].size <= _MOST_INPUTS:
                if p_name not in self.spreads:
                    s = self.sent.get(p.source, self.spikes[p.source])[:, : self.searched(name)]
                    self.spreads[p_name] = [spread_of(one) for one in gram(p, s)]
                in_units = p.weight * (limit.largest / p.clip)
                rows = in_units.reshape(len(self.spreads[p_name]), -1, len(self.spreads[p_name][0]))
                found = [compensated(w, one, limit) for w, one in zip(rows, self.spreads[p_name], strict=True)]
                rounded[p_name] = np.concatenate(found).reshape(p.weight.shape)
        return replace(scaling, rounded=rounded)

    def send(self, name: str, scaling: Scaling) -> None:
        """Let what follows be fed by this population in integers."""
        runs = self._alone(name, scaling, self.n_samples)
        self.sent[name] = np.concatenate([trace.s for trace, _, _ in runs], axis=1)

    def _alone(self, name: str, scaling: Scaling, n_samples: int) -> Iterator[tuple[Trace, bool, float]]:
        incoming, nodes = self.prepared.into(name), self.prepared.inputs
        sources = sorted({p.source for p in incoming.values() if p.source != name})
        part = replace(
            self.prepared,
            inputs={one: nodes.get(one, Input(shape=self.prepared.shape_of(one))) for one in sources} or nodes,
            populations={name: self.prepared.populations[name]},
            projections=incoming,
            outputs={"out": Output(population=name)},
            coding=None,
            readout=None,
        )
        graph, units = self.quantized({name: scaling}, part)
        program = compile_program(graph)
        fed = {one: self.sent.get(one, self.spikes[one])[:, :n_samples] for one in part.inputs}
        for piece in pieces(fed, samples_per_batch(graph)):
            result = run_native(program, piece)
            yield result.traces[name], bool(result.per_step["wraps"][name].any()), units[name]

    def _distance(self, name: str, trace: Trace, unit: float, samples: slice) -> Array:
        """Return the squared distance of each neuron from the float graph's: of spikes, or of v where that is read."""
        if name not in self.read_v:
            return filtered_square(trace.s, self.spikes[name][:, samples])
        error = trace.v_before_reset * unit - self.potentials[name][:, samples]
        return np.asarray(np.square(error).sum(axis=(0, 1), dtype=np.float64))

    def outcome(self, graph: Graph | FloatGraph, units: Mapping[str, float], n_samples: int | None = None) -> Outcome:
        """Run a whole graph, of `quantized` or in floats, and compare what it puts out."""
        total: Counter[str] = Counter()
        distance = size = 0.0
        start = 0
        for traces, overflows in self._runs(graph, (), n_samples or self.n_samples):
            samples = slice(start, start + next(iter(traces.values())).s.shape[1])
            for name, trace in traces.items():
                distance += float(self._distance(name, trace, units.get(name, 1.0), samples).sum())
                read_v = name in self.read_v
                expected = self.potentials[name][:, samples] if read_v else self.spikes[name][:, samples]
                size += float((np.square(expected, dtype=np.float64) if read_v else filtered_square(expected)).sum())
            if self.predicted is not None:
                decision = decided(graph, traces)[1]
                total["alike"] += int((decision.predicted == self.predicted[samples]).sum())
                total["right"] += 0 if self.label is None else int(decision.correct(self.label[samples]).sum())
            total.update(overflows)
            start = samples.stop
        return Outcome(
            n_samples=start,
            distance=distance / size if size else distance,
            n_alike=total["alike"] if self.predicted is not None else None,
            n_right=total["right"] if self.predicted is not None and self.label is not None else None,
            n_wraps=total["wraps"],
            n_saturations=total["saturations"],
        )

    def agreement(self, graph: Graph) -> dict[str, Agreement]:
        """Run a whole integer graph of `quantized`, and compare every spike of every population."""
        found = {name: Agreement() for name in self.graph.populations}
        start = 0
        for traces, _ in self._runs(graph, self.graph.populations, self.n_samples):
            stop = start + next(iter(traces.values())).s.shape[1]
            for name in found:
                ours, theirs = traces[name].s, self.spikes[name][:, start:stop]
                found[name] = found[name].then(
                    Agreement(
                        n_values=ours.size,
                        n_float=int(theirs.sum()),
                        n_integer=int(ours.sum()),
                        n_common=int((ours & theirs).sum()),
                    )
                )
            start = stop
        return found

    def _runs(
        self, graph: Graph | FloatGraph, record: Collection[str], n_samples: int
    ) -> Iterator[tuple[Mapping[str, Trace], dict[str, int]]]:
        inputs = {name: self.spikes[name][:, :n_samples] for name in graph.inputs}
        program = compile_program(graph) if isinstance(graph, Graph) else None
        for piece in pieces(inputs, samples_per_batch(graph, record)):
            if program is not None:
                result = run_native(program, piece, record)
                overflows = {
                    quantity: sum(int(one.sum()) for one in result.per_step[quantity].values())
                    for quantity in ("wraps", "saturations")
                }
                yield result.traces, overflows
            elif isinstance(graph, FloatGraph):
                yield run_float(graph, piece, dtype=np.float64).traces, {}


def _samples(rasters: Mapping[str, Array]) -> int:
    return int(next(iter(rasters.values())).shape[1])


def _small(raster: Array) -> Array:
    """Return a raster in the fewest bytes that hold its range."""
    least, most = (int(raster.min()), int(raster.max())) if raster.size else (0, 0)
    return raster.astype(np.int8 if -128 <= least and most <= 127 else np.int16, copy=False)
