"""What calibration found: spikes before and after, decisions, and which part of the rounding costs most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.float_graph import FloatGraph
from spikegraph.export.graph import Graph
from spikegraph.export.quantize import QuantizationReport
from spikegraph.export.scaling import Scaling, rescaled_graph
from spikegraph.export.time_constants import time_constant_of
from spikegraph.hwsim.agreement import Agreement, Outcome
from spikegraph.hwsim.bench import Bench

PARTS = ("weights", "thresholds", "biases", "decays")
_RUN = 1 << 25  # neurons × steps × samples on which the parts are told apart


@dataclass(frozen=True, kw_only=True)
class PopulationCalibration:
    """One population.

    Parameters
    ----------
    plain, calibrated : Agreement
        Its spikes and those of the float graph, each in its whole network.
    gain, threshold : (float, float)
        The smallest and largest factor found, of the scale of its weights and of its threshold.
    rows : bool
        Whether neurons, or channels, have scales of their own.
    """

    plain: Agreement
    calibrated: Agreement
    gain: tuple[float, float]
    threshold: tuple[float, float]
    rows: bool

    @classmethod
    def of(cls, scaling: Scaling, plain: Agreement, calibrated: Agreement) -> PopulationCalibration:
        """Return the report of a setting."""
        return cls(
            plain=plain,
            calibrated=calibrated,
            gain=(float(np.min(scaling.gain)), float(np.max(scaling.gain))),
            threshold=(float(np.min(scaling.threshold)), float(np.max(scaling.threshold))),
            rows=scaling.rows is not None,
        )


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What `quantize_calibrated` did.

    Parameters
    ----------
    quantization : QuantizationReport
        Of the rescaled float graph: errors are relative to what calibration chose.
    outcomes : mapping of str → Outcome
        Of "plain" and "fit_clip" (`quantize`), "one by one" and "all together", on the calibration data.
    chosen : str
        The best of them.
    n_samples : int
    n_right_float : int, optional
        Samples that the float graph decides rightly, where labels are known.
    populations : mapping of population → PopulationCalibration
    limits : mapping of str → Outcome
        The float graph with only its "weights", "thresholds", "biases" or "decays" as they were rounded; with its
        "resets" as the chip has them, if others; "all of these", without the chip's arithmetic.
    approximated : mapping of population → str
        What the chip has no equal of.
    """

    quantization: QuantizationReport
    outcomes: Mapping[str, Outcome]
    chosen: str
    n_samples: int
    n_right_float: int | None
    populations: Mapping[str, PopulationCalibration]
    limits: Mapping[str, Outcome]
    approximated: Mapping[str, str]

    @property
    def limited_by(self) -> str | None:
        """The part that moves the outputs furthest by itself; None if none moves them."""
        parts = {name: outcome.distance for name, outcome in self.limits.items() if name != "all of these"}
        name = max(parts, key=parts.__getitem__)
        return name if parts[name] > 0 else None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        told = asdict(self)
        for name, one in self.populations.items():
            for which in ("plain", "calibrated"):
                spikes = getattr(one, which)
                told["populations"][name][which] |= {"equal": spikes.equal, "in_common": spikes.in_common}
        return {**told, "limited_by": self.limited_by}

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        said = [f"calibrated on {self.n_samples} samples; kept: {self.chosen}"]
        if self.n_right_float is not None:
            said.append(f"  float graph: {self.n_right_float} of {self.n_samples} right")
        said += [f"  {name}: {_outcome(outcome)}" for name, outcome in self.outcomes.items()]
        said.append("spikes in common with the float graph, plain → calibrated (of those that either has)")
        for name, one in self.populations.items():
            said.append(
                f"  {name}: {one.plain.in_common:.2%} → {one.calibrated.in_common:.2%}; "
                f"{one.calibrated.equal:.3%} of all values equal, {one.calibrated.n_integer:,} spikes "
                f"for {one.calibrated.n_float:,}"
            )
        said.append(f"rounded by itself, what moves the outputs most: {self.limited_by or 'nothing'}")
        said += [f"  {name}: {_outcome(outcome)}" for name, outcome in self.limits.items()]
        return said + [f"approximated: {name}: {what}" for name, what in self.approximated.items()]


def _outcome(outcome: Outcome) -> str:
    said = [f"outputs {outcome.distance:.2%} away"]
    if outcome.n_alike is not None:
        said.append(f"{outcome.n_alike} of {outcome.n_samples} decided as the float graph does")
    if outcome.n_right is not None:
        said.append(f"{outcome.n_right} right")
    said += [f"{outcome.n_wraps:,} wraps"] if outcome.n_wraps else []
    said += [f"{outcome.n_saturations:,} saturations"] if outcome.n_saturations else []
    return ", ".join(said)


def limits(bench: Bench, scalings: Mapping[str, Scaling]) -> dict[str, Outcome]:
    """Run the float graph with one part of it as the integers have it, then with all of them.

    Scales as such change no spike: so the rescaled float graph, without what was changed to make up for errors, stands
    for the original.
    """
    as_it_was = {name: replace(scaling, threshold=1.0, below=0.0, rounded={}) for name, scaling in scalings.items()}
    floats, _ = rescaled_graph(bench.prepared, as_it_was, bench.chip)
    resets = {name: p.reset for name, p in bench.graph.populations.items()}
    original = {name: replace(p, reset=resets[name]) for name, p in floats.populations.items()}
    integer, units = bench.quantized(scalings)
    n_neurons = sum(node.n for node in floats.populations.values())
    n_samples = max(min(_RUN // (floats.n_steps * n_neurons), bench.n_samples), 1)
    found = {
        part: bench.outcome(_rounded(replace(floats, populations=original), integer, units, {part}), {}, n_samples)
        for part in PARTS
    }
    if any(p.reset != resets[name] for name, p in floats.populations.items()):
        found["resets"] = bench.outcome(floats, {}, n_samples)
    found["all of these"] = bench.outcome(_rounded(floats, integer, units, set(PARTS)), {}, n_samples)
    return found


def _rounded(floats: FloatGraph, integer: Graph, units: Mapping[str, float], parts: set[str]) -> FloatGraph:
    populations, projections = {}, dict(floats.projections)
    for name, population in floats.populations.items():
        rounded, change = integer.populations[name], dict[str, Any]()
        if "thresholds" in parts:
            change["v_threshold"] = (rounded.threshold_mant.astype(np.int64) << fixed.ALIGN_BITS) * units[name]
        if "biases" in parts:
            change["bias"] = rounded.bias_mant * 2.0 ** rounded.bias_exp.astype(np.int64) * units[name]
        if "decays" in parts:
            change["tau_syn"] = time_constant_of(1 - rounded.decay_u / fixed.DECAY_ONE, floats.dt)
            change["tau_mem"] = time_constant_of(1 - rounded.decay_v / fixed.DECAY_ONE, floats.dt)
        populations[name] = replace(population, **change)
    if "weights" in parts:
        for name, p in floats.projections.items():
            one = integer.projections[name]
            scale = 2.0 ** (one.weight_exp + fixed.ALIGN_BITS) * units[p.target]
            projections[name] = replace(p, weight=one.weight * scale)
    return replace(floats, populations=populations, projections=projections)
