"""The neurons of NIR in steps of a convention: stages that keep a share of their state, then perhaps a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spikegraph.export.connectivity import Array, Shape, per_neuron
from spikegraph.export.errors import FileFormatError
from spikegraph.export.nir.conventions import Convention, Gain
from spikegraph.export.nir.layers import spread
from spikegraph.export.nir.maps import reduced
from spikegraph.export.nir.nodes import NirNode

FIRING = frozenset({"IF", "LIF", "CubaLIF", "Threshold"})
SILENT = frozenset({"I", "LI", "CubaLI"})


@dataclass(frozen=True, kw_only=True, eq=False)
class Neurons:
    """One node's neurons.

    Parameters
    ----------
    stages : tuple of ndarray of float64
        What each state keeps of itself in a step, the synaptic current before the membrane potential; each one number,
        one per channel or one per neuron.
    gain : ndarray of float64
        What the input is multiplied by.
    bias : ndarray of float64
        What is added to the last stage in every step.
    v_threshold, v_reset : ndarray, or None
        None: it does not fire; it has no reset.
    """

    stages: tuple[Array, ...]
    gain: Array
    bias: Array
    v_threshold: Array | None
    v_reset: Array | None


def neurons_of(node: NirNode, shape: Shape, convention: Convention, dt: float) -> Neurons:
    """Return a node's neurons, of this shape, as they go through steps of dt seconds.

    Raises
    ------
    FileFormatError
        A step is longer than a time constant allows; parameters do not fit the shape.
    """
    own = {name: spread(value, shape, f"{node.where}: {name}") for name, value in node.fields.items()}
    if node.type == "Threshold":
        none = np.zeros(())
        return Neurons(stages=(), gain=np.ones(()), bias=none, v_threshold=own["threshold"], v_reset=None)
    stages: list[Array] = []
    gain: Array = np.ones(())
    bias: Array = np.zeros(())
    tau = own.get("tau_mem", own.get("tau"))
    if "tau_syn" in own:
        stages.append(_kept(own["tau_syn"], convention, dt, f"{node.where}: tau_syn"))
        w_in = own.get("w_in", np.ones((), own["tau_syn"].dtype))
        gain = _added(convention.gain_synapse, w_in, own["tau_syn"], convention, dt, shape, f"{node.where}: w_in")
    if tau is None:
        stages.append(np.ones(()))
        added = _added(convention.gain_integrator, own["r"], None, convention, dt, shape, f"{node.where}: r")
    else:
        kept = _kept(tau, convention, dt, f"{node.where}: tau")
        stages.append(kept)
        rule = convention.gain if node.type in FIRING else convention.gain_silent
        added = _added(rule, own["r"], tau, convention, dt, shape, f"{node.where}: r")
        rest = _less(own["v_leak"], own.get("v_reset", np.zeros(())), shape)
        bias = _times(1 - kept, rest, shape)
    gain = _times(gain, added, shape)
    v_reset = own.get("v_reset", np.zeros((), np.float32)) if node.type in FIRING else None
    return Neurons(stages=tuple(stages), gain=gain, bias=bias, v_threshold=own.get("v_threshold"), v_reset=v_reset)


def _times(a: Array, b: Array, shape: Shape) -> Array:
    """Multiply parameters of neurons, each in its own of the shapes that it may have."""
    one = 0 in (a.ndim, b.ndim)
    return np.asarray(a * b) if one else reduced(per_neuron(a, shape) * per_neuron(b, shape), shape)


def _less(a: Array, b: Array, shape: Shape) -> Array:
    one = 0 in (a.ndim, b.ndim)
    return np.asarray(a - b) if one else reduced(per_neuron(a, shape) - per_neuron(b, shape), shape)


def _kept(tau: Array, convention: Convention, dt: float, where: str) -> Array:
    if (tau < 0).any() and not convention.clamped:
        raise FileFormatError(where, f"holds the time {tau.min()}", "give times of at least 0, or another convention")
    kept = convention.kept(tau, dt)
    if (kept < 0).any():
        longest = float(tau[kept < 0].min()) if tau.ndim else float(tau)
        what = f"is {longest:g} s, less than a step of {dt:g} s, which the convention {convention.name} cannot take"
        raise FileFormatError(where, what, "give a smaller dt, or another convention, such as exact")
    return kept


def _added(
    rule: Gain, r: Array, tau: Array | None, convention: Convention, dt: float, shape: Shape, where: str
) -> Array:
    one_each = r.shape != (() if tau is None else tau.shape)
    each_r, each_tau = (a if a is None or not one_each else np.array(per_neuron(a, shape)) for a in (r, tau))
    added = convention.added(rule, each_r, each_tau, dt)  # type: ignore[arg-type]
    if not np.isfinite(added).all():
        what = "and the time constant make steps that are not finite"
        raise FileFormatError(where, what, "write r and tau that are finite and above 0, or both infinite")
    return reduced(added, shape)
