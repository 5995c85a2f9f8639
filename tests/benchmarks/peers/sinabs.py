"""Sinabs: LIF with a single spike a step and reset to zero. Its v >= threshold becomes > by the next float."""

from __future__ import annotations

import math

import torch
from peers.torch_layers import above, chain, counted
from sinabs import activation, layers

PACKAGES = ["sinabs", "torch"]


def neurons(threshold):
    lif = layers.LIF(
        tau_mem=-1 / math.log(15 / 16),
        spike_threshold=torch.tensor(above(threshold)),
        spike_fn=activation.SingleSpike,
        reset_fn=activation.MembraneReset(),
        norm_input=False,
    )

    def run(x):
        lif.reset_states()
        return lif(x)

    return run


def build(network, variant, batch):
    # Sinabs wants (B, T, …).
    forward = chain(network, neurons)
    return lambda spikes: torch.from_numpy(spikes.swapaxes(0, 1).copy()).float(), counted(forward, time_axis=1)
