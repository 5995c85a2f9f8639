"""SpikingJelly: LIFNode in multi-step mode, the reset detached; `compiled` by torch.compile as well."""

from __future__ import annotations

import torch
from peers.training_tasks import KEPT, THRESHOLD, Stack
from spikingjelly.activation_based import functional, neuron, surrogate


def neurons():
    return neuron.LIFNode(
        tau=1 / (1 - KEPT),
        decay_input=False,
        v_threshold=THRESHOLD,
        v_reset=0.0,
        surrogate_function=surrogate.ATan(alpha=2.0),
        detach_reset=True,
        step_mode="m",
    )


class Network(Stack):
    def forward(self, s):
        functional.reset_net(self)
        return super().forward(s)


def build(task, variant):
    network = Network(task, neurons)
    return torch.compile(network) if variant == "compiled" else network
