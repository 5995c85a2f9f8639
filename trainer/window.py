"""What a window of neurons computes, forward and backward, step by step in torch: the definition.

The integer window runs the functions of spikegraph.export.fixed on int64 tensors: what is trained is what the graph
computes. The backward pass is the same for floats and integers; it treats the integer window as its real-valued twin,
rounding passed straight through, and takes no gradient through the reset.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from spikegraph.export import fixed
from spikegraph.trainer.dynamics import Decays, Dynamics, Gradients, Wanted, Window
from spikegraph.trainer.exact import exact_dtype
from spikegraph.trainer.surrogate import SURROGATES


def forward(
    x: Tensor,
    threshold: Tensor,
    bias: Tensor,
    decays: Decays,
    dynamics: Dynamics,
    *,
    integer: bool,
    recurrent: Tensor | None = None,
    keep_u: bool = False,
    keep_v: bool = False,
) -> Window:
    """Run a window; parameters as of `spikegraph.trainer.neurons.lif`, u and v int64 in integer windows."""
    run = _integers if integer else _floats
    return run(x, threshold, bias, decays, _Recorder(x, dynamics, integer, keep_u, keep_v), recurrent)


def _integers(
    x: Tensor, threshold_mant: Tensor, bias: Tensor, decays: Decays, recorder: _Recorder, recurrent: Tensor | None
) -> Window:
    threshold, bias = threshold_mant.to(torch.int64) << fixed.ALIGN_BITS, bias.to(torch.int64)
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
        v = recorder.finish(t, u, fixed.saturate24(kept + u + bias), threshold)
    return recorder.window


def _is(decay: int | Tensor, value: int) -> bool:
    return isinstance(decay, int) and decay == value


def _floats(
    x: Tensor, v_threshold: Tensor, bias: Tensor, decays: Decays, recorder: _Recorder, recurrent: Tensor | None
) -> Window:
    v_threshold, bias, kept_u, kept_v = (p.to(x.dtype) for p in (v_threshold, bias, decays.kept_u, decays.kept_v))
    u = v = torch.zeros_like(x[0])
    for t in range(len(x)):
        u_sum = x[t]
        if recurrent is not None and t > 0:
            u_sum = u_sum + _fed_back(recorder.window.s[t - 1], recurrent)
        u = kept_u * u + u_sum
        v = recorder.finish(t, u, kept_v * v + u + bias, v_threshold)
    return recorder.window


def _fed_back(s: Tensor, recurrent: Tensor) -> Tensor:
    """Return recurrent · s for each sample, in the shape of s (B, *shape) and the type of `recurrent`."""
    return functional.linear(s.flatten(1).to(recurrent.dtype), recurrent).view(s.shape)


class _Recorder:
    """Thresholding, reset and pauses of each step, which float and integer windows share, and what is kept of it."""

    def __init__(self, x: Tensor, dynamics: Dynamics, integer: bool, keep_u: bool, keep_v: bool) -> None:
        self.dynamics, self.keep_u, self.keep_v = dynamics, keep_u, keep_v
        state = torch.int64 if integer else x.dtype
        self.window = Window(
            s=torch.empty_like(x),
            v_before_reset=torch.empty_like(x),
            u=torch.empty(x.shape if keep_u else (0,), dtype=state, device=x.device),
            v=torch.empty(x.shape if keep_v else (0,), dtype=state, device=x.device),
            integrates=torch.ones(x.shape if dynamics.pauses else (), dtype=torch.bool, device=x.device),
        )
        self.held = torch.zeros(x.shape[1:], dtype=torch.int64, device=x.device)
        self.n_spikes = torch.zeros_like(self.held)
        self.forever = len(x)

    def finish(self, t: int, u: Tensor, v: Tensor, threshold: Tensor) -> Tensor:
        """Turn the integrated v of step t into spikes, and return the v that is left."""
        window, pauses = self.window, self.dynamics.pauses
        if pauses:
            window.integrates[t] = self.held == 0
            v = v.masked_fill(~window.integrates[t], 0)
        s = v > threshold
        window.v_before_reset[t], window.s[t] = v, s
        if self.dynamics.reset == "zero":
            v = v.masked_fill(s, 0)
        elif self.dynamics.reset == "subtract":
            v = torch.where(s, v - threshold, v)
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


def backward(
    window: Window,
    threshold: Tensor,
    decays: Decays,
    dynamics: Dynamics,
    wanted: Wanted,
    grad_s: Tensor | None,
    grad_v: Tensor | None,
    *,
    integer: bool,
    recurrent: Tensor | None = None,
) -> Gradients:
    """Go back through a window, from the gradients of s and of v before reset (None: zero).

    `window` needs u where the gradient of kept_u is wanted.
    """
    s, v_before_reset, integrates, pauses = window.s, window.v_before_reset, window.integrates, dynamics.pauses
    gain = float(1 << fixed.ALIGN_BITS) if integer else 1.0  # x and threshold in units of v
    threshold, kept_u, kept_v = (p.to(s.dtype) for p in (threshold * gain, decays.kept_u, decays.kept_v))
    surrogate, inverse = SURROGATES[dynamics.surrogate], 1 / threshold
    grad_x = torch.empty_like(s)
    carried_u, carried_v = torch.zeros_like(s[0]), torch.zeros_like(s[0])
    grad_threshold, grad_bias, grad_kept_u, grad_kept_v = (
        torch.zeros_like(s[0]) if asked else None
        for asked in (wanted.threshold, wanted.bias, wanted.kept_u, wanted.kept_v)
    )
    for t in reversed(range(len(s))):
        grad = carried_v * (1 - s[t]) if dynamics.reset == "zero" else carried_v  # w.r.t. v before reset
        to_spike = None if grad_s is None else grad_s[t]
        if recurrent is not None and t + 1 < len(s):
            back = _fed_back(grad_x[t + 1], recurrent.T.to(s.dtype))
            to_spike = back if to_spike is None else to_spike + back
        if to_spike is not None:
            through_spike = to_spike * (surrogate((v_before_reset[t] - threshold) * inverse) * inverse)
            if pauses:
                through_spike = through_spike * integrates[t]  # a neuron that pauses is not compared
            if grad_threshold is not None:
                grad_threshold -= through_spike
            grad = grad + through_spike
        if grad_v is not None:
            grad = grad + grad_v[t]
        if pauses:
            grad = grad * integrates[t]
        grad_u = grad + carried_u
        torch.mul(grad_u, gain, out=grad_x[t])
        if grad_bias is not None:
            grad_bias += grad
        if grad_kept_u is not None and t > 0:
            grad_kept_u += grad_u * window.u[t - 1]
        if grad_kept_v is not None and t > 0:
            grad_kept_v += grad * _left(v_before_reset[t - 1], s[t - 1], threshold, dynamics)
        carried_u, carried_v = grad_u * kept_u, grad * kept_v
    return Gradients(
        x=grad_x,
        threshold=None if grad_threshold is None else grad_threshold * gain,
        bias=grad_bias,
        kept_u=grad_kept_u,
        kept_v=grad_kept_v,
    )


def _left(v_before_reset: Tensor, s: Tensor, threshold: Tensor, dynamics: Dynamics) -> Tensor:
    """Return v after the reset."""
    if dynamics.reset == "zero":
        return v_before_reset * (1 - s)
    return v_before_reset - s * threshold if dynamics.reset == "subtract" else v_before_reset
