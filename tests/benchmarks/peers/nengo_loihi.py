"""nengo-loihi's emulator: integer blocks, built by hand so that weights and thresholds are ours; a sample at a time.

A spike takes a step from block to block, so a sample takes as many steps more. Dense layers only: its convolutions are
made from Nengo's networks of floats.
"""

from __future__ import annotations

import time

import numpy as np
from nengo_loihi.block import Axon, LoihiBlock, Synapse
from nengo_loihi.builder import Model
from nengo_loihi.emulator import EmulatorInterface
from nengo_loihi.inputs import SpikeInput

PACKAGES = ["nengo-loihi", "nengo", "numpy"]
SECONDS = 0.0  # one batch a round


def batches(network, variant):
    return [10]


def block_of(layer):
    """Return a discretized block: numbers as in the chip's registers, weights shifted by 6 as the emulator has them."""
    n_out, n_in = layer.weight.shape
    block = LoihiBlock(n_out)
    neurons = block.compartment
    neurons.discretize_info = {"v_scale": 1}
    for name, value in {"decay_u": 4095, "decay_v": 256, "vth": layer.threshold, "bias": 0, "refract_delay": 1}.items():
        setattr(neurons, name, np.full(n_out, value, np.int32))
    neurons.vmin, neurons.vmax = -(2**23) + 1, 2**23 - 1
    neurons.scale_u = neurons.scale_v = False
    synapse = Synapse(n_in)
    synapse.set_weights(layer.weight.T.astype(np.float32))
    synapse.format(weight_exp=0)
    synapse.weights = [w.astype(np.int32) << 6 for w in synapse.weights]
    block.add_synapse(synapse)
    return block


def axon_to(block, n):
    axon = Axon(n)
    axon.target = block.synapses[0]
    axon.set_compartment_axon_map(np.arange(n))
    return axon


def build(network, variant, batch):
    if any(layer.is_conv for layer in network.layers):
        raise NotImplementedError("its convolutions are made from Nengo's networks of floats")
    model, blocks = Model(), [block_of(layer) for layer in network.layers]
    source = inputs = SpikeInput(network.input_shape[0])
    for block, layer in zip(blocks, network.layers):
        source.add_axon(axon_to(block, layer.weight.shape[1]))
        model.add_block(block)
        source = block
    model.add_input(inputs)
    emulator, n_out = EmulatorInterface(model, seed=0), len(network.layers[-1].weight)
    length = network.n_steps + len(network.layers) + 1

    def run(spikes):
        counts, state = np.zeros((batch, n_out), int), emulator.compartment
        for i in range(batch):
            for t, s in enumerate(spikes[:, i], emulator.t + 1):
                inputs.add_spikes(t, np.flatnonzero(s))
            start = time.perf_counter()
            for _ in range(length):
                emulator.step()
                counts[i] += state.spiked[-n_out:]
            run.seconds += time.perf_counter() - start
            for values in (state.voltage, state.current, state.ref_count):
                values[:] = 0
        return counts

    def timed(spikes):
        run.seconds = 0.0
        return run(spikes), run.seconds

    return lambda spikes: spikes, timed
