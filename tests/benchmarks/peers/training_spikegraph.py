"""Ours, in floats or in the integers of Loihi 1, as a library or as `spikegraph train` runs it: see VARIANTS."""

from __future__ import annotations

import math

from peers.training_tasks import KEPT, THRESHOLD
from torch import nn

from spikegraph.export.chips import load_chip
from spikegraph.trainer import compiled
from spikegraph.trainer.memory import keep_freed_memory
from spikegraph.trainer.modules import LIF
from spikegraph.trainer.network import SpikingNetwork

DT = 1e-3
VARIANTS = {  # in integers, without the compiled part, keeping the memory that a step frees
    "float": (False, False, False),
    "int8": (True, False, False),
    "plain": (False, True, False),
    "float kept": (False, False, True),
    "int8 kept": (True, False, True),
}


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
    integer, plain, kept = VARIANTS[variant]
    if plain:
        compiled.library = lambda: None
    if kept:
        keep_freed_memory()
    chip = load_chip("loihi1") if integer else None
    return Spikes(SpikingNetwork(nn.Sequential(*modules), task.shape, chip=chip))
