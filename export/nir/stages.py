"""A population as nodes of NIR: filters and neurons whose constants mean what it does, under a convention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array, Shape, per_neuron
from spikegraph.export.float_graph import FloatPopulation
from spikegraph.export.nir.conventions import Convention, Gain
from spikegraph.export.time_constants import kept_share

ALMOST_ALL = 1 - 2.0**-53  # what is kept where nothing leaks, among neurons that do leak


@dataclass(frozen=True, kw_only=True, eq=False)
class Stages:
    """The nodes of one population, first to last.

    Parameters
    ----------
    nodes : mapping of suffix → fields
        The field `type` is NIR's; the suffix "" is that of the node that carries the population's name.
    biased : str
        The suffix of the node whose input the bias may be added to; the first where there is no current.
    almost : bool
        Whether neurons that do not leak stand among others that do, and now leak by 2^-53.
    """

    nodes: Mapping[str, Mapping[str, Any]]
    biased: str
    almost: bool


def stages_of(
    population: FloatPopulation,
    shape: Shape,
    convention: Convention,
    dt: tuple[float, float],
    *,
    fires: bool,
    bias: bool,
) -> Stages:
    """Return the nodes of a population.

    Parameters
    ----------
    population : FloatPopulation
    shape : tuple
        That of NIR's arrays: of as many neurons.
    convention : Convention
        Under which the nodes mean the same.
    dt : (float, float)
        Seconds per step of the graph, and of the file.
    fires : bool
        False: only its potential is read.
    bias : bool
        Whether the bias is written as a v_leak.
    """
    step, file_dt = dt

    def full(value: Any) -> Array:
        array = np.asarray(value)
        spread = per_neuron(array, population.shape) if array.ndim else np.broadcast_to(array, population.shape)
        return np.array(spread).reshape(shape)

    kept_u, kept_v = (full(kept_share(tau, step)) for tau in (population.tau_syn, population.tau_mem))
    has_current, leaky_v = bool(kept_u.any()), leaks(population, step)
    almost = bool((kept_u == 1).any()) or (leaky_v and bool((kept_v == 1).any()))
    keeps_reset = fires and population.reset != "none"
    v_threshold = full(population.v_threshold)
    if not convention.strict:
        v_threshold = np.nextafter(v_threshold, v_threshold.dtype.type(np.inf))

    def leaky(kept: Array, gain: Gain, names: tuple[str, str]) -> dict[str, Array]:
        tau = convention.tau(np.minimum(kept, ALMOST_ALL), file_dt)
        return {names[0]: tau, names[1]: convention.r(gain, tau, file_dt, shape)}

    firing = {"v_threshold": v_threshold} if keeps_reset else {}  # v_reset is 0 where it is missing
    integrator: dict[str, Any] = {"r": convention.r(convention.gain_integrator, None, file_dt, shape)}
    gain = convention.gain if keeps_reset else convention.gain_silent
    v_leak = full(population.bias) / (1 - np.minimum(kept_v, ALMOST_ALL)) if bias else np.zeros(shape)
    nodes: dict[str, dict[str, Any]] = {}
    if has_current and leaky_v:
        current = leaky(kept_u, convention.gain_synapse, ("tau_syn", "w_in"))
        kind = "CubaLIF" if keeps_reset else "CubaLI"
        main = {"type": kind, **current, **leaky(kept_v, gain, ("tau_mem", "r")), "v_leak": v_leak, **firing}
    else:
        if has_current:
            current = leaky(kept_u, convention.gain_silent, ("tau", "r"))
            nodes["_current"] = {"type": "LI", **current, "v_leak": np.zeros(shape)}
        if leaky_v:
            potential = leaky(kept_v, gain, ("tau", "r"))
            main = {"type": "LIF" if keeps_reset else "LI", **potential, "v_leak": v_leak, **firing}
        else:
            main = {"type": "IF" if keeps_reset else "I", **integrator, **firing}
    biased = ""
    if keeps_reset or not fires:
        nodes[""] = main
    else:
        biased = "_potential"
        nodes[biased] = main
        nodes[""] = {"type": "Threshold", "threshold": v_threshold}
    return Stages(nodes=nodes, biased=biased, almost=almost)


def leaks(population: FloatPopulation, step: float) -> bool:
    """Tell whether any neuron leaks, so that a v_leak can stand for a bias."""
    return bool((np.asarray(kept_share(population.tau_mem, step)) < 1).any())


def bias_by_channel(bias: Array, shape: Shape) -> Array | None:
    """Return the bias of each channel, if its neurons have the same."""
    each = per_neuron(bias, shape)
    if len(shape) != 3:
        return None
    first = each[:, :1, :1]
    return np.array(first.ravel()) if (each == first).all() else None
