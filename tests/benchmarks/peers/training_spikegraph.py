"""Ours: in `float`; in Loihi 1's integers, `int8`; and `float` without the compiled part, `plain`."""

from __future__ import annotations

import math

from peers.training_tasks import KEPT, THRESHOLD
from torch import nn

from spikegraph.export.chips import load_chip
from spikegraph.trainer import compiled
from spikegraph.trainer.modules import LIF
from spikegraph.trainer.network import SpikingNetwork

DT = 1e-3


def neurons():
    return LIF(tau_mem=-DT / math.log(KEPT), dt=DT, v_threshold=THRESHOLD, train_threshold=False)


class Spikes(nn.Module):
    """The network's spikes at its output."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, s):
        return self.network(s).s[self.network.outputs[0]]


def build(task, variant):
    modules = []
    for module in task.modules():
        modules += [module, neurons()] if isinstance(module, (nn.Linear, nn.Conv2d)) else [module]
    if variant == "plain":
        compiled.library = lambda: None
    chip = load_chip("loihi1") if variant == "int8" else None
    return Spikes(SpikingNetwork(nn.Sequential(*modules), task.shape, chip=chip))
