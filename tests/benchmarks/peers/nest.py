"""NEST: iaf_psc_delta, whose leak is a float, and a step between layers. Pooling is folded into the weights.

Samples follow each other; between them each layer is set to 0, after as many silent steps as there are layers. Its
v >= threshold becomes > by the next float.
"""

from __future__ import annotations

import math
import time

import nest
import numpy as np

PACKAGES = ["nest-simulator"]
SECONDS = 0.0  # one batch a round


def batches(network, variant):
    return [2] if network.layers[0].is_conv else [50]


def build(network, variant, batch):
    depth = len(network.layers)
    length = float(network.n_steps + depth + 1)  # a spike takes a step from layer to layer

    def prepare(spikes):
        nest.ResetKernel()
        nest.verbosity = nest.VerbosityLevel.ERROR
        nest.SetKernelStatus({"local_num_threads": 2, "resolution": 1.0})
        inputs = nest.Create("spike_generator", math.prod(network.input_shape), {"allow_offgrid_times": False})
        source, layers = nest.Create("parrot_neuron", len(inputs)), []
        nest.Connect(inputs, source, "one_to_one", {"delay": 1.0})
        for i, (layer, shape) in enumerate(zip(network.layers, network.shapes())):
            lif = {"tau_m": -1 / math.log(15 / 16), "C_m": 1.0, "t_ref": 0.0, "E_L": 0.0, "V_reset": 0.0, "V_m": 0.0}
            lif["V_th"] = math.nextafter(layer.threshold, math.inf)
            neurons = nest.Create("iaf_psc_delta", math.prod(shape), lif)
            pre, post, w = network.synapses(i)
            nest.Connect(
                np.asarray(source.tolist())[pre],
                np.asarray(neurons.tolist())[post],
                "one_to_one",
                {"weight": w * 64.0, "delay": np.ones(len(w)), "synapse_model": "static_synapse"},
            )
            layers.append(neurons)
            source = neurons
        recorder = nest.Create("spike_recorder")
        nest.Connect(source, recorder)
        return spikes.reshape(*spikes.shape[:2], -1), inputs, layers, recorder

    def run(prepared):
        spikes, inputs, layers, recorder = prepared
        recorder.n_events = 0
        begin = nest.biological_time
        steps, samples, lines = np.nonzero(spikes)
        times = begin + samples * length + steps + 1.0
        for k, line in enumerate(inputs):
            line.spike_times = np.sort(times[lines == k])
        start = time.perf_counter()
        with nest.RunManager():
            for _ in range(batch):
                nest.Run(length)
                for neurons in layers:
                    neurons.V_m = 0.0
        seconds = time.perf_counter() - start
        events, first = recorder.events, min(layers[-1].tolist())
        counts = np.zeros((batch, len(layers[-1])), int)
        np.add.at(counts, (((events["times"] - begin - 1) // length).astype(int), events["senders"] - first), 1)
        return counts, seconds

    return prepare, run
