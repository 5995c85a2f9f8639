"""Networks in Rockpool: every neuron that its exporter writes."""

from __future__ import annotations

import torch
from rockpool.nn.combinators import Sequential
from rockpool.nn.modules import LIFNeuronTorch, LIFTorch, LinearTorch
from rockpool.nn.modules.torch.nir import from_nir, to_nir
from rockpool.parameters import Constant

PACKAGES = ["rockpool", "nir", "nirtorch", "torch"]
NEURONS = (LIFTorch, LIFNeuronTorch)


class Network:
    """A chain of modules over (batch, time, …). What is written down is `vmem`, which is after the reset."""

    def __init__(self, *modules):
        self.module = Sequential(*modules)

    def run(self, spikes):
        traces, x = {}, spikes.transpose(0, 1)
        for name, module in self.module.named_children():
            if isinstance(module, NEURONS):
                module.reset_state()
                x, _, record = module(x, record=True)
                traces[name] = x.transpose(0, 1), record["vmem"].transpose(0, 1)
            else:
                x, _, _ = module(x)
        return traces

    def export(self, shape):
        self.module.reset_state()
        return to_nir(self.module, torch.zeros(1, 1, *shape))


def lif(n, **options):
    given = {
        "tau_mem": Constant(10e-3),
        "tau_syn": Constant(2e-3),
        "bias": Constant(0.0),
        "threshold": Constant(1.0),
        "max_spikes_per_dt": torch.tensor(1.0),
        "learning_window": 4.0,
        "dt": 1e-3,
    }
    return LIFTorch(n, **(given | options))


def plain(n):
    constants = {"tau_mem": Constant(20e-3), "bias": Constant(0.0), "threshold": Constant(1.0)}
    return LIFNeuronTorch(n, **constants, max_spikes_per_dt=torch.tensor(1.0), learning_window=2.0, dt=1e-3)


def dense(neuron, has_bias=False, **options):
    return Network(
        LinearTorch((64, 48), has_bias=has_bias),
        neuron(48, **options),
        LinearTorch((48, 10), has_bias=has_bias),
        neuron(10, **options),
    )


FLAT = (64,)
NETWORKS = {
    "lif": (lambda: dense(lif), FLAT),
    "lif_multispike": (lambda: dense(lif, max_spikes_per_dt=torch.tensor(2.0**16)), FLAT),
    "lif_bias": (lambda: dense(lif, has_bias=True), FLAT),
    "lif_own_bias": (lambda: dense(lif, bias=Constant(0.05)), FLAT),
    "plain": (lambda: dense(plain), FLAT),
}


def imported(graph, spikes):
    """Return the output spikes of a NIR graph as Rockpool's importer makes a network of it."""
    out = from_nir(graph)(spikes.transpose(0, 1))
    return (out[0] if isinstance(out, tuple) else out).transpose(0, 1)
