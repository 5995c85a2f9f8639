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
from torch.nn import functional

from spikegraph.export import fixed
from spikegraph.export.graph import Reset
from spikegraph.trainer.exact import exact_dtype
from spikegraph.trainer.surrogate import SURROGATES


@dataclass(frozen=True, kw_only=True)
class Dynamics:
    """The part of a neuron that is never trained.

    Parameters
    ----------
    reset : "zero", "subtract" or "none"
    refractory_steps, max_spikes : int
        As in `spikegraph.export.graph.Population`.
    surrogate : str
        A name of `spikegraph.trainer.surrogate.SURROGATES`.
    """

    reset: Reset = "zero"
    refractory_steps: int = 1
    max_spikes: int = 0
    surrogate: str = "arctan"


@dataclass(frozen=True, kw_only=True, eq=False)
class Decays:
    """What a step leaves of u and v.

    Parameters
    ----------
    kept_u, kept_v : Tensor of float, () or broadcastable to the neurons
        Shares that are left. The float window computes with them. Every backward pass does, and they get a gradient
        where they require one; so for an integer window they are 1 - decay/4096.
    decay_u, decay_v : int, or Tensor of int64 broadcastable to the neurons
        The same as the chip's integers, 1/4096 forgotten per step: what the integer window computes with.
    """

    kept_u: Tensor
    kept_v: Tensor
    decay_u: int | Tensor
    decay_v: int | Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """A window of one population, tensors (T, B, *shape).

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

    def __init__(
        self, x: Tensor, state: torch.dtype, threshold: Tensor, dynamics: Dynamics, keep_u: bool, keep_v: bool
    ) -> None:
        self.threshold, self.dynamics, self.keep_u, self.keep_v = threshold, dynamics, keep_u, keep_v
        pauses = dynamics.refractory_steps > 1 or dynamics.max_spikes > 0
        self.window = Window(
            s=torch.empty_like(x),
            v_before_reset=torch.empty_like(x),
            u=torch.empty(x.shape if keep_u else (0,), dtype=state, device=x.device),
            v=torch.empty(x.shape if keep_v else (0,), dtype=state, device=x.device),
            integrates=torch.ones(x.shape if pauses else (), dtype=torch.bool, device=x.device),
        )
        self.held = torch.zeros(x.shape[1:], dtype=torch.int64, device=x.device)
        self.n_spikes = torch.zeros_like(self.held)
        self.forever = len(x)

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
        if self.keep_u:
            window.u[t] = u
        if self.keep_v:
            window.v[t] = v
        if pauses:
            self.n_spikes += s
            self.held = (self.held - 1).clamp(min=0).masked_fill(s, self.dynamics.refractory_steps - 1)
            if self.dynamics.max_spikes:
                self.held[self.n_spikes >= self.dynamics.max_spikes] = self.forever
        return v


def integer_window(
    x: Tensor,
    threshold_mant: Tensor,
    bias: Tensor,
    decays: Decays,
    dynamics: Dynamics,
    *,
    recurrent: Tensor | None = None,
    keep_states: bool = False,
) -> Window:
    """Run the integer semantics of docs/semantics.md.

    Parameters
    ----------
    x : Tensor of float (T, B, *shape)
        Input sums: whole numbers.
    threshold_mant, bias : Tensor of float, broadcastable to `x[0]`
        Whole numbers; the bias is mantissa times 2^exponent.
    decays : Decays
    dynamics : Dynamics
    recurrent : Tensor of float (n, n), optional
        Weights from the neurons, flattened, to themselves, delay 1: whole numbers, any exponent multiplied in.
    keep_states : bool
        Keep u and v of every step.
    """
    return _integer_window(x, threshold_mant, bias, decays, dynamics, recurrent, keep_states, keep_states)


def _integer_window(
    x: Tensor,
    threshold_mant: Tensor,
    bias: Tensor,
    decays: Decays,
    dynamics: Dynamics,
    recurrent: Tensor | None,
    keep_u: bool,
    keep_v: bool,
) -> Window:
    threshold = threshold_mant.to(torch.int64) << fixed.ALIGN_BITS
    recorder = _Recorder(x, torch.int64, threshold, dynamics, keep_u, keep_v)
    bias = bias.to(torch.int64)
    if recurrent is not None:
        recurrent = recurrent.to(exact_dtype(recurrent, 1))
    u = v = torch.zeros(x.shape[1:], dtype=torch.int64, device=x.device)
    for t in range(len(x)):
        u_sum = x[t].to(torch.int64)
        if recurrent is not None and t > 0:
            u_sum += _fed_back(recorder.window.s[t - 1], recurrent).to(torch.int64)
        u_sum <<= fixed.ALIGN_BITS
        if not _is(decays.decay_u, fixed.DECAY_ONE):  # else nothing is left of the last step
            u_sum += fixed.decay(u, decays.decay_u)
        u = fixed.wrap24(u_sum)
        kept = v if _is(decays.decay_v, 0) else fixed.decay(v, decays.decay_v)
        v = recorder.finish(t, u, fixed.saturate24(kept + u + bias))
    return recorder.window


def _is(decay: int | Tensor, value: int) -> bool:
    return isinstance(decay, int) and decay == value


def float_window(
    x: Tensor,
    v_threshold: Tensor,
    bias: Tensor,
    decays: Decays,
    dynamics: Dynamics,
    *,
    recurrent: Tensor | None = None,
    keep_states: bool = False,
) -> Window:
    """Run the float equations of `spikegraph.export.float_graph.FloatPopulation`; parameters as in `integer_window`."""
    return _float_window(x, v_threshold, bias, decays, dynamics, recurrent, keep_states, keep_states)


def _float_window(
    x: Tensor,
    v_threshold: Tensor,
    bias: Tensor,
    decays: Decays,
    dynamics: Dynamics,
    recurrent: Tensor | None,
    keep_u: bool,
    keep_v: bool,
) -> Window:
    recorder = _Recorder(x, x.dtype, v_threshold.to(x.dtype), dynamics, keep_u, keep_v)
    bias, kept_u, kept_v = bias.to(x.dtype), decays.kept_u.to(x.dtype), decays.kept_v.to(x.dtype)
    u = v = torch.zeros_like(x[0])
    for t in range(len(x)):
        u_sum = x[t]
        if recurrent is not None and t > 0:
            u_sum = u_sum + _fed_back(recorder.window.s[t - 1], recurrent)
        u = kept_u * u + u_sum
        v = recorder.finish(t, u, kept_v * v + u + bias)
    return recorder.window


def _fed_back(s: Tensor, recurrent: Tensor) -> Tensor:
    """Return recurrent · s for each sample, in the shape of s (B, *shape) and the type of `recurrent`."""
    return functional.linear(s.flatten(1).to(recurrent.dtype), recurrent).view(s.shape)


class _LIF(torch.autograd.Function):
    """x, threshold, bias, shares kept, recurrent weight → spikes and v before reset, floats (T, B, *shape)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        threshold: Tensor,
        bias: Tensor,
        kept_u: Tensor,
        kept_v: Tensor,
        recurrent: Tensor | None,
        decays: Decays,
        dynamics: Dynamics,
        integer: bool,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        run = _integer_window if integer else _float_window
        keep_u = kept_u.requires_grad and len(x) > 1
        with torch.autocast(device_type=x.device.type, enabled=False):
            window = run(x, threshold, bias, decays, dynamics, recurrent, keep_u, False)
        ctx.save_for_backward(
            window.s, window.v_before_reset, window.u, window.integrates, threshold, kept_u, kept_v, recurrent
        )
        ctx.dynamics, ctx.bias_shape = dynamics, bias.shape
        ctx.gain = float(1 << fixed.ALIGN_BITS) if integer else 1.0  # x and threshold in units of v
        return window.s, window.v_before_reset

    @staticmethod
    def backward(ctx: Any, grad_s: Tensor | None, grad_v: Tensor | None) -> tuple[Tensor | None, ...]:
        s, v_before_reset, u, integrates, threshold, kept_u, kept_v, recurrent = ctx.saved_tensors
        dynamics, gain = ctx.dynamics, ctx.gain
        surrogate, threshold_v = SURROGATES[dynamics.surrogate], threshold * gain
        share_u, share_v = kept_u.to(s.dtype), kept_v.to(s.dtype)
        _, _, _, trains_u, trains_v, trains_recurrent, *_ = ctx.needs_input_grad
        grad_x = torch.empty_like(s)
        carried_u, carried_v, grad_threshold, grad_bias = (torch.zeros_like(s[0]) for _ in range(4))
        grad_kept_u, grad_kept_v = (torch.zeros_like(s[0]) if trained else None for trained in (trains_u, trains_v))
        for t in reversed(range(len(s))):
            grad = carried_v * (1 - s[t]) if dynamics.reset == "zero" else carried_v  # w.r.t. v before reset
            to_spike = None if grad_s is None else grad_s[t]
            if recurrent is not None and t + 1 < len(s):
                back = _fed_back(grad_x[t + 1], recurrent.T.to(s.dtype))
                to_spike = back if to_spike is None else to_spike + back
            if to_spike is not None:
                through_spike = to_spike * surrogate((v_before_reset[t] - threshold_v) / threshold_v) / threshold_v
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
            if grad_kept_u is not None and t > 0:
                grad_kept_u += grad_u * u[t - 1]
            if grad_kept_v is not None and t > 0:
                grad_kept_v += grad * _left(v_before_reset[t - 1], s[t - 1], threshold_v, dynamics)
            carried_u, carried_v = grad_u * share_u, grad * share_v
        grad_recurrent = None
        if trains_recurrent:
            grad_recurrent = grad_x[1:].reshape(-1, len(recurrent)).T @ s[:-1].reshape(-1, len(recurrent))
        return (
            grad_x,
            (grad_threshold * gain).sum_to_size(threshold.shape),
            grad_bias.sum_to_size(ctx.bias_shape),
            None if grad_kept_u is None else grad_kept_u.sum_to_size(kept_u.shape),
            None if grad_kept_v is None else grad_kept_v.sum_to_size(kept_v.shape),
            grad_recurrent,
            None,
            None,
            None,
        )


def _left(v_before_reset: Tensor, s: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor:
    """Return v after the reset."""
    if dynamics.reset == "zero":
        return v_before_reset * (1 - s)
    return v_before_reset - s * threshold if dynamics.reset == "subtract" else v_before_reset


def lif(
    x: Tensor,
    threshold: Tensor,
    bias: Tensor,
    decays: Decays,
    dynamics: Dynamics,
    *,
    integer: bool,
    recurrent: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run neurons over a window, differentiably.

    Parameters
    ----------
    x : Tensor of float (T, B, *shape)
        Input sums; whole numbers if `integer`. Half precision is widened to float32 first.
    threshold : Tensor of float, broadcastable to `x[0]`
        v_threshold, or the threshold mantissa if `integer`.
    bias : Tensor of float, broadcastable to `x[0]`
        Bias in units of v.
    decays : Decays
        Those that require a gradient get the exact one of the real-valued window with the surrogate for the spikes.
    dynamics : Dynamics
    integer : bool
        Compute in the chip's integers.
    recurrent : Tensor of float (n, n), optional
        Weights from the neurons, flattened, to themselves: x of a step gains recurrent · s of the step before. Whole
        numbers, any exponent multiplied in, if `integer`.

    Returns
    -------
    s, v_before_reset : Tensor of float (T, B, *shape)
    """
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()  # states, and whole numbers, need more than 11 bits
    s, v_before_reset = _LIF.apply(  # type: ignore[no-untyped-call]
        x, threshold, bias, decays.kept_u, decays.kept_v, recurrent, decays, dynamics, integer
    )
    return s, v_before_reset
