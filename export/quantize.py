"""Float graph → integer graph for a stated chip, with a report of the error that it made.

A population may be rescaled at will: dividing its weights, bias and threshold by the same number changes no spike. So
the weights choose the scale (their largest magnitude becomes the largest weight of the chip) and threshold and bias
follow. Projections of different size into one population differ by powers of two, held by their weight exponents.

The arithmetic is in the small functions at the top. They use operators and methods that NumPy arrays and torch tensors
share, and quantization-aware training calls them on its parameters: a network is trained with the very integers that
`quantize` writes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.check import require_legal
from spikegraph.export.chips import Chip
from spikegraph.export.connectivity import Array, per_neuron
from spikegraph.export.errors import ChipError
from spikegraph.export.fixed import IntegerFormat
from spikegraph.export.float_graph import FloatGraph, FloatPopulation, FloatProjection
from spikegraph.export.graph import PROJECTIONS, Graph, Population, Projection
from spikegraph.export.one_spike import one_spike
from spikegraph.export.split import split_populations
from spikegraph.export.time_constants import decay_constant, kept_share

FEW_BITS = 4  # of a weight: the largest magnitudes are then best clipped, for the sake of all others


def weight_scale(weight: Any, limit: IntegerFormat, clip: Any = None) -> Any:
    """Return the size of weight 1: the one that makes `clip` the chip's largest weight.

    Without `clip`, a number of the weight's own type, the largest magnitude (then 0 if all weights are 0).
    """
    return (abs(weight).max() if clip is None else clip) / limit.largest


def quantize_weight(weight: Any, scale: Any, limit: IntegerFormat) -> Any:
    """Return weight / scale as representable integers (in a float array or tensor)."""
    return limit.round(weight / scale)


def least_error_clip(weight: Array, limit: IntegerFormat) -> Any:
    """Return the clip with which the sum of the cubed errors of the weights is least; of the weight's own type.

    Cubed: squares clip more, and the few large weights that are then lost cost more accuracy (docs/recipes.md). A
    search from 1/1024 of the largest magnitude up to it: in steps of a ninth, then in finer ones around the best.
    """
    largest = abs(weight).max()
    shares = np.geomspace(1, 2**-10, 64)

    def error(share: float) -> float:
        scale = weight_scale(weight, limit, weight.dtype.type(share) * largest)
        error = np.abs(quantize_weight(weight, scale, limit) * scale - weight).astype(np.float64)
        return float((error * error * error).sum())

    for _ in range(3):
        best = int(np.argmin([error(share) for share in shares]))
        nearest = shares[max(best - 1, 0)], shares[min(best + 1, len(shares) - 1)]
        shares = np.append(np.linspace(*nearest, 16), shares[best])
    return weight.dtype.type(min(shares, key=error)) * largest


def quantize_threshold(v_threshold: Any, scale: Any, limit: IntegerFormat) -> Any:
    """Return the threshold mantissa: a mantissa of 1 is as large as a weight of 1."""
    return limit.round(v_threshold / scale)


def quantize_bias(bias: Any, scale: Any, mant: IntegerFormat, exp: IntegerFormat) -> tuple[Any, int]:
    """Return mantissas and their shared exponent, the smallest with which every mantissa fits."""
    in_v = bias / scale * (1 << fixed.ALIGN_BITS)
    exponent = exp.minimum
    while exponent < exp.maximum and not mant.holds((in_v / (1 << exponent)).round()).all():
        exponent += 1
    return mant.round(in_v / (1 << exponent)), exponent


def smallest_scale(largest_threshold: Any, largest_bias: Any, chip: Chip) -> Any:
    """Return the smallest scale with which a population's largest threshold and bias (magnitudes) still fit."""
    widest_bias = chip.bias_mant.format.largest << chip.bias_exp.maximum
    return max(largest_threshold / chip.threshold_mant.maximum, largest_bias * (1 << fixed.ALIGN_BITS) / widest_bias)


def shared_scale(
    scales: Sequence[Any], weight_exp: IntegerFormat, smallest: Any = 0.0, largest: Any = math.inf
) -> tuple[Any, list[int]]:
    """Return the scale of a population and the weight exponent of each of its projections.

    The smallest of the projections' scales is the population's, unless its threshold or bias needs a larger one
    (`smallest`), or its threshold a smaller one (`largest`); larger ones are made of it by shifting left, which loses
    nothing.
    """
    positive = [scale for scale in scales if scale > 0]
    if not positive:
        return (smallest if smallest > 0 else 1.0), [0 for _ in scales]
    least = max(max(positive) / (1 << weight_exp.maximum), smallest)
    base = max(min(positive), least)
    while largest < base < math.inf and base / 2 >= least:  # a weight of few bits may be larger than the threshold
        base = base / 2
    exponents = []
    for scale in scales:
        exponent = 0
        while scale > base * (1 << exponent):
            exponent += 1
        exponents.append(exponent)
    return base, exponents


def folds(kind: str, v_threshold: Any) -> bool:
    """Tell whether the synapses onto each neuron can be divided by its threshold: see `fold_threshold`."""
    own = kind in ("Dense", "Sparse", "OneToOne") or (kind == "Conv2d" and v_threshold.ndim == 1)
    return own or bool(v_threshold.min() == v_threshold.max())


def threshold_divisors(kinds: Sequence[str], v_threshold: Any, each: Any, chip: Chip) -> list[Any] | None:
    """Return the thresholds that the weights of each projection into a population are divided by.

    Parameters
    ----------
    kinds : sequence of str
        Of the projections.
    v_threshold : ndarray or Tensor
        One, one for each channel, or one for each neuron of the population.
    each : ndarray or Tensor
        The same, as it stands beside the population's neurons.
    chip : Chip

    Returns
    -------
    list, or None
        None if nothing is to be divided: one threshold serves all, the chip holds them all, or they cannot be folded.
    """
    divisors = [v_threshold if kind == "Conv2d" else each for kind in kinds]
    if chip.threshold_mant.shared and v_threshold.ndim and all(map(folds, kinds, divisors)):
        return divisors
    return None


def fold_threshold(kind: str, weight: Any, v_threshold: Any, indices: Any = None) -> Any:
    """Divide the synapses onto each neuron by its threshold, for chips whose populations share one threshold.

    Parameters
    ----------
    kind : str
        Kind of projection.
    weight : ndarray or Tensor
    v_threshold : ndarray or Tensor
        One for each neuron of the target, in its shape (n,) or (c, h, w); for "Conv2d" also one for each channel (c,).
    indices : ndarray, optional
        Target of each synapse, for "Sparse".

    Raises
    ------
    ChipError
        The projection shares weights between neurons whose thresholds differ.
    """
    if not folds(kind, v_threshold):
        what = "shares weights between neurons whose thresholds differ, and the chip shares thresholds"
        raise ChipError(
            kind, what, "train with one threshold per layer or channel, or choose a chip with one per neuron"
        )
    if kind == "Dense":
        return weight / v_threshold.reshape(-1, 1)
    if kind == "Conv2d" and v_threshold.ndim == 1:
        return weight / v_threshold.reshape(-1, 1, 1, 1)
    if kind == "Sparse":
        return weight / v_threshold.reshape(-1)[indices]
    if kind == "OneToOne":
        one_per_channel = weight.ndim == 1 and v_threshold.ndim == 3
        return (weight.reshape(-1, 1, 1) if one_per_channel else weight) / v_threshold
    return weight / v_threshold.reshape(-1)[0]


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


def weight_bits_of(chip: Chip) -> int:
    """Return the width of a chip's weights, counted in steps."""
    return int(math.log2((chip.weight.maximum - chip.weight.minimum) // chip.weight.step + 1))


def fold(
    population: FloatPopulation, incoming: dict[str, FloatProjection], chip: Chip
) -> tuple[dict[str, FloatProjection], FloatPopulation]:
    """Return what reaches a population, and the population, with thresholds folded if the chip shares what differs."""
    v_threshold = population.v_threshold
    each, bias = per_neuron(v_threshold, population.shape), per_neuron(population.bias, population.shape)
    divisors = threshold_divisors([p.kind for p in incoming.values()], v_threshold, each, chip)
    if divisors is None:  # populations that the chip cannot hold are split later
        return incoming, population
    weights = {
        name: fold_threshold(p.kind, p.weight, divisor, getattr(p, "indices", None))
        for (name, p), divisor in zip(incoming.items(), divisors, strict=True)
    }
    folded = replace(population, v_threshold=np.ones((), v_threshold.dtype), bias=bias / each)
    return {name: replace(p, weight=weights[name]) for name, p in incoming.items()}, folded


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
