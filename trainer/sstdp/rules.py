"""Learning rules of one-spike neurons: how a spike time answers to a weight, and to the times before it.

All are backward passes of the same forward pass. What flows between layers is dE/dt, one number per neuron and sample:
how the error grows with the step in which the neuron fires. A silent neuron counts as one that fires at n_steps, just
after the window, so it takes part in all of it but one thing: no synapse learns from a line that never spiked, and none
from the padding, because neither can act.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from spikegraph.trainer.sstdp.geometry import Geometry
from spikegraph.trainer.sstdp.run import run_window, send_back, sum_pairs
from spikegraph.trainer.surrogate import SURROGATES

RuleKind = Literal["stdp", "causal", "margin"]
_TINY = 1e-10


@dataclass(frozen=True, kw_only=True)
class Rule:
    """How a layer learns.

    - `causal` (the published code): dt_i/dw_ij = -causal for t_j <= t_i, anticausal for t_j > t_i.
    - `stdp` (the paper): the same times exp(-|Δt| / tau) - offset and (w_max - w)^mu.
    - `margin` (ours): a neuron fires by its step if its largest potential is above the threshold; this is learned as in
      a network of step functions, with a surrogate gradient at the potential that it reached. So a neuron learns the
      more, the nearer it came to its threshold, whether it fired or not.

    In `causal` and `stdp` the error goes back through w_ij where t_j <= t_i.

    Parameters
    ----------
    kind : "stdp", "causal" or "margin"
    causal, anticausal : float
        The paper's 0.8 and 0.2; the code's default is 1 and 0.
    tau : float, steps
    offset, w_max, mu : float
        For `stdp`; w_max in units of the threshold.
    normalize : bool
        Bring dE/dt of each sample to length 1 in every layer (`stdp`, `causal`).
    surrogate : str
        For `margin`: a name of `spikegraph.trainer.surrogate.SURROGATES`.
    """

    kind: RuleKind = "margin"
    causal: float = 1.0
    anticausal: float = 0.0
    tau: float = 50.0
    offset: float = 0.0
    w_max: float = 1.0
    mu: float = 1.0
    normalize: bool = True
    surrogate: str = "triangle"


@dataclass(frozen=True, kw_only=True, eq=False)
class Synapses:
    """What the forward pass computes with: weights and threshold, as floats or as the chip's whole numbers."""

    weight: Tensor
    bias: Tensor | None
    threshold: float
    integer: bool


class _Fire(torch.autograd.Function):
    """Spike times, weights → spike times; potentials at the end, and their peaks, in units of the threshold."""

    @staticmethod
    def forward(
        ctx: Any,
        fired_at: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        synapses: Synapses,
        v_threshold: float,
        geometry: Geometry,
        rule: Rule,
        n_steps: int,
        until: Tensor,
        fires: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        limit = synapses.threshold if fires else math.inf
        window = run_window(
            geometry, fired_at, synapses.weight, synapses.bias, limit, n_steps, until, integer=synapses.integer
        )
        ctx.save_for_backward(fired_at, weight)
        ctx.window, ctx.synapses, ctx.v_threshold = window, synapses, v_threshold
        ctx.geometry, ctx.rule, ctx.n_steps, ctx.until = geometry, rule, n_steps, until
        scale = synapses.threshold
        return window.fired_at.to(weight.dtype), window.last / scale, window.peak / scale

    @staticmethod
    def backward(
        ctx: Any, grad_time: Tensor | None, grad_last: Tensor | None, grad_peak: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        fired_at, weight = ctx.saved_tensors
        learn = _margin if ctx.rule.kind == "margin" else _timing
        grad_fired_at, grad_weight, grad_bias = learn(ctx, fired_at, weight, grad_time, grad_last, grad_peak)
        return grad_fired_at, grad_weight, grad_bias, None, None, None, None, None, None, None


def _margin(
    ctx: Any,
    fired_at: Tensor,
    weight: Tensor,
    grad_time: Tensor | None,
    grad_last: Tensor | None,
    grad_peak: Tensor | None,
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    window, synapses = ctx.window, ctx.synapses
    reached = []  # dE/dv, and the step in which v was so
    if grad_time is not None:
        early = -grad_time * SURROGATES[ctx.rule.surrogate](window.peak / synapses.threshold - 1)
        grad_peak = early if grad_peak is None else grad_peak + early  # a higher potential fires earlier
    if grad_peak is not None:
        reached.append((grad_peak, window.peak_at))
    if grad_last is not None:
        end = torch.minimum(window.fired_at, ctx.until.to(torch.int32).reshape(-1, 1, 1, 1))
        reached.append((grad_last, end))
    grad_weight, grad_bias = torch.zeros_like(weight), None
    for delta, at in reached:
        grad_weight += sum_pairs(ctx.geometry, fired_at, at, delta, ctx.n_steps)
        if ctx.needs_input_grad[2]:
            grown = (delta * (at + 1)).sum(dim=(0, 2, 3))
            grad_bias = grown if grad_bias is None else grad_bias + grown
    back = None
    if ctx.needs_input_grad[0]:
        delta = torch.stack([delta for delta, _ in reached]).sum(dim=0)
        back = -ctx.geometry.sum_back(delta, synapses.weight / synapses.threshold)
    return back, grad_weight / ctx.v_threshold, None if grad_bias is None else grad_bias / ctx.v_threshold


def _timing(
    ctx: Any,
    fired_at: Tensor,
    weight: Tensor,
    grad_time: Tensor | None,
    grad_last: Tensor | None,
    grad_peak: Tensor | None,
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    rule, n_steps, geometry, ends = ctx.rule, ctx.n_steps, ctx.geometry, ctx.window.fired_at
    if grad_time is None:
        raise RuntimeError("the rules causal and stdp learn from spike times, not from potentials")
    if rule.normalize:
        length = grad_time.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
        grad_time = grad_time / (length * len(grad_time) + _TINY)
    relative = weight / ctx.v_threshold
    apart = torch.arange(-n_steps, n_steps + 1, device=weight.device)
    shape = torch.ones(len(apart), device=weight.device)
    factor = torch.ones_like(weight)
    if rule.kind == "stdp":
        shape = torch.exp(-apart.abs() / rule.tau) - rule.offset
        factor = (rule.w_max - relative).clamp(min=0) ** rule.mu
    if rule.kind == "causal" and not rule.anticausal:
        grad_weight = -rule.causal * sum_pairs(geometry, fired_at, ends, grad_time, n_steps)
    else:
        table = shape * torch.where(apart >= 0, -rule.causal, rule.anticausal)
        grad_weight = sum_pairs(geometry, fired_at, ends, grad_time, n_steps, table) * factor
    back = None
    if ctx.needs_input_grad[0]:
        acting = ctx.synapses.weight / ctx.synapses.threshold
        back = send_back(geometry, fired_at, ends, grad_time, acting, n_steps)
    return back, grad_weight, None


def fire(
    fired_at: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    synapses: Synapses,
    v_threshold: float,
    geometry: Geometry,
    rule: Rule,
    n_steps: int,
    until: Tensor,
    *,
    fires: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a layer, differentiably by its rule.

    Parameters
    ----------
    fired_at : Tensor of float (B, n_in)
        Step of each line's spike, 0…n_steps.
    weight : Tensor of float (out, in, kernel, kernel)
        What is trained.
    bias : Tensor of float (out,), optional
        In units of `weight`, added to v in every step.
    synapses : Synapses
        What acts.
    v_threshold : float
        The threshold in units of `weight`.
    until : Tensor of int (B,)
        The last step of each sample.
    fires : bool
        False: v is integrated to the end as if there were no threshold.

    Returns
    -------
    fired_at, last, peak : Tensor of float (B, out, rows, columns)
        Spike times; v at the end, and at its peak, in units of the threshold, as in `Window`.
    """
    times, last, peak = _Fire.apply(  # type: ignore[no-untyped-call]
        fired_at, weight, bias, synapses, v_threshold, geometry, rule, n_steps, until, fires
    )
    return times, last, peak
