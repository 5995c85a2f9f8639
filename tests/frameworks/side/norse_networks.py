"""Networks in Norse: every neuron that its exporter writes."""

from __future__ import annotations

import norse.torch as norse
import torch
from norse.torch.functional.reset import reset_subtract
from torch import nn

PACKAGES = ["norse", "nir", "nirtorch", "torch"]


class Network:
    """A chain of modules, run step by step. What is written down is `v` as Norse keeps it: after the reset."""

    def __init__(self, *modules):
        self.module = norse.SequentialState(*modules)

    def run(self, spikes):
        names = [str(i) for i, stateful in enumerate(self.module.stateful_layers) if stateful]
        traces = {name: ([], []) for name in names}
        states = dict.fromkeys(names)
        for x in spikes:
            for name, module in self.module.named_children():
                if name in traces:
                    x, states[name] = module(x, states[name])
                    traces[name][0].append(x)
                    traces[name][1].append(states[name].v.expand(x.shape))
                else:
                    x = module(x)
        return {name: (torch.stack(s), torch.stack(v)) for name, (s, v) in traces.items()}

    def export(self, shape):
        if len(shape) == 1:
            return norse.to_nir(self.module, torch.zeros(1, *shape))
        graph = norse.to_nir(self.module, torch.zeros(shape))  # no batch, and shapes inferred: else it is not written
        graph.infer_types()
        return graph


def box(*shape, **options):
    given = {"tau_mem_inv": torch.full(shape, 100.0), "v_th": torch.full(shape, 0.3), "v_leak": torch.zeros(shape)}
    return norse.LIFBoxCell(norse.LIFBoxParameters(**(given | options)))


def lif(*shape, leak_to=0.0):
    given = {
        "tau_syn_inv": torch.full(shape, 200.0),
        "tau_mem_inv": torch.full(shape, 100.0),
        "v_th": torch.full(shape, 0.5),
        "v_leak": torch.full(shape, leak_to),
    }
    return norse.LIFCell(norse.LIFParameters(**given))


def iaf(*shape):
    return norse.IAFCell(norse.IAFParameters(v_th=torch.full(shape, 1.0)))


def dense(neuron, **options):
    return Network(nn.Linear(64, 48), neuron(48, **options), nn.Linear(48, 10), neuron(10, **options))


def convolutional():
    """No flattening and no pooling: Norse exports neither."""
    return Network(nn.Conv2d(1, 8, 3, padding=1), box(8, 8, 8), nn.Conv2d(8, 10, 8), box(10, 1, 1))


FLAT, IMAGE = (64,), (1, 8, 8)
NETWORKS = {
    "box": (lambda: dense(box), FLAT),
    "box_subtract": (lambda: dense(box, reset_method=reset_subtract), FLAT),
    "box_reset_to": (lambda: dense(box, v_reset=torch.tensor(-0.1)), FLAT),
    "lif": (lambda: dense(lif), FLAT),
    "lif_leak_to": (lambda: dense(lif, leak_to=0.1), FLAT),
    "iaf": (lambda: dense(iaf), FLAT),
    "convolutional": (convolutional, IMAGE),
}


def imported(graph, spikes):
    """Return the output spikes of a NIR graph as Norse's importer makes a network of it."""
    network, states, out = norse.from_nir(graph), None, []
    for x in spikes:
        s, states = network(x, states)
        out.append(s)
    return torch.stack(out)
