"""The one module of ours that a network is built of: a population of neurons. The rest are torch.nn's own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from spikegraph.export.chips import Chip
from spikegraph.export.connectivity import Shape
from spikegraph.export.errors import GraphError, OptionError, Problem
from spikegraph.export.fixed import DECAY_ONE, DECAY_U, DECAY_V
from spikegraph.export.graph import RESETS, Reset
from spikegraph.export.time_constants import decay_constant, kept_share
from spikegraph.trainer.neurons import Decays, Dynamics
from spikegraph.trainer.surrogate import SURROGATES

Per = Literal["layer", "channel", "neuron"]
Which = Literal["mem", "syn"]
_LEAST_THRESHOLD = 1e-3  # of the value where training starts


class _Floor(torch.autograd.Function):
    """Values, but no less than a floor. Below it, gradients pass that raise the value again, and no others."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, least: float) -> Tensor:
        ctx.save_for_backward(value >= least)
        return value.clamp(min=least)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (above,) = ctx.saved_tensors
        return torch.where(above | (gradient < 0), gradient, 0.0), None


def _require(name: str, value: float, must: str, holds: bool) -> None:
    if not holds:
        raise OptionError(f"LIF({name}={value:g})", f"must be {must}", "choose another value")


def _require_one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        choices = ", ".join(map(repr, known))
        raise OptionError(f"LIF({name}={value!r})", "is not known", f"choose one of {choices}")


class LIF(nn.Module):
    """A population of (current-based) leaky integrate-and-fire neurons, as a module of a network to be traced.

    It takes what synapses bring (nn.Linear, nn.Conv2d, nn.BatchNorm2d after them, sums of these) and gives spikes. A
    `SpikingNetwork` runs it over the whole window; called on its own it does nothing.

    Parameters
    ----------
    tau_mem, tau_syn : float, seconds
        Time constants of v and u; `tau_mem=inf` does not leak, `tau_syn=0` has no current memory.
    dt : float, seconds
        Length of a step.
    v_threshold : float
        Where the threshold starts.
    threshold_noise : float
        Standard deviation of the noise added where there are many, drawn from torch's global generator.
    threshold_per : "layer", "channel" or "neuron"
    train_threshold : bool
        Learn it together with the weights (STL), or keep it.
    train_tau : bool
        Learn the time constants, one of each per population; those that keep nothing or all of a state stay.
    recurrent : bool
        Trained all-to-all synapses from the population to itself, with a delay of one step.
    reset, refractory_steps, max_spikes, surrogate
        As in `spikegraph.trainer.neurons.Dynamics`.

    Raises
    ------
    OptionError
        There is no such reset, surrogate or threshold_per; a number is out of range, or NaN.
    """

    def __init__(
        self,
        *,
        tau_mem: float = math.inf,
        tau_syn: float = 0.0,
        dt: float = 1e-3,
        v_threshold: float = 1.0,
        threshold_noise: float = 0.0,
        threshold_per: Per = "layer",
        train_threshold: bool = True,
        train_tau: bool = False,
        recurrent: bool = False,
        reset: Reset = "zero",
        refractory_steps: int = 1,
        max_spikes: int = 0,
        surrogate: str = "arctan",
    ) -> None:
        super().__init__()
        _require_one_of("reset", reset, RESETS)
        _require_one_of("surrogate", surrogate, tuple(SURROGATES))
        _require_one_of("threshold_per", threshold_per, get_args(Per))
        for name, value in {"tau_mem": tau_mem, "dt": dt, "v_threshold": v_threshold}.items():
            _require(name, value, "above 0", value > 0 and (name == "tau_mem" or value < math.inf))
        for name, value in {"tau_syn": tau_syn, "threshold_noise": threshold_noise, "max_spikes": max_spikes}.items():
            _require(name, value, "at least 0", 0 <= value < math.inf)
        _require("refractory_steps", refractory_steps, "at least 1", refractory_steps >= 1)
        self.dt, self.threshold_per, self.recurrent = dt, threshold_per, recurrent
        self._start, self._noise = v_threshold, threshold_noise
        self.dynamics = Dynamics(
            reset=reset, refractory_steps=refractory_steps, max_spikes=max_spikes, surrogate=surrogate
        )
        self.v_threshold = nn.Parameter(torch.tensor(v_threshold), requires_grad=train_threshold)
        self._tau = {"mem": tau_mem, "syn": tau_syn}
        self.mem_logit = self._trained(tau_mem, train_tau)
        self.syn_logit = self._trained(tau_syn, train_tau)
        self.recurrent_weight: nn.Parameter | None = None

    def _trained(self, tau: float, train: bool) -> nn.Parameter | None:
        """Return the logit of the share that is kept, as a parameter; None for a time constant that stays."""
        kept = kept_share(tau, self.dt)
        if not train or kept in (0, 1):
            return None
        return nn.Parameter(torch.tensor(math.log(kept / (1 - kept)), dtype=torch.float32))

    def bind(self, shape: Shape) -> None:
        """Make the parameters that depend on the population's shape, (n,) or (c, h, w); again is no change.

        A recurrent population has the shape (n,).
        """
        sizes: dict[Per, Shape] = {"layer": (), "channel": shape[:1], "neuron": shape}
        size = sizes[self.threshold_per]
        if self.v_threshold.shape != size:
            noise = self._noise * torch.randn(size) if self._noise else torch.zeros(size)
            start = (self._start + noise).clamp(min=_LEAST_THRESHOLD * self._start)
            trained = self.v_threshold.requires_grad
            self.v_threshold = nn.Parameter(start.to(self.v_threshold.device), requires_grad=trained)
        if self.recurrent and self.recurrent_weight is None:
            self.recurrent_weight = nn.Parameter(torch.empty(shape[0], shape[0], device=self.v_threshold.device))
            nn.init.uniform_(self.recurrent_weight, -math.sqrt(1 / shape[0]), math.sqrt(1 / shape[0]))

    def forward(self, x: Tensor) -> Tensor:
        """Refuse: neurons have a state, and a network over a window runs them."""
        remedy = "run it with SpikingNetwork(module, input_shape)"
        raise GraphError([Problem(where="LIF", what="was called outside of a SpikingNetwork", remedy=remedy)])

    def positive_threshold(self) -> Tensor:
        """Return the threshold, kept above 0."""
        floored: Tensor = _Floor.apply(self.v_threshold, _LEAST_THRESHOLD * self._start)  # type: ignore[no-untyped-call]
        return floored

    @torch.no_grad()
    def tau(self, which: Which) -> float:
        """Return a time constant in seconds: what the graph is lowered with."""
        logit = self.mem_logit if which == "mem" else self.syn_logit
        if logit is None:
            return self._tau[which]
        return float(self.dt / np.logaddexp(0.0, -float(logit)))  # -dt / log(sigmoid(logit))

    def decays(self, chip: Chip | None) -> Decays:
        """Return what is kept of u and v in each step, in floats or in a chip's integers."""
        integers: dict[Which, int] = {
            "syn": decay_constant(self.tau("syn"), self.dt, chip.decay_u.format if chip else DECAY_U),
            "mem": decay_constant(self.tau("mem"), self.dt, chip.decay_v.format if chip else DECAY_V),
        }
        logits: dict[Which, Tensor | None] = {"syn": self.syn_logit, "mem": self.mem_logit}
        kept = {}
        for which, logit in logits.items():
            fixed = 1 - integers[which] / DECAY_ONE if chip else kept_share(self.tau(which), self.dt)
            value = torch.tensor(fixed, dtype=torch.float32, device=self.v_threshold.device)
            if logit is not None:  # the value of the chip, the gradient of the parameter
                exact = torch.sigmoid(logit)
                value = exact + (value - exact).detach() if chip else exact
            kept[which] = value
        return Decays(kept_u=kept["syn"], kept_v=kept["mem"], decay_u=integers["syn"], decay_v=integers["mem"])
