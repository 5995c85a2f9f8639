"""Leaky integrate-and-fire neurons over a whole window, with surrogate gradients, in floats or in the chip's integers.

The integer window runs the functions of spikegraph.export.fixed on int64 tensors: what is trained is what the graph
computes. The backward pass is the same for both; it treats the integer window as its real-valued twin, rounding
passed straight through, and takes no gradient through the reset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from spikegraph.export import fixed
from spikegraph.export.graph import Reset
from spikegraph.trainer.surrogate import SURROGATES


@dataclass(frozen=True, kw_only=True)
class Dynamics:
    """The part of a neuron that is not trained.

    Parameters
    ----------
    kept_u, kept_v : float
        Share of u and v that is left after a step.
    decay_u, decay_v : int
        The same as integers, 1/4096 forgotten per step; used by the integer window.
    reset : "zero", "subtract" or "none"
    refractory_steps, max_spikes : int
        As in `spikegraph.export.graph.Population`.
    surrogate : str
        A name of `spikegraph.trainer.surrogate.SURROGATES`.
    """

    kept_u: float = 0.0
    kept_v: float = 1.0
    decay_u: int = 4096
    decay_v: int = 0
    reset: Reset = "zero"
    refractory_steps: int = 1
    max_spikes: int = 0
    surrogate: str = "arctan"


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """A window of one population, tensors (T, B, N).

    Parameters
    ----------
    s, v_before_reset : Tensor of float
        Spikes, and the membrane potential that was compared with the threshold.
    u, v : Tensor, int64 in integer windows
        Synaptic current, and membrane potential after reset; empty unless asked for.
    integrates : Tensor of bool
        False in refractory steps; () where there are none.
    """

    s: Tensor
    v_before_reset: Tensor
    u: Tensor
    v: Tensor
    integrates: Tensor


class _Recorder:
    """Thresholding, reset and pauses of each step, which float and integer windows share, and what is kept of it."""

    def __init__(self, x: Tensor, state: torch.dtype, threshold: Tensor, dynamics: Dynamics, keep_states: bool) -> None:
        self.threshold, self.dynamics, self.keep_states, n_steps = threshold, dynamics, keep_states, len(x)
        pauses = dynamics.refractory_steps > 1 or dynamics.max_spikes > 0
        kept = x.shape if keep_states else (0,)
        self.window = Window(
            s=torch.empty_like(x),
            v_before_reset=torch.empty_like(x),
            u=torch.empty(kept, dtype=state, device=x.device),
            v=torch.empty(kept, dtype=state, device=x.device),
            integrates=torch.ones(x.shape if pauses else (), dtype=torch.bool, device=x.device),
        )
        self.held = torch.zeros(x.shape[1:], dtype=torch.int64, device=x.device)
        self.n_spikes = torch.zeros_like(self.held)
        self.forever = n_steps

    def finish(self, t: int, u: Tensor, v: Tensor) -> Tensor:
        """Turn the integrated v of step t into spikes, and return the v that is left."""
        window, pauses = self.window, self.window.integrates.ndim > 0
        if pauses:
            window.integrates[t] = self.held == 0
            v = v.masked_fill(~window.integrates[t], 0)
        s = v > self.threshold
        window.v_before_reset[t], window.s[t] = v, s
        if self.dynamics.reset == "zero":
            v = v.masked_fill(s, 0)
        elif self.dynamics.reset == "subtract":
            v = torch.where(s, v - self.threshold, v)
        if self.keep_states:
            window.u[t], window.v[t] = u, v
        if pauses:
            self.n_spikes += s
            self.held = (self.held - 1).clamp(min=0).masked_fill(s, self.dynamics.refractory_steps - 1)
            if self.dynamics.max_spikes:
                self.held[self.n_spikes >= self.dynamics.max_spikes] = self.forever
        return v


def integer_window(
    x: Tensor, threshold_mant: Tensor, bias: Tensor, dynamics: Dynamics, *, keep_states: bool = False
) -> Window:
    """Run the integer semantics of docs/semantics.md.

    Parameters
    ----------
    x : Tensor of float (T, B, N)
        Input sums: whole numbers.
    threshold_mant, bias : Tensor of float, () or (N,)
        Whole numbers; the bias is mantissa times 2^exponent.
    keep_states : bool
        Keep u and v of every step.
    """
    recorder = _Recorder(x, torch.int64, threshold_mant.to(torch.int64) << fixed.ALIGN_BITS, dynamics, keep_states)
    bias = bias.to(torch.int64)
    u = v = torch.zeros(x.shape[1:], dtype=torch.int64, device=x.device)
    for t in range(len(x)):
        u_sum = x[t].to(torch.int64) << fixed.ALIGN_BITS
        if dynamics.decay_u < fixed.DECAY_ONE:  # else nothing is left of the last step
            u_sum += fixed.decay(u, dynamics.decay_u)
        u = fixed.wrap24(u_sum)
        v = recorder.finish(t, u, fixed.saturate24(fixed.decay(v, dynamics.decay_v) + u + bias))
    return recorder.window


def float_window(
    x: Tensor, v_threshold: Tensor, bias: Tensor, dynamics: Dynamics, *, keep_states: bool = False
) -> Window:
    """Run the float equations of `spikegraph.export.float_graph.FloatPopulation`; parameters as in `integer_window`."""
    recorder = _Recorder(x, x.dtype, v_threshold, dynamics, keep_states)
    u = v = torch.zeros_like(x[0])
    for t in range(len(x)):
        u = dynamics.kept_u * u + x[t]
        v = recorder.finish(t, u, dynamics.kept_v * v + u + bias)
    return recorder.window


class _LIF(torch.autograd.Function):
    """x, threshold, bias → spikes and v before reset, as floats (T, B, N); the gradient is the surrogate's."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, threshold: Tensor, bias: Tensor, dynamics: Dynamics, integer: bool
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        window = (integer_window if integer else float_window)(x, threshold, bias, dynamics)
        ctx.save_for_backward(window.s, window.v_before_reset, threshold, window.integrates)
        ctx.dynamics, ctx.bias_shape = dynamics, bias.shape
        ctx.gain = float(1 << fixed.ALIGN_BITS) if integer else 1.0  # x and threshold in units of v
        return window.s, window.v_before_reset

    @staticmethod
    def backward(ctx: Any, grad_s: Tensor | None, grad_v: Tensor | None) -> tuple[Tensor, Tensor, Tensor, None, None]:
        s, v_before_reset, threshold, integrates = ctx.saved_tensors
        dynamics, gain = ctx.dynamics, ctx.gain
        surrogate, threshold_v = SURROGATES[dynamics.surrogate], threshold * gain
        grad_x = torch.empty_like(s)
        carried_u, carried_v, grad_threshold, grad_bias = (torch.zeros_like(s[0]) for _ in range(4))
        for t in reversed(range(len(s))):
            grad = carried_v * (1 - s[t]) if dynamics.reset == "zero" else carried_v  # w.r.t. v before reset
            if grad_s is not None:
                through_spike = grad_s[t] * surrogate((v_before_reset[t] - threshold_v) / threshold_v) / threshold_v
                if integrates.ndim:
                    through_spike = through_spike * integrates[t]  # a neuron that pauses is not compared
                grad_threshold -= through_spike
                grad = grad + through_spike
            if grad_v is not None:
                grad = grad + grad_v[t]
            if integrates.ndim:
                grad = grad * integrates[t]
            grad_bias += grad
            grad_u = grad + carried_u
            torch.mul(grad_u, gain, out=grad_x[t])
            carried_u, carried_v = grad_u * dynamics.kept_u, grad * dynamics.kept_v
        grad_threshold = (grad_threshold * gain).sum_to_size(threshold.shape)
        return grad_x, grad_threshold, grad_bias.sum_to_size(ctx.bias_shape), None, None


def lif(x: Tensor, threshold: Tensor, bias: Tensor, dynamics: Dynamics, *, integer: bool) -> tuple[Tensor, Tensor]:
    """Run neurons over a window, differentiably.

    Parameters
    ----------
    x : Tensor of float (T, B, N)
        Input sums; whole numbers if `integer`.
    threshold : Tensor of float, () or (N,)
        v_threshold, or the threshold mantissa if `integer`.
    bias : Tensor of float, () or (N,)
        Bias in units of v.
    dynamics : Dynamics
    integer : bool
        Compute in the chip's integers.

    Returns
    -------
    s, v_before_reset : Tensor of float (T, B, N)
    """
    s, v_before_reset = _LIF.apply(x, threshold, bias, dynamics, integer)  # type: ignore[no-untyped-call]
    return s, v_before_reset
