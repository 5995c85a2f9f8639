"""SANA-FE on its own Loihi, with its simple timing model. A sample at a time; handing over input spikes is not timed.

Its potential is v / 64. A spike takes a step from layer to layer, so a sample takes as many steps more. Pooling is
folded into the weights; cores are filled one after the other, 1,024 neurons each.
"""

from __future__ import annotations

import math
import time

import numpy as np
import sanafe

PACKAGES = ["sanafe"]
SECONDS = 0.0  # one batch a round
CORE, CORES_PER_TILE = 1024, 4


def batches(network, variant):
    return [1] if network.layers[0].is_conv else [20]


class Placement:
    """Hands out cores."""

    def __init__(self, architecture):
        self.cores = [core for tile in architecture.tiles for core in tile.cores]
        self.next = 0

    def map(self, neurons):
        for start in range(0, len(neurons), CORE):
            for neuron in neurons[start : start + CORE]:
                neuron.map_to_core(self.cores[self.next])
            self.next += 1


def build(network, variant, batch):
    architecture, net = sanafe.load_loihi(), sanafe.Network()
    placement, depth = Placement(architecture), len(network.layers)
    common = {"log_spikes": True, "default_dendrite_hw_name": "loihi_dendrites"}
    source = net.create_neuron_group("input", math.prod(network.input_shape), **common)
    neurons = [source[i] for i in range(math.prod(network.input_shape))]
    for i, neuron in enumerate(neurons):  # a unit holds one train of spikes
        neuron.set_attributes(soma_hw_name=f"loihi_inputs[{i % CORE}]")
    placement.map(neurons)
    for i, (layer, shape) in enumerate(zip(network.layers, network.shapes())):
        unit = "loihi_conv_synapse" if layer.is_conv else "loihi_dense_synapse"
        size = math.prod(shape)
        group = net.create_neuron_group(
            f"layer{i}", size, soma_hw_name="loihi_lif", default_synapse_hw_name=unit, **common
        )
        neurons = [group[k] for k in range(size)]
        for neuron in neurons:
            values = {"threshold": float(layer.threshold >> 6), "leak_decay": 15 / 16, "bias": 0.0}
            neuron.set_attributes(model_attributes={**values, "refractory_delay": 1})
        placement.map(neurons)
        pre, post, weight = network.synapses(i)
        source.connect_neurons_sparse(group, {"weight": weight.tolist()}, np.stack([pre, post], axis=1).tolist())
        source = group
    chip = sanafe.SpikingChip(architecture)
    chip.load(net)
    inputs, last = chip.mapped_neuron_groups["input"], f"layer{depth - 1}"

    def prepare(spikes):
        silent = np.zeros((depth, math.prod(network.input_shape)), int)
        return [np.concatenate([spikes[:, i].reshape(network.n_steps, -1), silent]) for i in range(batch)]

    def run(prepared):
        counts, seconds = np.zeros((batch, network.shapes()[-1][0]), int), 0.0
        for i, raster in enumerate(prepared):
            chip.reset()
            for neuron, train in zip(inputs, raster.T.tolist()):
                neuron.set_attributes(model_attributes={"spikes": train})
            start = time.perf_counter()
            result = chip.sim(len(raster), timing_model="simple", processing_threads=2, spike_trace=True)
            seconds += time.perf_counter() - start
            # Its own step 0 is a silent one, before the first spikes reach the last layer.
            for fired in result["spike_trace"]:
                for address in fired:
                    if address.group_name == last:
                        counts[i, address.neuron_offset] += 1
        return counts, seconds

    return prepare, run
