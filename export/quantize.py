"""Float graph → integer graph for a stated chip, with a report of the error that it made.

A population may be rescaled at will: dividing its weights, bias and threshold by the same number changes no spike. So
the weights choose the scale (their largest magnitude becomes the largest weight of the chip) and threshold and bias
follow. Projections of different size into one population differ by powers of two, held by their weight exponents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.check import require_legal
from spikegraph.export.chips import Chip
from spikegraph.export.connectivity import Array
from spikegraph.export.float_graph import FloatGraph, FloatPopulation, FloatProjection
from spikegraph.export.graph import PROJECTIONS, Graph, Population, Projection
from spikegraph.export.one_spike import one_spike
from spikegraph.export.rounding import (
    least_error_clip,
    quantize_bias,
    quantize_threshold,
    quantize_weight,
    shared_scale,
    smallest_scale,
    weight_bits_of,
    weight_scale,
)
from spikegraph.export.split import split_populations
from spikegraph.export.thresholds import fold
from spikegraph.export.time_constants import decay_constant, kept_share


@dataclass(frozen=True, kw_only=True)
class ProjectionError:
    """What quantization did to one projection's weights (errors in units of the float weight).

    `scale` is the float value of integer weight 1 (weight_exp included). `clip` is the magnitude that was to become the
    largest weight, trained or found; None: the largest there was.
    """

    scale: float
    weight_exp: int
    clip: float | None
    largest_error: float
    rms_error: float
    clipped_share: float


@dataclass(frozen=True, kw_only=True)
class PopulationError:
    """What quantization did to one population's parameters: largest errors, threshold and bias relative to threshold.

    Those of the decays are shares of the state, per step.

    `folded` says that thresholds per neuron or channel were moved into the weights; `parts` is the number of
    populations that it was split into, each of neurons that are alike in what the chip shares; `one_spike` says what
    keeps neurons from a second spike where the chip counts none (see one_spike.py).
    """

    threshold_error: float
    bias_error: float
    decay_u_error: float
    decay_v_error: float
    folded: bool
    parts: int = 1
    one_spike: str = ""

    @property
    def rewrite(self) -> str:
        """What was rewritten, exactly, because the chip shares or lacks it; "" if nothing was."""
        said = ["thresholds folded into weights"] if self.folded else []
        said += [f"split into {self.parts} populations"] if self.parts > 1 else []
        return ", ".join(said + ([self.one_spike] if self.one_spike else []))


@dataclass(frozen=True, kw_only=True)
class QuantizationReport:
    """Everything that `quantize` changed, node by node."""

    chip: str
    projections: dict[str, ProjectionError]
    populations: dict[str, PopulationError]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


def quantize(
    graph: FloatGraph, chip: Chip, *, fit_clip: bool = False, finer: Mapping[str, int] = MappingProxyType({})
) -> tuple[Graph, QuantizationReport]:
    """Turn a float graph into an integer graph that is legal on `chip`.

    Where a chip shares thresholds, decays or bias exponents among the neurons of a population, thresholds that differ
    are folded into the weights if they can be; a population that differs even then is split (`split_populations`),
    which renames it and its projections.

    Parameters
    ----------
    graph : FloatGraph
    chip : Chip
    fit_clip : bool
        Where no clip was trained, take that of `least_error_clip` in place of the largest magnitude: for graphs that
        were not trained for this chip, if its weights have few bits.
    finer : mapping of population → int
        How many times to halve the unit of its threshold, bias and states below that of its weights, whose exponents
        rise by as much.

    Returns
    -------
    Graph, QuantizationReport

    Raises
    ------
    GraphError
        The float graph is not legal, or the chip cannot hold its structure (reset mode, delay, …), or not what differs
        between neurons of a population that cannot be split.
    """
    require_legal(graph)
    populations: dict[str, Population] = {}
    projections: dict[str, Projection] = {}
    population_errors: dict[str, PopulationError] = {}
    projection_errors: dict[str, ProjectionError] = {}
    for name, population in graph.populations.items():
        incoming, folded = fold(population, graph.into(name), chip)
        clips = [_clip(p, chip, fit=fit_clip) for p in incoming.values()]
        scales = [
            weight_scale(p.weight, chip.weight.format, clip) if p.weight.size else 0.0
            for p, clip in zip(incoming.values(), clips, strict=True)
        ]
        smallest = smallest_scale(folded.v_threshold.max(), abs(folded.bias).max(), chip)
        largest = folded.v_threshold.min() / chip.threshold_mant.minimum
        base, exponents = shared_scale(scales, chip.weight_exp.format, smallest, largest)
        base = base / (1 << finer.get(name, 0))
        exponents = [exponent + finer.get(name, 0) for exponent in exponents]
        for (p_name, p), clip, exponent in zip(incoming.items(), clips, exponents, strict=True):
            scale = base * (1 << exponent)
            projections[p_name], projection_errors[p_name] = _projection(p, clip, scale, exponent, chip)
        populations[name], population_errors[name] = _population(folded, base, graph.dt, chip, folded is not population)
    integer = Graph(
        inputs=graph.inputs,
        populations=populations,
        projections={name: projections[name] for name in graph.projections},
        outputs=graph.outputs,
        n_steps=graph.n_steps,
        coding=graph.coding,
        readout=graph.readout,
        provenance={**graph.provenance, "chip": chip.name, "weight_bits": weight_bits_of(chip)},
    )
    integer, rewrites = one_spike(integer, chip)
    integer, parts = split_populations(integer, chip)
    require_legal(integer, chip)
    for name, done in rewrites.items():
        population_errors[name] = replace(population_errors[name], one_spike=done)
    for name, of in parts.items():
        population_errors[name] = replace(population_errors[name], parts=len(of))
    ordered = {name: projection_errors[name] for name in graph.projections}
    return integer, QuantizationReport(chip=chip.name, projections=ordered, populations=population_errors)


def _clip(p: FloatProjection, chip: Chip, *, fit: bool) -> Any:
    if p.clip is not None:
        return p.weight.dtype.type(p.clip)  # so that the scale is of that type too, as it is in training
    return least_error_clip(p.weight, chip.weight.format) if fit and p.weight.any() else None


def _projection(
    p: FloatProjection, clip: Any, scale: Any, exponent: int, chip: Chip
) -> tuple[Projection, ProjectionError]:
    limit = chip.weight.format
    weight: Array = np.asarray(quantize_weight(p.weight, scale, limit))
    geometry = {name: value for name, value in vars(p).items() if name not in ("weight", "clip")}
    error = np.abs(weight * float(scale) - p.weight)
    wanted = p.weight / scale
    clipped = (wanted < limit.minimum - limit.step / 2) | (wanted > limit.maximum + limit.step / 2)
    return PROJECTIONS[p.kind](weight=weight, weight_exp=exponent, **geometry), ProjectionError(
        scale=float(scale),
        weight_exp=exponent,
        clip=None if clip is None else float(clip),
        largest_error=float(error.max(initial=0)),
        rms_error=float(np.sqrt(np.mean(np.square(error)))) if error.size else 0.0,
        clipped_share=float(clipped.mean()) if clipped.size else 0.0,
    )


def _population(
    p: FloatPopulation, scale: Any, dt: float, chip: Chip, folded: bool
) -> tuple[Population, PopulationError]:
    threshold_mant = np.asarray(quantize_threshold(p.v_threshold, scale, chip.threshold_mant.format))
    bias_mant, bias_exp = quantize_bias(p.bias, scale, chip.bias_mant.format, chip.bias_exp.format)
    decay_u = decay_constant(p.tau_syn, dt, chip.decay_u.format)
    decay_v = decay_constant(p.tau_mem, dt, chip.decay_v.format)
    integer = Population(
        shape=p.shape,
        decay_u=decay_u,
        decay_v=decay_v,
        threshold_mant=threshold_mant,
        bias_mant=bias_mant,
        bias_exp=bias_exp,
        reset=p.reset,
        refractory_steps=p.refractory_steps,
        max_spikes=p.max_spikes,
    )
    bias = bias_mant * (2.0**bias_exp) / (1 << fixed.ALIGN_BITS) * float(scale)
    return integer, PopulationError(
        threshold_error=float(np.max(np.abs(threshold_mant * float(scale) / p.v_threshold - 1))),
        bias_error=float(np.max(np.abs(bias - p.bias)) / np.min(p.v_threshold)),
        decay_u_error=float(np.max(np.abs(decay_u / fixed.DECAY_ONE - (1 - kept_share(p.tau_syn, dt))))),
        decay_v_error=float(np.max(np.abs(decay_v / fixed.DECAY_ONE - (1 - kept_share(p.tau_mem, dt))))),
        folded=folded,
    )
