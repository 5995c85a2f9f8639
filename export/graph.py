"""The spike graph: integer nodes and the graph that holds them. Everything else reads or makes one of these.

A graph is inputs, populations, projections and outputs, each in a dict by name. Nodes are frozen, copy their arrays and
make them read-only (what is read-only already is shared: see `connectivity.frozen`). What they mean is in
docs/semantics.md; whether they are legal, check.py tells.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from math import prod
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import numpy as np

from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.connectivity import (
    Array,
    Conv2dConnectivity,
    DenseConnectivity,
    OneToOneConnectivity,
    Shape,
    SparseConnectivity,
    SumPool2dConnectivity,
    frozen,
)
from spikegraph.export.errors import GraphError, Problem

Reset = Literal["zero", "subtract", "none"]
RESETS: tuple[Reset, ...] = ("zero", "subtract", "none")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*\Z")
NodeT = TypeVar("NodeT")


def integer_array(value: Any, where: str) -> Array:
    """Return a read-only array in the narrowest signed integer type that holds every value; refuse all but integers.

    See `spikegraph.export.connectivity.frozen` for when it is no copy.
    """
    array = np.asarray(value)
    if (array.dtype.kind == "f" or array.dtype == np.uint64) and (np.abs(array) >= 2**63).any():
        what, remedy = f"holds {array.max()}, too much for 64 bits", "see the ranges in docs/semantics.md"
        raise GraphError([Problem(where=where, what=what, remedy=remedy)])
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.rint(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        what = "holds NaN or infinity" if array.dtype.kind == "f" and not np.isfinite(array).all() else "is not integer"
        raise GraphError(
            [Problem(where=where, what=f"{what} (dtype {array.dtype})", remedy="quantize the graph first")]
        )
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    fitting = (t for t in (np.int8, np.int16, np.int32) if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return frozen(array, next(fitting, np.int64))


@dataclass(frozen=True, kw_only=True)
class Input:
    """A source of spikes from outside.

    Parameters
    ----------
    shape : (n,) or (c, h, w)
    min_value, max_value : int
        The integers a spike may carry besides 0 (no spike). 0 and 1: binary spikes; anything else: graded.
    """

    shape: Shape
    min_value: int = 0
    max_value: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @property
    def n(self) -> int:
        """Number of lines."""
        return prod(self.shape)

    @property
    def graded(self) -> bool:
        """Whether a spike carries a number."""
        return (self.min_value, self.max_value) != (0, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Population:
    """Current-based leaky integrate-and-fire neurons, in integers.

    In each step, for the input sum x::

        u = wrap24(decay(u, decay_u) + (x << 6))
        v = saturate24(decay(v, decay_v) + u + (bias_mant << bias_exp))
        s = v > threshold_mant << 6
        reset v where s

    Every parameter but `reset`, `refractory_steps` and `max_spikes` may be one number, one per channel (c,) or one per
    neuron (the population's shape).

    Parameters
    ----------
    shape : (n,) or (c, h, w)
    decay_u : int, 1…4096
        Share of u forgotten in a step, unit 1/4096; 4096: no memory, u = x << 6.
    decay_v : int, 0…4096
        Share of v forgotten in a step, unit 1/4096; 0: no leak.
    threshold_mant : int, 1…131071
        Threshold in units of 64; a neuron fires when v is strictly greater.
    bias_mant : int, -4096…4095
    bias_exp : int, 0…7
    reset : "zero", "subtract" or "none"
    refractory_steps : int, at least 1
        Counts the spike step; for the rest v is held at 0. 1: no pause.
    max_spikes : int
        After so many spikes v is held at 0 until the state is cleared; 0: no limit, 1: one-spike neurons.
    start_step : int
        The step in which the sample starts here: 0 by the meaning of a graph; its depth after `pipelined`.

    Not modelled: learning, dendritic trees, noise, thresholds that adapt.
    Source: Davies et al., IEEE Micro 38(1), 2018, and lava-nc 0.10.0 `bit_accurate_loihi`.
    """

    shape: Shape
    decay_u: Any = 4096
    decay_v: Any = 0
    threshold_mant: Any
    bias_mant: Any = 0
    bias_exp: Any = 0
    reset: Reset = "zero"
    refractory_steps: int = 1
    max_spikes: int = 0
    start_step: int = 0

    PARAMETERS = ("decay_u", "decay_v", "threshold_mant", "bias_mant", "bias_exp")

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        for name in self.PARAMETERS:
            object.__setattr__(self, name, integer_array(getattr(self, name), name))

    @property
    def n(self) -> int:
        """Number of neurons."""
        return prod(self.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class _IntegerSynapses:
    """What every integer projection has besides its geometry.

    Parameters
    ----------
    weight : ndarray of int
    weight_exp : int, -8…7
        The sum is shifted by it: left if positive, right (flooring) if negative.
    """

    weight: Array
    weight_exp: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", integer_array(self.weight, "weight"))
        geometry = getattr(super(), "__post_init__", None)
        if geometry is not None:
            geometry()


@dataclass(frozen=True, kw_only=True, eq=False)
class Dense(_IntegerSynapses, DenseConnectivity):
    """All-to-all synapses with integer weights (out, in)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv2d(_IntegerSynapses, Conv2dConnectivity):
    """Convolution with integer weights (out, in / groups, kernel_h, kernel_w)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SumPool2d(_IntegerSynapses, SumPool2dConnectivity):
    """Sum pooling with one integer weight."""

    weight: Array = field(default_factory=lambda: np.array(1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Sparse(_IntegerSynapses, SparseConnectivity):
    """Stored synapses in CSR over the source, with integer weights."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OneToOne(_IntegerSynapses, OneToOneConnectivity):
    """Neuron i to neuron i with integer weights."""


Projection = Dense | Conv2d | SumPool2d | Sparse | OneToOne
PROJECTIONS: dict[str, type[Projection]] = {kind.kind: kind for kind in (Dense, Conv2d, SumPool2d, Sparse, OneToOne)}


@dataclass(frozen=True, kw_only=True)
class Output:
    """A named tap on a population.

    Parameters
    ----------
    population : str
    variable : "s" or "v"
        Its spikes, or its membrane potential for a readout that does not spike.
    """

    population: str
    variable: Literal["s", "v"] = "s"


def free_name(name: str, taken: Container[str]) -> str:
    """Return a name that is not taken: this one, or the first of NAME_2, NAME_3 and so on."""
    free, n = name, 1
    while free in taken:
        n += 1
        free = f"{name}_{n}"
    return free


def named(nodes: Mapping[str, NodeT], where: str) -> Mapping[str, NodeT]:
    """Return a read-only copy of a dict of nodes; refuse names that a file cannot hold."""
    for name in nodes:
        if not NAME.match(name):
            what = f"the name {name!r} is not letters, digits, '_', '.' or '-'"
            raise GraphError([Problem(where=where, what=what, remedy="rename the node")])
    return MappingProxyType(dict(nodes))


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """An integer spike graph.

    Parameters
    ----------
    inputs, populations, projections, outputs : dict of nodes by name
        Inputs and populations share one name space.
    n_steps : int
        Length of a sample's window in steps.
    coding : InputCoding, optional
        How data become input spikes.
    readout : Readout, optional
        How an output becomes a decision.
    provenance : dict
        What made the graph, from what, with which seed and data: plain JSON.
    """

    inputs: Mapping[str, Input]
    populations: Mapping[str, Population]
    projections: Mapping[str, Projection]
    outputs: Mapping[str, Output]
    n_steps: int
    coding: InputCoding | None = None
    readout: Readout | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("inputs", "populations", "projections", "outputs"):
            object.__setattr__(self, name, named(getattr(self, name), name))

    def shape_of(self, name: str) -> Shape:
        """Shape of an input or population."""
        return (self.inputs[name] if name in self.inputs else self.populations[name]).shape

    def into(self, population: str) -> dict[str, Projection]:
        """Projections that end at `population`, by name."""
        return {name: p for name, p in self.projections.items() if p.target == population}
