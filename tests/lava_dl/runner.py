"""Run a `.net` file in lava-dl's own reader; lava-dl's Python executes this file, which imports nothing of ours.

    runner.py COMPAT NET INPUTS TRACES

COMPAT is targets/lava/_compat.py, which repairs lava-nc. INPUTS holds `spikes` (T, *shape) for an input without neurons
or `bias` (*shape) for one that has them; TRACES gets the spikes of each layer, (T, *shape), in its own time, and `v` of
the last one after its last step.
"""

from __future__ import annotations

import importlib.util
import sys
import types

import numpy as np


def whc(array):
    """(…, C, H, W) → (W, H, C, …), as lava-dl has them; (…, n) → (n, …)."""
    return np.ascontiguousarray(array.T if array.ndim != 4 else array.transpose(3, 2, 1, 0))


def run(net_file: str, inputs: dict, n_steps: int) -> dict:
    from lava.lib.dl.netx.hdf5 import Network
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from lava.proc import io

    fed = "spikes" in inputs
    # The first layer's state is cleared when its first input arrives, and each layer's a step after the one before.
    net = Network(net_config=net_file, reset_interval=1 << 20, reset_offset=1 if fed else 0)
    depth = len(net.layers) - 1 + fed
    sinks = []
    for layer in net.layers:
        sink = io.sink.RingBuffer(shape=layer.neuron.s_out.shape, buffer=n_steps + depth)
        layer.neuron.s_out.connect(sink.a_in)
        sinks.append(sink)
    if fed:
        spikes = whc(inputs["spikes"])
        late = np.zeros((*spikes.shape[:-1], depth), spikes.dtype)
        source = io.source.RingBuffer(data=np.concatenate([spikes, late], axis=-1))
        source.s_out.connect(net.inp)
    else:
        net.in_layer.neuron.bias_mant.init = inputs["bias"].T.astype(np.int32)
    try:
        net.run(condition=RunSteps(num_steps=n_steps + depth), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
        recorded = [sink.data.get() for sink in sinks]
        v = net.layers[-1].neuron.v.get()
    finally:
        net.stop()
    traces = {str(k): data[..., k + fed : k + fed + n_steps].T for k, data in enumerate(recorded)}
    return {**traces, "v": v.T}


def main(compat: str, net_file: str, inputs_file: str, traces_file: str) -> None:
    spec = importlib.util.spec_from_file_location("compat", compat)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.make_importable()
    # It needs OpenCV and torchvision, and no reader of files needs it.
    unused = "lava.lib.dl.slayer.object_detection"
    sys.modules[unused] = types.ModuleType(unused)
    with np.load(inputs_file) as inputs:
        given = dict(inputs)
    traces = run(net_file, given, int(given.pop("n_steps")))
    np.savez(traces_file, **traces)


if __name__ == "__main__":
    main(*sys.argv[1:])
