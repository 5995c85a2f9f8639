"""PyTorch by hand, exactly the integer semantics: float32, int8 by torch._int_mm, and both compiled.

float32 holds integers up to 2^24, and v · 15 / 16 while |v| < 2^20, exactly.
"""

from __future__ import annotations

import torch
from peers.torch_layers import chain, counted, prepare

PACKAGES = ["torch"]


def neurons(threshold):
    def neuron(x):
        v, s = torch.zeros_like(x[0]), torch.empty_like(x)
        for t in range(len(x)):
            v.mul_(15 / 16).trunc_().add_(x[t])
            torch.gt(v, threshold, out=s[t])
            v.addcmul_(v, s[t], value=-1)
        return s

    return neuron


def functional_neurons(threshold):
    """The same without writing in place, which the compiler fuses into one loop over all steps."""

    def neuron(x):
        v, s = torch.zeros_like(x[0]), []
        for t in range(len(x)):
            v = torch.trunc(v * (15 / 16)) + x[t]
            fired = v > threshold
            s.append(fired.float())
            v = torch.where(fired, 0.0, v)
        return torch.stack(s)

    return neuron


def int8_chain(network, neurons):
    """Weighted sums in int8 and int32, neurons in float32; the private torch._int_mm has no convolution."""
    if any(layer.is_conv for layer in network.layers):
        raise NotImplementedError("PyTorch has no int8 convolution with int32 sums on a CPU")
    layers = []
    for layer in network.layers:
        weight = torch.from_numpy(layer.weight).t()
        columns = -weight.shape[1] % 8  # _int_mm wants a multiple of 8
        weight = torch.nn.functional.pad(weight, (0, columns)).contiguous()
        layers.append((weight, len(layer.weight), neurons(float(layer.threshold))))

    def forward(s):
        for weight, width, neuron in layers:
            x = torch._int_mm(s.to(torch.int8).flatten(0, 1), weight)[:, :width]
            s = neuron(x.float().mul(64).unflatten(0, s.shape[:2]))
        return s

    return forward


def batches(network, variant):
    """Each size is compiled anew, some 20 s; the large ones were never the best."""
    return network.batches[:4] if variant.startswith("compiled") else network.batches


def build(network, variant, batch):
    compiled = variant.startswith("compiled")
    neuron = functional_neurons if compiled else neurons
    forward = int8_chain(network, neuron) if variant.endswith("int8") else chain(network, neuron)
    if compiled:
        torch._dynamo.reset()
        # Left to itself the compiler turns convolutions to channels last, and the neurons behind them are slow.
        forward = torch.compile(forward, dynamic=False, options={"layout_optimization": False})
    if variant.endswith("int8"):
        return lambda spikes: torch.from_numpy(spikes).to(torch.int8), counted(forward)
    return prepare, counted(forward)
