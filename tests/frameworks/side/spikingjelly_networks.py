"""Networks in SpikingJelly: every neuron that its exporter writes."""

from __future__ import annotations

from collections import OrderedDict

import torch
from spikingjelly.activation_based import base, functional, layer, neuron, surrogate
from spikingjelly.activation_based.nir_exchange import export_to_nir, import_from_nir
from torch import nn

PACKAGES = ["spikingjelly", "nir", "nirtorch", "torch"]


class Network:
    """A chain of modules, run step by step. What is written down is `v` as SpikingJelly keeps it: after the reset."""

    def __init__(self, **modules):
        self.module = nn.Sequential(OrderedDict(modules))

    def run(self, spikes):
        functional.reset_net(self.module)
        traces = {name: ([], []) for name, m in self.module.named_children() if isinstance(m, base.MemoryModule)}
        for x in spikes:
            for name, module in self.module.named_children():
                x = module(x)
                if name in traces:
                    traces[name][0].append(x)
                    traces[name][1].append(module.v)
        return {name: (torch.stack(s), torch.stack(v)) for name, (s, v) in traces.items()}

    def export(self, shape):
        functional.reset_net(self.module)
        return export_to_nir(self.module, torch.zeros(1, *shape))


GRADIENT = surrogate.ATan()


def lif(**options):
    return neuron.LIFNode(**({"tau": 2.0, "surrogate_function": GRADIENT} | options))


def plif(**options):
    return neuron.ParametricLIFNode(**({"init_tau": 3.0, "surrogate_function": GRADIENT} | options))


def integrate(**options):
    return neuron.IFNode(**({"surrogate_function": GRADIENT} | options))


def cuba(**options):
    return neuron.CUBALIFNode(**({"surrogate_function": GRADIENT} | options))


def dense(kind, **options):
    return Network(fc1=layer.Linear(64, 48), hidden=kind(**options), fc2=layer.Linear(48, 10), out=kind(**options))


def convolutional():
    return Network(
        conv1=layer.Conv2d(1, 8, 3, padding=1),
        hidden=integrate(),
        pool=layer.AvgPool2d(2),
        flatten=layer.Flatten(),
        fc=layer.Linear(128, 10),
        out=integrate(),
    )


FLAT, IMAGE = (64,), (1, 8, 8)
NETWORKS = {
    "lif": (lambda: dense(lif), FLAT),
    "lif_input_whole": (lambda: dense(lif, decay_input=False), FLAT),
    "lif_soft_reset": (lambda: dense(lif, v_reset=None), FLAT),
    "lif_reset_to": (lambda: dense(lif, v_reset=-0.1), FLAT),
    "if": (lambda: dense(integrate), FLAT),
    "plif": (lambda: dense(plif, decay_input=False), FLAT),
    "cuba": (lambda: dense(cuba), FLAT),
    "convolutional": (convolutional, IMAGE),
}


def imported(graph, spikes):
    """Return the output spikes of a NIR graph as SpikingJelly's importer makes a network of it."""
    network, states, out = import_from_nir(graph), None, []
    for x in spikes:
        s, states = network(x, states)
        out.append(s)
    return torch.stack(out)
