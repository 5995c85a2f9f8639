"""How large the numbers of a graph can get, for any number of steps: what decides the types of an ONNX model.

A sum is computed in floating point only where every partial sum is a whole number that the type holds, so that no order
of summation rounds; states are wrapped and clipped only where they can leave their 24 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from spikegraph.export import fixed
from spikegraph.export.bounds import weighted_sum_bounds
from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.errors import Problem, RefusalError
from spikegraph.export.graph import Dense, Graph, OneToOne, Population, Projection, Sparse, SumPool2d, integer_array
from spikegraph.export.onnx.nodes import DOUBLE, FLOAT, INT32, INT64
from spikegraph.export.weights import common_twos

_WHOLE_FLOAT, _WHOLE_DOUBLE = 1 << 24, 1 << 53
_ROOM_32, _ROOM_64 = 1 << 31, 1 << 62
LARGEST_MATRIX = 1 << 28  # entries of a matrix that stands for stored synapses
LARGEST_FILE = (1 << 31) - (1 << 24)  # bytes of constants; protobuf ends at 2^31


class OnnxRefusalError(RefusalError):
    """A graph that an ONNX model cannot hold; carries every reason, not only the first."""

    said = "ONNX cannot hold this graph"


@dataclass(frozen=True, kw_only=True, eq=False)
class SumRange:
    """The weighted sum of a projection, before its shift.

    Parameters
    ----------
    weight : ndarray
        Without the power of two that all weights share. Of `Sparse` one for each pair of neurons.
    places : ndarray of int32, or None
        Of `Sparse`: where in the matrix (source, target) each weight is, counted through in C order.
    exponent : int
        `weight_exp` plus that power.
    sum_type : int
        ONNX type in which it is added up: INT32 (of int8 weights and binary spikes), FLOAT or DOUBLE.
    integer_type : int
        Type to go on with: INT32 or INT64.
    """

    weight: Array
    places: Array | None = None
    exponent: int
    sum_type: int
    integer_type: int


@dataclass(frozen=True, kw_only=True)
class NeuronRange:
    """The states of a population.

    Parameters
    ----------
    current_type : int
        ONNX type of u before it is wrapped: INT32 or INT64.
    u, v : int
        Largest magnitudes, wrapped and saturated.
    wraps, saturates : bool
        Whether u, v can leave their range.
    """

    current_type: int
    u: int
    v: int
    wraps: bool
    saturates: bool


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """The numbers of a graph, projection by projection and population by population."""

    sums: dict[str, SumRange]
    neurons: dict[str, NeuronRange]


def ranges(graph: Graph) -> Ranges:
    """Choose the types for a legal graph.

    Raises
    ------
    OnnxRefusalError
        A number does not fit into any type, a matrix or the file gets too large, or the graph is pipelined.
    """
    problems = [
        Problem(where=name, what=f"start_step = {p.start_step}: the graph is pipelined", remedy="export the original")
        for name, p in graph.populations.items()
        if p.start_step
    ]
    sums: dict[str, SumRange] = {}
    neurons: dict[str, NeuronRange] = {}
    for name, population in graph.populations.items():
        reach, largest = np.zeros(population.shape), {}
        for p_name, p in graph.into(name).items():
            low, high = weighted_sum_bounds(graph, p)
            each = np.maximum(-low, high)
            largest[p_name] = int(each.max())
            reach += np.ldexp(each, p.weight_exp + fixed.ALIGN_BITS) + (1 << fixed.ALIGN_BITS) * (p.weight_exp < 0)
        if reach.max() >= _ROOM_64:
            what = f"x << {fixed.ALIGN_BITS} may reach {reach.max():.2g}, too much for 64 bits"
            problems.append(Problem(where=name, what=what, remedy="lower weights, weight_exp or the input's range"))
        neurons[name] = _neuron_range(population, reach)
        for p_name, largest_sum in largest.items():
            found = _sum_problems(graph, p_name, largest_sum)
            problems += found
            if not found:
                wide = neurons[name].current_type == INT64
                sums[p_name] = _sum_range(graph, graph.projections[p_name], largest_sum, wide=wide)
    n_bytes = sum(s.weight.nbytes + (0 if s.places is None else s.places.nbytes) for s in sums.values())
    if n_bytes > LARGEST_FILE:
        what = f"has {n_bytes:,} bytes of weights, and an ONNX file holds {LARGEST_FILE:,}"
        problems.append(Problem(where="graph", what=what, remedy="use narrower weights, or fewer"))
    if problems:
        raise OnnxRefusalError(problems)
    return Ranges(sums=sums, neurons=neurons)


def per_axis(parameter: Array, shape: Shape) -> Array:
    """Shape a parameter, as int64, so that it broadcasts over (B, *shape); one number where all are equal."""
    wide = parameter.astype(np.int64)
    if wide.min() == wide.max():
        return np.array(wide.flat[0])
    return wide.reshape(-1, 1, 1) if wide.ndim == 1 and len(shape) == 3 else wide


def _sum_problems(graph: Graph, name: str, largest: int) -> list[Problem]:
    p, problems = graph.projections[name], []
    if largest >= _WHOLE_DOUBLE and not isinstance(p, OneToOne):
        what = f"its sums may reach {largest:,}, beyond what float64 adds without rounding (2^53)"
        problems.append(Problem(where=name, what=what, remedy="lower the weights or the input's range"))
    n = prod(graph.shape_of(p.source)) * prod(graph.shape_of(p.target))
    if isinstance(p, Sparse) and n > LARGEST_MATRIX:
        what = f"its matrix has {n:,} entries when the model is loaded, of {LARGEST_MATRIX:,} allowed"
        problems.append(Problem(where=name, what=what, remedy="use the native engine, or populations that are smaller"))
    return problems


def _sum_range(graph: Graph, p: Projection, largest: int, *, wide: bool) -> SumRange:
    places = None
    weight, twos = _without_twos(p.weight)
    if isinstance(p, Sparse):
        places, weight = _joined(p, weight, prod(graph.shape_of(p.target)))
    largest >>= twos
    source = graph.inputs.get(p.source)
    binary = source is None or not source.graded
    if isinstance(p, SumPool2d):
        spike = max(-source.min_value, source.max_value) if source else 1
        added = int(np.prod(p.kernel_size)) * spike  # the weight comes after
    else:
        added = largest
    in_int8 = isinstance(p, Dense | Sparse) and binary and weight.dtype == np.int8 and largest < _ROOM_32
    return SumRange(
        weight=weight,
        places=places,
        exponent=p.weight_exp + twos,
        sum_type=INT32 if in_int8 else FLOAT if added < _WHOLE_FLOAT else DOUBLE,
        integer_type=INT64 if wide or largest >= _ROOM_32 // 2 else INT32,
    )


def _joined(p: Sparse, weight: Array, n_target: int) -> tuple[Array, Array]:
    """Add up the synapses between the same two neurons."""
    rows = np.repeat(np.arange(len(p.indptr) - 1), np.diff(p.indptr))
    places, position = np.unique(rows * n_target + p.indices, return_inverse=True)
    joined = np.zeros(places.shape, np.int64)
    np.add.at(joined, position, weight)
    return places.astype(np.int32), integer_array(joined, "weight")


def _without_twos(weight: Array) -> tuple[Array, int]:
    """Divide weights by the largest power of two that divides all; return them in the narrowest type, and its log."""
    twos = common_twos(weight)
    return integer_array(weight >> twos, "weight"), twos


def _neuron_range(population: Population, reach: Array) -> NeuronRange:
    """Bound states by what each step adds: a decay keeps (4096 - d) / 4096 of all that was added before."""
    decay_u, decay_v, bias_mant, bias_exp = (
        per_axis(getattr(population, name), population.shape)
        for name in ("decay_u", "decay_v", "bias_mant", "bias_exp")
    )
    u = float((reach * fixed.DECAY_ONE / decay_u).max())
    u_after = min(u, fixed.STATE_HALF)
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0: nothing is added and nothing decays
        v = float(np.nan_to_num((u_after + np.abs(bias_mant << bias_exp)) * fixed.DECAY_ONE / decay_v, nan=0.0).max())
    return NeuronRange(
        current_type=INT32 if reach.max() + fixed.STATE_HALF < _ROOM_32 else INT64,
        u=ceil(u_after),
        v=ceil(min(v, fixed.STATE_MAX)),
        wraps=u > fixed.STATE_MAX,
        saturates=v > fixed.STATE_MAX,
    )
