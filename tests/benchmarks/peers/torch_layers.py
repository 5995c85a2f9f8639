"""What the peers on PyTorch share: weighted sums of all steps at once, a layer after the other."""

from __future__ import annotations

import torch
from torch.nn import functional

torch.set_grad_enabled(False)


class WeightedSum(torch.nn.Module):
    """Sums of one layer for any leading dimensions, scaled to the units of v; counts in a pooled input are quarters.

    Parameters
    ----------
    scale : float
        Beyond the 64 of the semantics: 16 for a neuron that divides its input by the time constant.
    """

    def __init__(self, network, index, scale=1.0):
        super().__init__()
        layer, before = network.layers[index], network.layers[index - 1] if index else None
        scale *= 64.0 * (4.0 if before and before.pool else 1.0)
        self.weight = torch.nn.Parameter(torch.from_numpy(layer.weight).float() * scale, requires_grad=False)
        self.is_conv, self.padding = layer.is_conv, layer.padding

    def forward(self, s):
        lead = s.shape[:2]
        if self.is_conv:
            x = functional.conv2d(s.flatten(0, 1), self.weight, padding=self.padding)
        else:
            x = functional.linear(s.reshape(lead[0] * lead[1], -1), self.weight)
        return x.unflatten(0, lead)


def pooled(s):
    """Mean over windows of 2 × 2: the next layer's weights are four times as large."""
    return functional.avg_pool2d(s.flatten(0, 1), 2).unflatten(0, s.shape[:2])


def chain(network, neurons, scale=1.0):
    """Return the whole network as a function from input (T, B, …) to output spikes (T, B, n).

    Parameters
    ----------
    neurons : callable(threshold) → callable
        Makes the neurons of a layer: from x (T, B, …) to spikes of the same shape, all state cleared before.
    """
    layers = [
        (WeightedSum(network, i, scale), neurons(float(layer.threshold)), layer.pool)
        for i, layer in enumerate(network.layers)
    ]

    def forward(s):
        for weighted_sum, neuron, pool in layers:
            s = neuron(weighted_sum(s))
            s = pooled(s) if pool else s
        return s

    return forward


def prepare(spikes):
    return torch.from_numpy(spikes).float()


def above(threshold):
    """Return the next float32 above: turns a neuron's v >= threshold into v > threshold."""
    return float(torch.nextafter(torch.tensor(threshold), torch.tensor(float("inf"))))


def counted(forward, time_axis=0):
    """Return `run` of an adapter."""
    return lambda prepared: forward(prepared).sum(time_axis).numpy().astype(int)
