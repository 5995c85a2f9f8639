"""Leaky integrate-and-fire neurons over a whole window, with surrogate gradients, in floats or in the chip's integers.

window.py says what is computed, and computes it; on a CPU in float32 compiled.py does, to the same bits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from spikegraph.trainer import compiled
from spikegraph.trainer import window as definition
from spikegraph.trainer.dynamics import Decays, Dynamics, Wanted, Window

__all__ = ["Decays", "Dynamics", "Window", "float_window", "integer_window", "lif"]


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
        Keep u and v of every step, as int64.
    """
    window = _forward(x, threshold_mant, bias, decays, dynamics, True, recurrent, keep_states, keep_states)
    return replace(window, u=window.u.to(torch.int64), v=window.v.to(torch.int64))


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
    return _forward(x, v_threshold, bias, decays, dynamics, False, recurrent, keep_states, keep_states)


def _forward(
    x: Tensor,
    threshold: Tensor,
    bias: Tensor,
    decays: Decays,
    dynamics: Dynamics,
    integer: bool,
    recurrent: Tensor | None,
    keep_u: bool,
    keep_v: bool,
) -> Window:
    keep = {"keep_u": keep_u, "keep_v": keep_v}
    if _serves(x, threshold, bias, decays, recurrent):
        return compiled.forward(x, threshold, bias, decays, dynamics, integer=integer, **keep)
    return definition.forward(x, threshold, bias, decays, dynamics, integer=integer, recurrent=recurrent, **keep)


def _serves(x: Tensor, threshold: Tensor, bias: Tensor, decays: Decays, recurrent: Tensor | None) -> bool:
    return recurrent is None and compiled.serves(x, threshold, bias, *vars(decays).values())


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
        with torch.autocast(device_type=x.device.type, enabled=False):
            w = _forward(x, threshold, bias, decays, dynamics, integer, recurrent, kept_u.requires_grad, False)
        ctx.save_for_backward(w.s, w.v_before_reset, w.u, w.v, w.integrates, threshold, bias, kept_u, kept_v, recurrent)
        ctx.decays, ctx.dynamics, ctx.integer = decays, dynamics, integer
        return w.s, w.v_before_reset

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_s: Tensor | None, grad_v: Tensor | None) -> tuple[Tensor | None, ...]:
        s, v_before_reset, u, v, integrates, threshold, bias, kept_u, kept_v, recurrent = ctx.saved_tensors
        window = Window(s=s, v_before_reset=v_before_reset, u=u, v=v, integrates=integrates)
        decays = replace(ctx.decays, kept_u=kept_u, kept_v=kept_v)
        _, *trained, trains_recurrent = ctx.needs_input_grad[:6]
        wanted = Wanted(**dict(zip(("threshold", "bias", "kept_u", "kept_v"), trained, strict=True)))
        known = (window, threshold, decays, ctx.dynamics, wanted, grad_s, grad_v)
        if _serves(s, threshold, bias, decays, recurrent):
            gradients = compiled.backward(*known, integer=ctx.integer)
        else:
            gradients = definition.backward(*known, integer=ctx.integer, recurrent=recurrent)
        of_parameters = [
            None if each is None else each.sum_to_size(parameter.shape)
            for each, parameter in (
                (gradients.threshold, threshold),
                (gradients.bias, bias),
                (gradients.kept_u, kept_u),
                (gradients.kept_v, kept_v),
            )
        ]
        of_recurrent = None
        if trains_recurrent:
            of_recurrent = gradients.x[1:].reshape(-1, len(recurrent)).T @ s[:-1].reshape(-1, len(recurrent))
        return gradients.x, *of_parameters, of_recurrent, None, None, None


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
