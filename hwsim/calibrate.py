"""Float graph → integer graph, with the scales that keep the spikes of calibration data: quantization after training.

`quantize` looks at weights only. Here each population is quantized in many ways, in the order of computation, fed by
what is in integers before it, and what makes its spikes most like those of the float graph is kept: the scale of its
weights, for each neuron or channel where the chip holds a threshold for each; weights rounded so that their errors make
up for each other; and its threshold. Then the thresholds of all populations once more, judged by what the whole network
puts out. Nothing is random.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from spikegraph.export.chips import Chip
from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.graph import Graph
from spikegraph.export.order import topological_order
from spikegraph.export.quantize import QuantizationReport, quantize
from spikegraph.export.rounding import FEW_BITS, weight_bits_of
from spikegraph.export.scaling import PLAIN, Scaling, even_rows, fitted_clips, own_rows, prepared, rescaled_graph
from spikegraph.hwsim.agreement import Outcome
from spikegraph.hwsim.bench import Bench
from spikegraph.hwsim.calibration import Calibration, PopulationCalibration, limits
from spikegraph.hwsim.rasters import Spikes
from spikegraph.progress import Progress, silent

_GAINS = (1.0, 0.85, 0.92, 1.08, 1.17, 1.27, 1.38, 1.5)
_GAINS_OF_FEW_BITS = (1.0, 0.8, 1.2, 1.45, 1.7, 2.0, 2.4, 2.9, 3.5)
_BELOW = (0.0, 1.5)  # what reached the threshold, and no more, may have to fire
_THRESHOLDS = (1.0, 0.98, 1.02, 0.95, 1.05, 0.9, 1.1, 0.8, 1.2, 0.7, 0.6)
_REGAINS = (0.8, 1.0, 1.25)  # of a scale, once weights make up for each other
_NUDGES = (0.97, 1.03)  # of thresholds, judged by the whole network

Scalings = dict[str, Scaling]


def quantize_calibrated(
    graph: FloatGraph,
    chip: Chip,
    batches: Iterable[Mapping[str, Spikes]],
    *,
    label: Array | None = None,
    progress: Progress = silent,
) -> tuple[Graph, Calibration]:
    """Turn a float graph into an integer graph that is legal on `chip` and keeps the spikes of calibration data.

    On the calibration data the result is never worse than that of `quantize`, with or without `fit_clip`: in decisions
    that are the float graph's, and among equals in the distance of what the outputs do.

    Parameters
    ----------
    graph : FloatGraph
    chip : Chip
        A reset by subtraction that it lacks becomes one to zero, which is said in the report.
    batches : iterable of mapping of input name → ndarray of int (T, B, *shape) or Events
        Calibration data; all spikes of all populations on it are held in memory, a byte a neuron, step and sample.
    label : ndarray of int, optional
        Of all samples, for the report: nothing is fitted to it.
    progress : callable(what, done, total), optional

    Returns
    -------
    Graph, Calibration

    Raises
    ------
    GraphError
        As `quantize`.
    DataError
        The calibration data do not fit the graph.
    OptionError
        There are no samples, or more than fit into memory.
    """
    ready, approximated = prepared(graph, chip)
    quantize(ready, chip)  # what the chip refuses is refused before any work
    bench = Bench(graph, ready, chip, batches, label)
    search = _Search(bench, chip, progress)
    tried: dict[str, tuple[Scalings, Outcome]] = {}
    plain: Scalings = dict.fromkeys(graph.populations, PLAIN)
    for name, scalings in (("plain", plain), ("fit_clip", search.fitted)):
        tried[name] = scalings, search.outcome(scalings)
    found = search.one_by_one()
    tried["one by one"] = found, search.outcome(found)
    tried["all together"] = search.all_together(*tried["one by one"])
    chosen = min(tried, key=lambda name: tried[name][1].rank)
    scalings = tried[chosen][0]
    rescaled, finer = rescaled_graph(ready, scalings, chip)
    integer, report = quantize(rescaled, chip, finer=finer)
    provenance = {"method": chosen, "samples": bench.n_samples}
    calibration = Calibration(
        quantization=_with_errors(report, ready, scalings, chip),
        outcomes={name: outcome for name, (_, outcome) in tried.items()},
        chosen=chosen,
        n_samples=bench.n_samples,
        n_right_float=bench.n_right,
        populations=search.compared(plain, scalings),
        limits=search.limits(scalings),
        approximated=approximated,
    )
    return replace(integer, provenance={**integer.provenance, "calibrated": provenance}), calibration


def _with_errors(report: QuantizationReport, ready: FloatGraph, scalings: Scalings, chip: Chip) -> QuantizationReport:
    """Return the report with the errors of weights that were rounded before `quantize` saw them."""
    as_they_were = {name: replace(scaling, rounded={}) for name, scaling in scalings.items()}
    floats, finer = rescaled_graph(ready, as_they_were, chip)
    nearest = quantize(floats, chip, finer=finer)[1].projections
    projections = dict(report.projections)
    for scaling in scalings.values():
        for name, rounded in scaling.rounded.items():
            error = np.abs(rounded * projections[name].scale - floats.projections[name].weight)
            largest, rms = float(error.max()), float(np.sqrt(np.mean(np.square(error))))
            projections[name] = replace(nearest[name], largest_error=largest, rms_error=rms)
    return replace(report, projections=projections)


class _Search:
    """The search for the best setting of each population."""

    def __init__(self, bench: Bench, chip: Chip, progress: Progress) -> None:
        self.bench, self.chip, self.progress = bench, chip, progress
        self.order = topological_order(bench.graph)
        self.rows = {name: own_rows(bench.prepared, name, chip) for name in self.order}
        self.fitted = {name: replace(PLAIN, clips=fitted_clips(bench.prepared, name, chip)) for name in self.order}
        self.gains = _GAINS_OF_FEW_BITS if weight_bits_of(chip) <= FEW_BITS else _GAINS
        each = len(self.gains) + len(_BELOW) + 1 + len(_REGAINS) + len(_THRESHOLDS)
        starts = sum(2 if rows is None else 1 for rows in self.rows.values())
        self.done, self.total = 0, (each + 1) * starts + (1 + len(_NUDGES)) * len(self.order) + 5

    def outcome(self, scalings: Scalings) -> Outcome:
        """Return what the whole network does with these settings."""
        self._tell("calibrate: all populations")
        return self.bench.outcome(*self.bench.quantized(scalings))

    def one_by_one(self) -> Scalings:
        """Return the best settings, each population judged by its own spikes."""
        found: Scalings = {}
        for name in self.order:
            found[name] = self._population(name)
            self.bench.send(name, found[name])
        return found

    def all_together(self, found: Scalings, best: Outcome) -> tuple[Scalings, Outcome]:
        """Return settings whose thresholds make the whole network do better."""
        for name in reversed(self.order):
            for factor in _NUDGES:
                changed = {**found, name: replace(found[name], threshold=found[name].threshold * factor)}
                outcome = self.outcome(changed)
                no_worse = (outcome.n_alike or 0) >= (best.n_alike or 0) and outcome.n_wraps <= best.n_wraps
                if no_worse and outcome.distance < best.distance:
                    found, best = changed, outcome
        return found, best

    def compared(self, plain: Scalings, scalings: Scalings) -> dict[str, PopulationCalibration]:
        """Return the spikes of each population before and after."""
        self._tell("calibrate: compare")
        before, after = (self.bench.agreement(self.bench.quantized(one)[0]) for one in (plain, scalings))
        return {
            name: PopulationCalibration.of(scalings[name], before[name], after[name])
            for name in self.bench.graph.populations
        }

    def limits(self, scalings: Scalings) -> dict[str, Outcome]:
        """Return what each part of the rounding costs by itself."""
        self._tell("calibrate: what limits it")
        return limits(self.bench, scalings)

    def _tell(self, what: str) -> None:
        self.progress(what, self.done, self.total)
        self.done += 1

    def _population(self, name: str) -> Scaling:
        rows = self.rows[name]
        starts = [Scaling(), replace(self.fitted[name], fine=True)]
        if rows is not None:
            starts = [Scaling(rows=even_rows(self.bench.prepared, name, rows))]
        found = [PLAIN]
        for scaling in starts:
            for field, values in (("gain", self.gains), ("below", _BELOW)):
                scaling = self._along(name, scaling, field, values)
            regained = [replace(scaling, gain=scaling.gain * factor) for factor in _REGAINS]
            scaling = self._best(name, [scaling, *(self.bench.compensated(name, one) for one in regained)])
            found.append(self._along(name, scaling, "threshold", _THRESHOLDS))
        return self._best(name, found)

    def _best(self, name: str, among: Sequence[Scaling]) -> Scaling:
        distances = []
        for scaling in among:
            self._tell(f"calibrate: {name}")
            distances.append(float(self._each(name, scaling, None)))
        return among[int(np.argmin(distances))]

    def _along(self, name: str, start: Scaling, field: str, values: tuple[float, ...]) -> Scaling:
        """Return the setting with the best value of one field, of each row where rows may differ."""
        distances = []
        for value in values:
            self._tell(f"calibrate: {name}")
            distances.append(self._each(name, _with(start, field, value), self.rows[name]))
        return _with(start, field, np.asarray(values)[np.argmin(distances, axis=0)])

    def _each(self, name: str, scaling: Scaling, rows: Shape | None) -> Array:
        distance = self.bench.alone(name, scaling)
        if distance is None:
            return np.full(rows or (), np.inf)
        if rows is None:
            return np.asarray(distance.sum())
        return distance if distance.shape == rows else distance.sum(axis=(1, 2))


def _with(scaling: Scaling, field: str, value: Any) -> Scaling:
    return replace(scaling, **{field: value})
