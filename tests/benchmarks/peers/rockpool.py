"""Rockpool: LinearTorch and LIFTorch, with next to no synaptic current.

Another neuron: it subtracts the threshold when it fires, and may fire several times in a step. No convolution over time
and batch, so A only.
"""

from __future__ import annotations

import torch
from peers.torch_layers import counted
from rockpool.nn.combinators import Sequential
from rockpool.nn.modules import LIFTorch, LinearTorch

PACKAGES = ["rockpool", "torch"]
torch.set_grad_enabled(False)


def build(network, variant, batch):
    if any(layer.is_conv for layer in network.layers):
        raise NotImplementedError("Rockpool has no convolution over (T, B, C, H, W)")
    modules = []
    for layer in network.layers:
        weight = torch.from_numpy(layer.weight.T.copy()).float() * 64
        n_in, n_out = weight.shape
        modules.append(LinearTorch((n_in, n_out), weight=weight, has_bias=False))
        # It integrates β · (isyn + x): 2^-10 of the sum, which decays to nothing; the threshold is as much lower.
        beta = 2.0**-10
        threshold = torch.full((n_out,), float(layer.threshold) * beta)
        decays = {"alpha": torch.full((n_out,), 15 / 16), "beta": torch.full((1, 1), beta)}
        modules.append(LIFTorch(n_out, leak_mode="decays", threshold=threshold, **decays))
    net = Sequential(*modules)

    def forward(s):
        net.reset_state()
        return net(s)[0]

    return lambda spikes: torch.from_numpy(spikes.swapaxes(0, 1).copy()).float(), counted(forward, time_axis=1)
