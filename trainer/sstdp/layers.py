"""Layers of one-spike networks: synapses onto neurons that fire at most once, and pooling by the earliest spike."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from spikegraph.export.chips import Chip
from spikegraph.trainer.quantizers import quantize_population
from spikegraph.trainer.sstdp.geometry import Geometry
from spikegraph.trainer.sstdp.rules import Rule, Synapses, fire


class Fired(NamedTuple):
    """What a layer hands on, float tensors (B, c, h, w).

    Attributes
    ----------
    fired_at : Tensor
        Step of each spike, n_steps for silence; its gradient is dE/dt.
    last, peak : Tensor
        v at the end of a sample and at its largest, in units of the threshold: see `Window`. After pooling both are the
        peak of the neuron that was chosen.
    """

    fired_at: Tensor
    last: Tensor
    peak: Tensor


class OneSpikeLayer(nn.Module):
    """Synapses onto integrate-and-fire neurons without leak that fire at most once in a window.

    Parameters
    ----------
    geometry : Geometry
        Dense or convolutional.
    n_steps : int
        Length of the window.
    rule : Rule
        How it learns.
    chip : Chip, optional
        Compute in this chip's integers (quantization-aware); None: in floats.
    v_threshold : float
        In units of the weights. It is not trained: with no leak and no bias, to scale a neuron's threshold is to scale
        its weights.
    urgency : float
        What a bias adds to v from the first step to the last, in thresholds: as time goes by, less evidence is enough.
    dropout : float, 0…1
        Share of its spikes that are lost on the way to the next layer, while the module is in training.
    """

    def __init__(
        self,
        geometry: Geometry,
        *,
        n_steps: int,
        rule: Rule,
        chip: Chip | None = None,
        v_threshold: float = 1.0,
        urgency: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.geometry, self.n_steps, self.rule, self.chip, self.v_threshold = geometry, n_steps, rule, chip, v_threshold
        self.dropout = dropout
        self.weight = nn.Parameter(torch.zeros(geometry.weight_shape))
        self.bias: Tensor | None
        bias = torch.full((geometry.outputs,), urgency * v_threshold / n_steps) if urgency else None
        self.register_buffer("bias", bias)

    @torch.no_grad()
    def synapses(self) -> Synapses:
        """Return weights, bias and threshold as they act: in floats, or in the chip's whole numbers."""
        if self.chip is None:
            return Synapses(weight=self.weight.detach(), bias=self.bias, threshold=self.v_threshold, integer=False)
        bias = self.weight.new_zeros(()) if self.bias is None else self.bias
        quantized = quantize_population(
            ["Dense" if self.geometry.is_dense else "Conv2d"],
            [self.weight],
            self.weight.new_tensor(self.v_threshold),
            bias,
            self.geometry.out_shape,
            self.chip,
        )
        return Synapses(
            weight=quantized.weights[0],
            bias=None if self.bias is None else quantized.bias,
            threshold=float(quantized.threshold_mant),
            integer=True,
        )

    def forward(self, fired: Fired, until: Tensor, *, fires: bool = True) -> Fired:
        """Run a window.

        Parameters
        ----------
        fired : Fired
            Of the layer before, or of the input.
        until : Tensor of int (B,)
            The last step of each sample.
        fires : bool
            False: no spike, and so no reset, ends the integration of v: for losses on potentials.
        """
        fired_at, last, peak = fire(
            fired.fired_at.flatten(1),
            self.weight,
            self.bias,
            self.synapses(),
            self.v_threshold,
            self.geometry,
            self.rule,
            self.n_steps,
            until,
            fires=fires,
        )
        if self.training and self.dropout:
            fired_at = fired_at.masked_fill(torch.rand_like(fired_at) < self.dropout, self.n_steps)
        return Fired(fired_at, last, peak)


class EarliestPool2d(nn.Module):
    """Pooling of spikes: the earliest of a window, as max pooling does on spikes; the error goes to that one neuron.

    Of several earliest it goes to the one with the largest peak, as ties of a first-spike readout go to the larger
    potential (docs/semantics.md); in a window that stayed silent to the one that came nearest to firing. Peaks beyond 8
    thresholds count as equal, and of equals the first in the window has it.

    Parameters
    ----------
    kernel_size : int
        Also the stride.
    """

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size

    def forward(self, fired: Fired) -> Fired:
        """Pool (B, c, h, w)."""
        with torch.no_grad():
            nearness = torch.sigmoid(fired.peak.clamp(-8, 8))  # below 1: between two steps
            key = nearness - fired.fired_at
            _, index = functional.max_pool2d(key, self.kernel_size, return_indices=True)
        shape = index.shape

        def chosen(values: Tensor) -> Tensor:
            return values.flatten(2).gather(2, index.flatten(2)).reshape(shape)

        peak = chosen(fired.peak)
        return Fired(chosen(fired.fired_at), peak, peak)
