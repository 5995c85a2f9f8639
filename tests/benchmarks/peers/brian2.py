"""brian2 as compiled C++ (cpp_standalone). Samples follow each other in one run, whose time brian2 itself reports.

A step is: decay, synapses, threshold, reset, with a truncating decay. Spikes arrive one step later, so a deeper layer
takes a sample a step later. Pooling is folded into the weights. It compiles once for each batch size.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import brian2
import numpy as np
from brian2 import ms

PACKAGES = ["Brian2"]
SECONDS = 0.0  # one batch a round
PERIOD = 1 * ms


def batches(network, variant):
    return [20] if network.layers[0].is_conv else [500]


def build(network, variant, batch):
    n_steps, depth = network.n_steps, len(network.layers)

    def prepare(spikes):
        folder = Path(tempfile.mkdtemp(prefix="peers-brian2-"))
        brian2.device.reinit()
        brian2.device.activate()
        brian2.set_device("cpp_standalone", directory=str(folder), build_on_run=False)
        brian2.prefs.devices.cpp_standalone.openmp_threads = 0 if variant == "serial" else 2
        brian2.prefs.codegen.cpp.extra_compile_args_gcc = ["-w", "-O3", "-ffast-math", "-march=native"]
        brian2.defaultclock.dt = PERIOD
        net = brian2.Network()
        net.schedule = ["start", "groups", "synapses", "thresholds", "resets", "end"]
        flat = spikes.swapaxes(0, 1).reshape(n_steps * batch, -1)
        steps, lines = np.nonzero(flat)
        source = brian2.SpikeGeneratorGroup(flat.shape[1], lines, steps * PERIOD, when="start")
        net.add(source)
        for i, (layer, shape) in enumerate(zip(network.layers, network.shapes())):
            # At the start of its sample a neuron begins at 0; `first` is that step.
            neurons = brian2.NeuronGroup(
                int(np.prod(shape)),
                "v : 1",
                threshold=f"v > {layer.threshold}",
                reset="v = 0",
                namespace={"first": i, "n_steps": n_steps},
            )
            decay = "v = sign(v) * floor(abs(v) * 0.9375) * int((t_in_timesteps % n_steps) != first)"
            neurons.run_regularly(decay, when="groups")
            pre, post, weight = network.synapses(i)
            synapses = brian2.Synapses(source, neurons, "w : 1", on_pre="v_post += w")
            synapses.connect(i=pre, j=post)
            synapses.w = weight * 64.0
            net.add(neurons, synapses)
            source = neurons
        monitor = brian2.SpikeMonitor(source)
        net.add(monitor)
        net.run((n_steps * batch + depth - 1) * PERIOD)
        brian2.device.build(directory=str(folder), compile=True, run=False, with_output=False)
        return folder, monitor, net

    def run(prepared):
        folder, monitor, _ = prepared
        brian2.device.run(directory=str(folder), with_output=False, run_args=[])
        steps = np.rint(monitor.t / PERIOD).astype(int) - (depth - 1)
        counts = np.zeros((batch, network.shapes()[-1][0]), int)
        keep = (steps >= 0) & (steps < n_steps * batch)
        np.add.at(counts, (steps[keep] // n_steps, np.asarray(monitor.i)[keep]), 1)
        return counts, brian2.device._last_run_time

    return prepare, run
