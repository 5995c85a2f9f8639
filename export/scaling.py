"""A float population, rescaled so that a chip's integers hold it well: what calibration chooses, and `quantize` rounds.

Dividing the weights, bias and threshold of a neuron by one number changes no spike. So each neuron, or channel of a
convolution, may take the scale that suits its own weights where the chip holds a threshold for each; and the unit of
thresholds, biases and states may be finer than that of weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spikegraph.export.chips import Chip
from spikegraph.export.connectivity import Array, Shape, per_neuron
from spikegraph.export.float_graph import FloatGraph, FloatPopulation, FloatProjection, FloatSparse
from spikegraph.export.rounding import least_error_clip, shared_scale, smallest_scale
from spikegraph.export.thresholds import fold, fold_threshold

MOST_ROW_FACTOR = 4.0  # weak rows are not blown up further: v would reach its end the sooner
FINE_THRESHOLD = 256  # mantissa from which half a unit is less than 0.2 %


@dataclass(frozen=True, kw_only=True, eq=False)
class Scaling:
    """How one population is brought into integers.

    Parameters
    ----------
    gain : float or ndarray
        Of all weights against the chip's largest: 1 makes the largest magnitude the largest weight, more clips.
    rows : ndarray, optional
        Factor of each neuron, or of each channel, besides `gain`, which may then have the same shape.
    threshold : float or ndarray
        Factor of the threshold, to make up for what is lost elsewhere.
    below : float or ndarray
        Units of the threshold's mantissa to take off.
    clips : mapping of projection → float
        What `gain` is against in place of the largest magnitude, or of the clip that was trained.
    fine : bool
        Let the unit of threshold, bias and states be finer than that of the weights, so that rounding the threshold
        costs nothing.
    rounded : mapping of projection → ndarray
        Weights in units of the chip's, where they are to be rounded otherwise than each to the nearest.
    """

    gain: Any = 1.0
    rows: Array | None = None
    threshold: Any = 1.0
    below: Any = 0.0
    clips: Mapping[str, float] = field(default_factory=dict)
    fine: bool = True
    rounded: Mapping[str, Array] = field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """Whether there is nothing to rescale: `quantize` does as much by itself."""
        factors = any(np.any(one != 1.0) for one in (self.gain, self.threshold))
        return not (self.fine or factors or np.any(self.below) or self.rows is not None)


PLAIN = Scaling(fine=False)


def prepared(graph: FloatGraph, chip: Chip) -> tuple[FloatGraph, dict[str, str]]:
    """Return the graph in the rules that the chip has, and what only approximates the original, by population.

    Thresholds are folded if the chip shares them. Where there is only a reset to zero, and v outlives the spike, one by
    subtraction loses what was above the threshold; none at all, as of neurons that are read and seldom fire, loses v.
    A reset by a projection of the neuron's own stays, for the chip to refuse: two resets would be too many.
    """
    populations, projections, said = dict(graph.populations), dict(graph.projections), {}
    for name, population in graph.populations.items():
        incoming, folded = fold(population, graph.into(name), chip)
        projections.update(incoming)
        own = any(is_own_reset(p, folded) for p in incoming.values())
        if population.reset not in chip.reset.modes and "zero" in chip.reset.modes and not own:
            folded = replace(folded, reset="zero")
            if population.refractory_steps == 1 and population.max_spikes != 1:
                lost = "what is above the threshold" if population.reset == "subtract" else "all of v"
                said[name] = f"reset {population.reset} → zero: {lost} is lost where it fires"
        populations[name] = folded
    return replace(graph, populations=populations, projections=projections), said


def relaxed(chip: Chip) -> Chip:
    """Return the chip with parameters for each neuron and spike limits: spikes are the same, nothing is renamed."""
    own = {
        name: getattr(chip, name).model_copy(update={"shared": False})
        for name in ("threshold_mant", "decay_u", "decay_v", "bias_mant", "bias_exp")
    }
    return chip.model_copy(update={**own, "max_spikes": chip.max_spikes.model_copy(update={"value": True})})


def own_rows(graph: FloatGraph, name: str, chip: Chip) -> Shape | None:
    """Return the shape of the factors that the rows of a population may have, one for each; None: they share one.

    None as well where potentials are compared between neurons, which must keep a scale in common.
    """
    population, kinds = graph.populations[name], {p.kind for p in graph.into(name).values()}
    read = {graph.outputs[output].population for output in graph.readout.outputs} if graph.readout else set()
    tapped = {output.population for output in graph.outputs.values() if output.variable == "v"}
    if chip.threshold_mant.shared or "SumPool2d" in kinds or name in read | tapped:
        return None
    return population.shape[:1] if "Conv2d" in kinds else population.shape


def even_rows(graph: FloatGraph, name: str, shape: Shape) -> Array:
    """Return the factor of each row with which its largest weight becomes as large as that of any row."""
    population = graph.populations[name]
    reach = np.zeros(shape)
    for p in graph.into(name).values():
        size = np.abs(p.weight.astype(np.float64))
        if not size.any() or is_own_reset(p, population):
            continue
        if p.kind == "Conv2d":
            rows = size.max(axis=(1, 2, 3))
        elif p.kind == "Dense":
            rows = size.max(axis=1).reshape(population.shape)
        elif isinstance(p, FloatSparse):
            rows = np.zeros(population.n)
            np.maximum.at(rows, p.indices, size)
            rows = rows.reshape(population.shape)
        else:
            rows = per_neuron(size, population.shape)
        if rows.ndim > len(shape):
            rows = rows.max(axis=(1, 2))
        reach = np.maximum(reach, rows / size.max())
    return np.asarray(np.where(reach > 0, 1 / np.maximum(reach, 1 / MOST_ROW_FACTOR), 1.0))


def fitted_clips(graph: FloatGraph, name: str, chip: Chip) -> dict[str, float]:
    """Return the clip of least error of each projection into a population, unless one was trained."""
    return {
        p_name: float(least_error_clip(p.weight, chip.weight.format))
        for p_name, p in graph.into(name).items()
        if p.clip is None and p.weight.any()
    }


def is_own_reset(p: FloatProjection, population: FloatPopulation) -> bool:
    """Tell whether a projection takes a neuron's threshold off it after each spike: a reset that comes late."""
    if p.kind != "OneToOne" or p.source != p.target or not p.delay_steps:
        return False
    threshold, weight = (
        per_neuron(one.astype(np.float64), population.shape) for one in (population.v_threshold, p.weight)
    )
    return bool(np.allclose(-weight, threshold, rtol=1e-5, atol=0))


def rescaled(
    graph: FloatGraph, name: str, scaling: Scaling, chip: Chip
) -> tuple[FloatPopulation, dict[str, FloatProjection], int]:
    """Return a population and what reaches it for `quantize` to round, and how much finer its unit is to be.

    Where a population is reset by a projection of its own, the scale is moved, by a little, so that the chip's weights
    hold the threshold.

    Parameters
    ----------
    graph : FloatGraph
        Of `prepared`.
    name : str
    scaling : Scaling
    chip : Chip
    """
    population, incoming, limit = graph.populations[name], graph.into(name), chip.weight.format
    if scaling.plain:
        clipped = {p_name: replace(p, clip=scaling.clips.get(p_name, p.clip)) for p_name, p in incoming.items()}
        return population, clipped, 0
    factor = np.ones(()) if scaling.rows is None else scaling.rows * scaling.gain
    gain = float(scaling.gain) if scaling.rows is None else 1.0
    wanted = {p_name: scaling.clips.get(p_name, _clip(p)) / gain / limit.largest for p_name, p in incoming.items()}
    own = [p_name for p_name, p in incoming.items() if is_own_reset(p, population)]
    threshold, bias = (_times(one, factor, population.shape) for one in (population.v_threshold, population.bias))
    changed = _times(threshold, np.asarray(scaling.threshold, np.float64), population.shape)
    smallest = float(smallest_scale(max(threshold.max(), changed.max()), np.abs(bias).max(), chip))
    largest = float(min(threshold.min(), changed.min()) / (2 * chip.threshold_mant.minimum))  # with room for `below`
    others = [p_name for p_name in incoming if p_name not in own]
    base, found = shared_scale([wanted[one] for one in others], chip.weight_exp.format, smallest, largest)
    exponents = dict(zip(others, found, strict=True))
    if own:
        exponent = max(math.ceil(math.log2(threshold.max() / (base * limit.largest))), 0)
        exponents.update(dict.fromkeys(own, exponent))
        unit = base * (1 << exponent)
        held = np.maximum(limit.round(threshold / unit), limit.step)
        if scaling.rows is None:
            base *= float(threshold.max() / (held.max() * unit))
        else:
            factor = factor * _rows_of(held * unit / threshold, factor.shape)
    threshold, bias = (_times(one, factor, population.shape) for one in (population.v_threshold, population.bias))
    extent = float(threshold.min() / base), float(threshold.max() / base)
    finer = _finer(extent, smallest / base, exponents, chip) if scaling.fine else 0
    unit = base / (1 << finer)
    threshold = _times(threshold, np.asarray(scaling.threshold, np.float64), population.shape)
    below = _times(np.ones(()), np.asarray(scaling.below, np.float64) * unit, population.shape)
    if below.ndim != threshold.ndim and below.ndim and threshold.ndim:
        below, threshold = (per_neuron(one, population.shape) for one in (below, threshold))
    threshold = threshold - np.minimum(below, threshold / 8)
    projections = {}
    for p_name, p in incoming.items():
        scale = base * (1 << exponents[p_name])
        weight = _weights(p, factor, population.shape)
        if p_name in scaling.rounded:
            weight = scaling.rounded[p_name] * scale
        projections[p_name] = replace(p, weight=weight, clip=scale * limit.largest if p.weight.any() else None)
    return replace(population, v_threshold=threshold, bias=bias), projections, finer


def rescaled_graph(graph: FloatGraph, scalings: Mapping[str, Scaling], chip: Chip) -> tuple[FloatGraph, dict[str, int]]:
    """Return a graph of `prepared` with populations rescaled, and how much finer the unit of each is to be."""
    populations, projections, finer = dict(graph.populations), dict(graph.projections), {}
    for name, scaling in scalings.items():
        populations[name], incoming, finer[name] = rescaled(graph, name, scaling, chip)
        projections.update(incoming)
    return replace(graph, populations=populations, projections=projections), finer


def _clip(p: FloatProjection) -> float:
    return p.clip if p.clip is not None else float(np.abs(p.weight).max(initial=0))


def _times(parameter: Array, factor: Array, shape: Shape) -> Array:
    """Multiply a parameter by factors, each one number, one per channel or one per neuron."""
    parameter = parameter.astype(np.float64)
    if parameter.ndim and factor.ndim and parameter.ndim != factor.ndim:
        parameter, factor = per_neuron(parameter, shape), per_neuron(factor, shape)
    return np.asarray(parameter * factor)


def _rows_of(each: Array, shape: Shape) -> Array:
    """Return what is alike in a row as one for each row."""
    return each if each.shape == shape else np.broadcast_to(each if each.ndim == 0 else each[:, 0, 0], shape)


def _weights(p: FloatProjection, factor: Array, shape: Shape) -> Array:
    weight = p.weight.astype(np.float64)
    if factor.ndim == 0:
        return weight * factor
    divisor = 1 / (factor if p.kind == "Conv2d" else per_neuron(factor, shape))
    return np.asarray(fold_threshold(p.kind, weight, divisor, getattr(p, "indices", None)))


def _finer(extent: tuple[float, float], floor: float, exponents: dict[str, int], chip: Chip) -> int:
    """Return how many times to halve a unit in which thresholds are so large, so that rounding them costs nothing."""
    finer, (least, most) = 0, extent
    while (
        least * (1 << finer) < FINE_THRESHOLD
        and most * (2 << finer) <= chip.threshold_mant.maximum // 8
        and floor * (2 << finer) <= 1
        and max(exponents.values(), default=0) + finer < chip.weight_exp.maximum
    ):
        finer += 1
    return finer
