"""Networks in snnTorch: every neuron that its exporter writes, with every reset."""

from __future__ import annotations

from collections import OrderedDict

import snntorch
import torch
from snntorch import surrogate
from snntorch.export_nir import export_to_nir
from snntorch.import_nir import import_from_nir
from torch import nn

PACKAGES = ["snntorch", "nir", "nirtorch", "torch"]
GRADIENT = surrogate.fast_sigmoid(slope=10)
NEURONS = (snntorch.Leaky, snntorch.Synaptic, snntorch.RLeaky, snntorch.RSynaptic)


class Network:
    """A chain of modules, run step by step. What is written down is `mem` as snnTorch keeps it."""

    def __init__(self, **modules):
        self.module = nn.Sequential(OrderedDict(modules))

    def neurons(self):
        return {name: m for name, m in self.module.named_children() if isinstance(m, NEURONS)}

    def run(self, spikes):
        for neuron in self.neurons().values():
            neuron._init_mem()
        traces = {name: ([], []) for name in self.neurons()}
        for x in spikes:
            for name, module in self.module.named_children():
                x = module(x)
                if name in traces:
                    traces[name][0].append(x)
                    traces[name][1].append(module.mem)
        return {name: (torch.stack(s), torch.stack(v)) for name, (s, v) in traces.items()}

    def export(self, shape):
        for neuron in self.neurons().values():
            neuron._init_mem()
        with torch.no_grad():
            return export_to_nir(self.module, torch.zeros(1, *shape), ignore_dims=[0])


def filled(shape, value):
    """Return one number per neuron: snnTorch's exporter refuses layers with one for all (nir 1.0.8 infers no shape)."""
    return torch.full(shape, value)


def leaky(*shape, **options):
    options = {"beta": filled(shape, 0.9), "threshold": filled(shape, 1.0)} | options
    return snntorch.Leaky(spike_grad=GRADIENT, init_hidden=True, **options)


def synaptic(*shape, **options):
    options = {"alpha": filled(shape, 0.6), "beta": filled(shape, 0.9), "threshold": filled(shape, 1.0)} | options
    return snntorch.Synaptic(spike_grad=GRADIENT, init_hidden=True, **options)


def rleaky(n, **options):
    return snntorch.RLeaky(beta=0.9, linear_features=n, spike_grad=GRADIENT, init_hidden=True, **options)


def rsynaptic(n, **options):
    return snntorch.RSynaptic(alpha=0.6, beta=0.9, linear_features=n, spike_grad=GRADIENT, init_hidden=True, **options)


def dense(neuron, **options):
    return Network(
        fc1=nn.Linear(64, 48), hidden=neuron(48, **options), fc2=nn.Linear(48, 10), out=neuron(10, **options)
    )


def recurrent(hidden, out):
    return Network(fc1=nn.Linear(64, 40), hidden=hidden, fc2=nn.Linear(40, 10), out=out)


def per_neuron():
    """Decays and thresholds of each neuron's own, trained too; no bias."""
    own = {"beta": torch.linspace(0.7, 0.95, 48), "threshold": torch.linspace(0.8, 1.2, 48)}
    return Network(
        fc1=nn.Linear(64, 48, bias=False),
        hidden=leaky(48, **own, learn_beta=True, learn_threshold=True, reset_mechanism="zero"),
        fc2=nn.Linear(48, 10, bias=False),
        out=leaky(10, reset_mechanism="zero"),
    )


def without_leak():
    """Decays of 1, of which the exporter makes infinite time constants and resistances."""
    return Network(
        fc1=nn.Linear(64, 48),
        hidden=leaky(48, beta=torch.ones(48), **ZERO),
        fc2=nn.Linear(48, 10),
        out=leaky(10, beta=torch.ones(10), **ZERO),
    )


def one_to_one():
    """A weight from each neuron to itself."""
    hidden = snntorch.RLeaky(
        beta=0.9,
        all_to_all=False,
        V=torch.full((40,), 0.1),
        spike_grad=GRADIENT,
        init_hidden=True,
        reset_mechanism="zero",
    )
    return recurrent(hidden, leaky(10, reset_mechanism="zero"))


def convolutional():
    return Network(
        conv1=nn.Conv2d(1, 8, 3, padding=1),
        hidden=leaky(8, 8, 8, reset_mechanism="zero"),
        pool=nn.AvgPool2d(2),
        flatten=nn.Flatten(),
        fc=nn.Linear(128, 10),
        out=leaky(10, reset_mechanism="zero"),
    )


ZERO = {"reset_mechanism": "zero"}
AT_ONCE = {"reset_delay": False}
FLAT, IMAGE = (64,), (1, 8, 8)
NETWORKS = {
    "leaky_subtract": (lambda: dense(leaky), FLAT),
    "leaky_subtract_at_once": (lambda: dense(leaky, **AT_ONCE), FLAT),
    "leaky_zero": (lambda: dense(leaky, **ZERO), FLAT),
    "leaky_none": (lambda: dense(leaky, reset_mechanism="none"), FLAT),
    "leaky_per_neuron": (per_neuron, FLAT),
    "leaky_without_leak": (without_leak, FLAT),
    "synaptic_subtract": (lambda: dense(synaptic), FLAT),
    "synaptic_zero": (lambda: dense(synaptic, **ZERO), FLAT),
    "synaptic_zero_at_once": (lambda: dense(synaptic, **ZERO, **AT_ONCE), FLAT),
    "recurrent_subtract": (lambda: recurrent(rleaky(40), leaky(10)), FLAT),
    "recurrent_zero": (lambda: recurrent(rleaky(40, **ZERO), leaky(10, **ZERO)), FLAT),
    "recurrent_one_to_one": (one_to_one, FLAT),
    "recurrent_synaptic_zero": (lambda: recurrent(rsynaptic(40, **ZERO), synaptic(10, **ZERO)), FLAT),
    "convolutional": (convolutional, IMAGE),
}


def imported(graph, spikes):
    """Return the output spikes of a NIR graph as snnTorch's importer makes a network of it."""
    network, states, out = import_from_nir(graph), None, []
    for x in spikes:
        s, states = network(x, states)
        out.append(s)
    return torch.stack(out)
