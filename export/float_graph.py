"""The float spike graph: what training produces, before quantization.

Float nodes are other types than the integer nodes of graph.py, so that one can never be taken for the other; the one
way between them is `quantize`. Time constants are in seconds; `FloatGraph.dt` says how long a step is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.connectivity import (
    ADDED,
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
from spikegraph.export.graph import Input, Output, Reset, named


def float_array(value: Any, where: str) -> Array:
    """Copy `value` into a read-only float array (float32 stays float32); refuse NaN and infinity."""
    array = np.asarray(value)
    array = array if array.dtype == np.float32 else array.astype(np.float64)
    if not np.isfinite(array).all():
        problem = Problem(where=where, what="holds NaN or infinity", remedy="look at the training run that made it")
        raise GraphError([problem])
    return frozen(array)


def time_constant(value: Any) -> float | Array:
    """Return one time constant as a number, several as a read-only array of float64, in which decays are computed."""
    array = np.asarray(value, np.float64)
    if array.ndim:
        return frozen(array)
    return value if isinstance(value, int | float) else float(array)


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatPopulation:
    """Current-based leaky integrate-and-fire neurons, in floating point.

    In each step, for the input sum x::

        u = u · exp(-dt / tau_syn) + x
        v = v · exp(-dt / tau_mem) + u + bias
        s = v > v_threshold
        reset v where s

    Parameters
    ----------
    shape : (n,) or (c, h, w)
    tau_syn : float, seconds; one, one per channel (c,) or one per neuron
        0: no memory, u = x.
    tau_mem : float, seconds; likewise
        inf: no leak.
    v_threshold : float > 0; likewise
    bias : float; likewise
    reset, refractory_steps, max_spikes
        As in `spikegraph.export.graph.Population`.
    """

    shape: Shape
    tau_syn: float | Array = 0.0
    tau_mem: float | Array = float("inf")
    v_threshold: Any = 1.0
    bias: Any = 0.0
    reset: Reset = "zero"
    refractory_steps: int = 1
    max_spikes: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        for name in ("tau_syn", "tau_mem"):
            object.__setattr__(self, name, time_constant(getattr(self, name)))
        object.__setattr__(self, "v_threshold", float_array(self.v_threshold, "v_threshold"))
        object.__setattr__(self, "bias", float_array(self.bias, "bias"))

    @property
    def n(self) -> int:
        """Number of neurons."""
        return prod(self.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class _FloatSynapses:
    """What every float projection has besides its geometry.

    Parameters
    ----------
    weight : ndarray of float32 or float64
    clip : float > 0, optional
        The magnitude that becomes the largest weight of a chip: weights beyond are clipped. None: the largest there is.
        Where thresholds are folded into the weights, it is of weight / threshold. Held in the type of the weight.
    """

    weight: Array
    clip: float | None = field(default=None, metadata=ADDED)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", float_array(self.weight, "weight"))
        if self.clip is not None:
            object.__setattr__(self, "clip", float(self.weight.dtype.type(self.clip)))
        geometry = getattr(super(), "__post_init__", None)
        if geometry is not None:
            geometry()


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatDense(_FloatSynapses, DenseConnectivity):
    """All-to-all synapses with float weights (out, in)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatConv2d(_FloatSynapses, Conv2dConnectivity):
    """Convolution with float weights (out, in / groups, kernel_h, kernel_w)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatSumPool2d(_FloatSynapses, SumPool2dConnectivity):
    """Sum pooling with one float weight."""

    weight: Array = field(default_factory=lambda: np.array(1.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatSparse(_FloatSynapses, SparseConnectivity):
    """Stored synapses in CSR over the source, with float weights."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatOneToOne(_FloatSynapses, OneToOneConnectivity):
    """Neuron i to neuron i with float weights."""


FloatProjection = FloatDense | FloatConv2d | FloatSumPool2d | FloatSparse | FloatOneToOne
FLOAT_PROJECTIONS: dict[str, type[FloatProjection]] = {
    kind.kind: kind for kind in (FloatDense, FloatConv2d, FloatSumPool2d, FloatSparse, FloatOneToOne)
}


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatGraph:
    """A float spike graph; fields as in `spikegraph.export.graph.Graph`.

    Parameters
    ----------
    dt : float
        Seconds per step: what turns time constants into decays.
    """

    inputs: Mapping[str, Input]
    populations: Mapping[str, FloatPopulation]
    projections: Mapping[str, FloatProjection]
    outputs: Mapping[str, Output]
    n_steps: int
    dt: float = 1e-3
    coding: InputCoding | None = None
    readout: Readout | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("inputs", "populations", "projections", "outputs"):
            object.__setattr__(self, name, named(getattr(self, name), name))

    def shape_of(self, name: str) -> Shape:
        """Shape of an input or population."""
        return (self.inputs[name] if name in self.inputs else self.populations[name]).shape

    def into(self, population: str) -> dict[str, FloatProjection]:
        """Projections that end at `population`, by name."""
        return {name: p for name, p in self.projections.items() if p.target == population}
