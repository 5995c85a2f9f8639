"""Networks in Sinabs: every neuron that its exporter writes."""

from __future__ import annotations

from collections import OrderedDict

import sinabs.layers as sl
import torch
from sinabs.activation import MembraneReset, MultiSpike, SingleSpike
from sinabs.nir import from_nir, to_nir
from torch import nn

PACKAGES = ["sinabs", "nir", "nirtorch", "torch"]


class Network:
    """A chain of modules over (batch · time, …). What is written down is `v_mem`, which is after the reset."""

    def __init__(self, **modules):
        self.module = nn.Sequential(OrderedDict(modules))

    def neurons(self):
        return {name: m for name, m in self.module.named_children() if isinstance(m, sl.StatefulLayer)}

    def run(self, spikes):
        n_steps, batch = spikes.shape[:2]
        traces, x = {}, spikes.transpose(0, 1).flatten(0, 1)
        for name, module in self.module.named_children():
            if isinstance(module, sl.StatefulLayer):
                module.batch_size, module.num_timesteps = batch, -1
                module.init_state_with_shape((batch, *x.shape[1:]))
                module.record_states = True
                x = module(x)
                s, v = x.unflatten(0, (batch, n_steps)), module.recordings["v_mem"]
                traces[name] = s.transpose(0, 1), v.transpose(0, 1)
            else:
                x = module(x)
        return traces

    def export(self, shape):
        for neuron in self.neurons().values():
            neuron.batch_size, neuron.num_timesteps, neuron.record_states = 1, -1, False
            neuron.recordings = {}
        with torch.no_grad():
            self.run(torch.zeros(1, 1, *shape))
            graph = to_nir(self.module, torch.zeros(1, *shape))
        if "flatten" in graph.nodes:  # else nothing can be written: nir 1.0.4 knows no shapes behind a convolution
            graph.infer_types()
        return graph


def iaf(**options):
    return sl.IAFSqueeze(batch_size=1, **({"spike_fn": SingleSpike} | options))


def lif(**options):
    return sl.LIFSqueeze(batch_size=1, **({"tau_mem": 10.0, "spike_fn": SingleSpike} | options))


def dense(neuron, **options):
    return Network(fc1=nn.Linear(64, 48), hidden=neuron(**options), fc2=nn.Linear(48, 10), out=neuron(**options))


def convolutional():
    return Network(
        conv1=nn.Conv2d(1, 8, 3, padding=1, bias=False),
        hidden=iaf(min_v_mem=None),
        pool=sl.SumPool2d(2),
        flatten=nn.Flatten(),
        fc=nn.Linear(128, 10, bias=False),
        out=iaf(),
    )


FLAT, IMAGE = (64,), (1, 8, 8)
NETWORKS = {
    "iaf": (lambda: dense(iaf), FLAT),
    "iaf_reset_to_zero": (lambda: dense(iaf, reset_fn=MembraneReset()), FLAT),
    "iaf_multispike": (lambda: dense(iaf, spike_fn=MultiSpike), FLAT),
    "iaf_clipped": (lambda: dense(iaf, min_v_mem=-1.0), FLAT),
    "lif": (lambda: dense(lif), FLAT),
    "lif_input_whole": (lambda: dense(lif, norm_input=False), FLAT),
    "lif_synapse": (lambda: dense(lif, tau_syn=5.0, norm_input=False), FLAT),
    "convolutional": (convolutional, IMAGE),
}


def imported(graph, spikes):
    """Return the output spikes of a NIR graph as Sinabs' importer makes a network of it."""
    n_steps, batch = spikes.shape[:2]
    out = from_nir(graph, batch_size=batch)(spikes.transpose(0, 1).flatten(0, 1))
    out = out[0] if isinstance(out, tuple) else out
    return out.unflatten(0, (batch, n_steps)).transpose(0, 1)
