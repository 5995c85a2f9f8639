"""snnTorch: Leaky, reset to zero (v > threshold); weighted sums of all steps at once."""

from __future__ import annotations

import snntorch
import torch
from peers.torch_layers import chain, counted, prepare

PACKAGES = ["snntorch", "torch"]


def neurons(threshold):
    leaky = snntorch.Leaky(beta=15 / 16, threshold=threshold, reset_mechanism="zero")

    def neuron(x):
        mem, s = torch.zeros_like(x[0]), []
        for x_t in x:
            spikes, mem = leaky(x_t, mem)
            s.append(spikes)
        return torch.stack(s)

    return neuron


def build(network, variant, batch):
    return prepare, counted(chain(network, neurons))
