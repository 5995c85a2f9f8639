"""Layers of a spiking network: synapses, then neurons with trainable thresholds (STL: synapse-threshold synergy)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from spikegraph.export.chips import Chip
from spikegraph.export.fixed import ALIGN_BITS, DECAY_ONE, DECAY_U, DECAY_V
from spikegraph.export.graph import Reset
from spikegraph.export.quantize import decay_constant, kept_share
from spikegraph.trainer.exact import exact_linear
from spikegraph.trainer.neurons import Decays, Dynamics, Window, float_window, integer_window, lif
from spikegraph.trainer.quantizers import quantize_dense

_LEAST_THRESHOLD = 1e-3  # of the value where training starts


class SpikingDense(nn.Module):
    """Dense synapses onto a population of (current-based) leaky integrate-and-fire neurons.

    Parameters
    ----------
    n_in, n_out : int
    tau_mem, tau_syn : float, seconds
        Time constants of v and u; `tau_mem=inf` does not leak, `tau_syn=0` has no current memory.
    dt : float, seconds
        Length of a step.
    v_threshold : float
        Where the threshold starts.
    threshold_per : "layer" or "neuron"
        One threshold, or one per neuron.
    train_threshold : bool
        Learn it together with the weights (STL), or keep it.
    bias : bool
    reset, refractory_steps, max_spikes, surrogate
        As in `spikegraph.trainer.neurons.Dynamics`.
    chip : Chip, optional
        Compute in this chip's integers (quantization-aware); None: in floats.
    largest_input : int
        Largest magnitude that an input spike carries (1 unless graded).
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        tau_mem: float,
        tau_syn: float = 0.0,
        dt: float = 1e-3,
        v_threshold: float = 1.0,
        threshold_per: Literal["layer", "neuron"] = "layer",
        train_threshold: bool = True,
        bias: bool = True,
        reset: Reset = "zero",
        refractory_steps: int = 1,
        max_spikes: int = 0,
        surrogate: str = "arctan",
        chip: Chip | None = None,
        largest_input: int = 1,
    ) -> None:
        super().__init__()
        self.n_in, self.n_out, self.chip, self.largest_input = n_in, n_out, chip, largest_input
        self.tau_mem, self.tau_syn, self.dt = tau_mem, tau_syn, dt
        self._least_threshold = _LEAST_THRESHOLD * v_threshold
        self.weight = nn.Parameter(torch.empty(n_out, n_in))
        nn.init.uniform_(self.weight, -math.sqrt(3 / n_in), math.sqrt(3 / n_in))
        self.bias = nn.Parameter(torch.zeros(n_out), requires_grad=bias)
        start = torch.full((n_out,) if threshold_per == "neuron" else (), v_threshold)
        self.v_threshold = nn.Parameter(start, requires_grad=train_threshold)
        self.dynamics = Dynamics(
            reset=reset, refractory_steps=refractory_steps, max_spikes=max_spikes, surrogate=surrogate
        )
        self.decays = self._decays()

    def _decays(self) -> Decays:
        limit_u = self.chip.decay_u.format if self.chip else DECAY_U
        limit_v = self.chip.decay_v.format if self.chip else DECAY_V
        decay_u = decay_constant(self.tau_syn, self.dt, limit_u)
        decay_v = decay_constant(self.tau_mem, self.dt, limit_v)
        exact = self.chip is None
        kept_u = kept_share(self.tau_syn, self.dt) if exact else 1 - decay_u / DECAY_ONE
        kept_v = kept_share(self.tau_mem, self.dt) if exact else 1 - decay_v / DECAY_ONE
        return Decays(
            kept_u=torch.tensor(kept_u, dtype=torch.float64),
            kept_v=torch.tensor(kept_v, dtype=torch.float64),
            decay_u=decay_u,
            decay_v=decay_v,
        )

    def synapses(self) -> Tensor:
        """Return the weights as they act: the parameter over `largest_input`, so graded input trains like binary."""
        return self.weight if self.largest_input == 1 else self.weight / self.largest_input

    def positive_threshold(self) -> Tensor:
        """Return the threshold, kept above 0."""
        return self.v_threshold.clamp(min=self._least_threshold)

    @torch.no_grad()
    def threshold_in_v(self) -> Tensor:
        """Return the threshold in the units of v that the forward pass computes in."""
        if self.chip is None:
            return self.positive_threshold()
        quantized = quantize_dense(self.synapses(), self.positive_threshold(), self.bias, self.chip)
        return quantized.threshold_mant * (1 << ALIGN_BITS)

    def _inputs(self, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Input sums, threshold and bias, in floats or in the chip's integers."""
        if self.chip is None:
            return functional.linear(s, self.synapses()), self.positive_threshold(), self.bias
        quantized = quantize_dense(self.synapses(), self.positive_threshold(), self.bias, self.chip)
        x = exact_linear(s, quantized.weight, self.largest_input)
        return x, quantized.threshold_mant, quantized.bias

    def forward(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Run a window: spikes (T, B, n_in) → spikes and v before reset, each (T, B, n_out) float."""
        x, threshold, bias = self._inputs(s)
        return lif(x, threshold, bias, self.decays, self.dynamics, integer=self.chip is not None)

    @torch.no_grad()
    def window(self, s: Tensor) -> Window:
        """Run the same window and return every state, without gradients."""
        run = float_window if self.chip is None else integer_window
        return run(*self._inputs(s), self.decays, self.dynamics, keep_states=True)
