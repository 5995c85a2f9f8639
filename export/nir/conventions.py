"""How frameworks make steps of NIR's continuous time: one preset for each.

NIR writes differential equations and no step. For each stage of a neuron, τ dv/dt = (v_leak - v) + r · x, a framework
computes v = kept · v + gain · x + (1 - kept) · v_leak, and this page of presets says with which `kept` and `gain`; then
when a spike is fired, and what it leaves of v.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from spikegraph.export.connectivity import Array
from spikegraph.export.errors import OptionError
from spikegraph.export.graph import Reset
from spikegraph.export.time_constants import kept_share, time_constant_of

Gain = Literal["step", "held", "r", "whole", "kept"]


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How one framework steps through time.

    Parameters
    ----------
    name, title : str
    decay : "exponential" or "euler"
        What is kept of a state over one step: exp(-dt / τ), or 1 - dt / τ.
    gain : "step", "held", "r", "whole" or "kept"
        What r · x adds in one step to v of a neuron that leaks and fires (LIF, CubaLIF). step: r · dt / τ. held:
        r · (1 - kept), the input held over the step. r: r itself. whole: r · dt / (τ · kept). kept: r · kept.
    gain_silent, gain_synapse : likewise
        For what leaks and does not fire (LI, CubaLI), and for the synaptic current, of which w_in is the r.
    gain_integrator : "step" or "r"
        For what does not leak (I, IF). step: r · dt.
    strict : bool
        A neuron fires at v > v_threshold; else at v >= v_threshold.
    reset : "zero", "subtract" or "none"
        What a spike does to v: v_reset takes its place, v_threshold is taken off, nothing.
    delayed_reset : bool
        v is reset in the next step, and not in the step of the spike: v_threshold is taken off after the decay. v_reset
        takes the place of v before the step (which is the same as at once), or, where there is a synaptic current
        or a recurrent weight, after it, so that the step's input is lost.
    clamped : bool
        Shares that are kept, beyond 1, count as 1: time constants may be negative.
    starts_at : "v_reset" or "v_leak"
        Where v begins.
    dt : float
        Seconds per step where neither the file nor the user says.
    in_steps : bool
        Time constants are counted in steps, and not in seconds.
    several_spikes : bool
        A neuron may fire several times within one step.
    takes_linear : bool
        Its reader knows matrices without a bias.
    """

    name: str
    title: str
    decay: Literal["exponential", "euler"]
    gain: Gain
    gain_silent: Gain
    gain_synapse: Gain
    gain_integrator: Literal["step", "r"] = "step"
    strict: bool = True
    reset: Reset = "zero"
    delayed_reset: bool = False
    clamped: bool = False
    starts_at: Literal["v_reset", "v_leak"] = "v_reset"
    dt: float = 1e-3
    in_steps: bool = False
    several_spikes: bool = False
    takes_linear: bool = True

    def kept(self, tau: Array, dt: float) -> Array:
        """Return the share of a state that is left after a step, float64; negative where a step of Euler is too long.

        Time constants of float32 give a share of float32: the rounding of dt / (1 - share) is undone by it.
        """
        step = 1.0 if self.in_steps else dt
        exact = tau.astype(np.float64)
        if self.decay == "exponential":
            kept = np.asarray(kept_share(exact, step))
        else:
            with np.errstate(divide="ignore"):
                kept = np.asarray(1 - np.where(exact != 0, step / exact, 1.0))
        if self.clamped:
            kept = np.minimum(kept, 1.0)
        return kept.astype(np.float32).astype(np.float64) if tau.dtype == np.float32 else kept

    def added(self, gain: Gain, r: Array, tau: Array | None, dt: float) -> Array:
        """Return the factor from x to the state, float64; `tau` None: no leak.

        What is 1 but for the rounding of float32 is 1: frameworks write r = τ / dt for neurons that scale nothing.
        """
        step = 1.0 if self.in_steps else dt
        exact = r.astype(np.float64)
        if gain == "held" and tau is not None:
            exact = exact * (1 - np.asarray(kept_share(tau, step)))
        elif gain == "kept" and tau is not None:
            exact = exact * self.kept(tau, dt)
        elif gain != "r":
            with np.errstate(divide="ignore", invalid="ignore"):
                exact = exact * step if tau is None else exact * step / tau.astype(np.float64)
                if gain == "whole" and tau is not None:
                    exact = exact / np.asarray(kept_share(tau.astype(np.float64), step))
            if tau is not None:
                exact = np.where(np.isinf(r) & np.isinf(tau), 1.0, exact)  # how snnTorch writes that nothing leaks
        rounded = np.float32 in (r.dtype, None if tau is None else tau.dtype)
        return np.where(abs(exact - 1) < (1e-6 if rounded else 1e-12), 1.0, exact)

    def tau(self, kept: Array, dt: float) -> Array:
        """Return the time constants that `kept` makes shares of: infinite for 1, float64."""
        step = 1.0 if self.in_steps else dt
        if self.decay == "exponential":
            tau = np.asarray(time_constant_of(kept, step))
            return np.where(kept == 0, step / 800, tau)  # exp(-800) is 0, and nobody divides by 0
        with np.errstate(divide="ignore"):
            return np.asarray(step / (1 - kept))

    def r(self, gain: Gain, tau: Array | None, dt: float, shape: tuple[int, ...]) -> Array:
        """Return the r with which x is added as it is, float64 of this shape; `tau` None: no leak."""
        step = 1.0 if self.in_steps else dt
        if gain == "r":
            return np.ones(shape)
        if tau is None:
            return np.full(shape, 1 / step)
        if gain == "held":
            return np.asarray(1 / (1 - np.asarray(kept_share(tau, step))))
        if gain == "kept":
            return np.asarray(1 / np.asarray(kept_share(tau, step)))
        if gain == "whole":
            return np.asarray(tau * kept_share(tau, step) / step)
        return np.asarray(tau / step)


_SINABS = Convention(
    name="sinabs",
    title="Sinabs",
    decay="exponential",
    gain="held",
    gain_silent="r",
    gain_synapse="r",
    gain_integrator="r",
    strict=False,
    reset="subtract",
    in_steps=True,
    several_spikes=True,
    takes_linear=False,
)
CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention(
            name="snntorch",
            title="snnTorch",
            decay="euler",
            gain="step",
            gain_silent="step",
            gain_synapse="step",
            reset="subtract",
            delayed_reset=True,
            clamped=True,
            dt=1e-4,
        ),
        Convention(
            name="spikingjelly",
            title="SpikingJelly",
            decay="euler",
            gain="step",
            gain_silent="step",
            gain_synapse="step",
            strict=False,
            dt=1e-4,
        ),
        Convention(
            name="norse",
            title="Norse",
            decay="euler",
            gain="step",
            gain_silent="step",
            gain_synapse="r",
            gain_integrator="r",
            starts_at="v_leak",
            dt=1e-6,  # its exporter writes time constants of seconds times its step of 1e-3
        ),
        _SINABS,
        replace(_SINABS, name="sinabs-whole", title="Sinabs with norm_input=False", gain="r"),
        Convention(
            name="rockpool",
            title="Rockpool",
            decay="exponential",
            gain="whole",
            gain_silent="step",
            gain_synapse="kept",
            strict=False,
            reset="subtract",
            several_spikes=True,
        ),
        Convention(name="lava", title="Lava", decay="euler", gain="step", gain_silent="step", gain_synapse="step"),
        Convention(
            name="exact",
            title="NIR's equations, each solved with its input held over the step",
            decay="exponential",
            gain="held",
            gain_silent="held",
            gain_synapse="held",
        ),
    )
}


def convention_named(name: str) -> Convention:
    """Return a preset; raises `OptionError` where there is none of that name."""
    if name not in CONVENTIONS:
        raise OptionError("convention", f"is {name!r}", f"use one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name]
