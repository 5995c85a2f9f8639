"""snnTorch: Leaky, reset to zero, over a loop of the steps; `compiled` by torch.compile as well."""

from __future__ import annotations

import snntorch
import torch
from peers.training_tasks import KEPT, THRESHOLD, Stack
from snntorch import surrogate
from torch import nn


class Neurons(nn.Module):
    def __init__(self):
        super().__init__()
        spike_grad = surrogate.atan(alpha=2.0)
        self.leaky = snntorch.Leaky(beta=KEPT, threshold=THRESHOLD, spike_grad=spike_grad, reset_mechanism="zero")

    def forward(self, x):
        mem, s = torch.zeros_like(x[0]), []
        for x_t in x:
            spikes, mem = self.leaky(x_t, mem)
            s.append(spikes)
        return torch.stack(s)


def build(task, variant):
    network = Stack(task, Neurons)
    return torch.compile(network) if variant == "compiled" else network
