"""lava-nc: stock processes with the bit-accurate models, which run on from round to round, samples back to back.

A layer deeper in takes a sample a step later, so its reset is a step later too. Pooling is folded into the weights; its
Conv is a true convolution, so kernels are flipped. Only the output is kept, in a sink that is read between rounds.
"""

from __future__ import annotations

import importlib.util
import logging
import time
from pathlib import Path

import numpy as np

PACKAGES = ["lava-nc"]
SECONDS = 0.0  # one batch a round
# The repair that our Lava target makes, from its file: this environment has no spikegraph.
_repair = Path(__file__).parents[3] / "targets" / "lava" / "_compat.py"
_spec = importlib.util.spec_from_file_location("_compat", _repair)
_compat = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_compat)
_compat.make_importable()
logging.disable(logging.CRITICAL)

from lava.magma.core.run_conditions import RunSteps  # noqa: E402
from lava.magma.core.run_configs import Loihi1SimCfg  # noqa: E402
from lava.proc.conv import models as conv_models  # noqa: E402
from lava.proc.conv.process import Conv  # noqa: E402
from lava.proc.dense import models as dense_models  # noqa: E402
from lava.proc.dense.process import Dense  # noqa: E402
from lava.proc.io import sink, source  # noqa: E402
from lava.proc.lif import models as lif_models  # noqa: E402
from lava.proc.lif.process import LIFReset  # noqa: E402

MODELS = {
    source.RingBuffer: source.PySendModelFixed,
    sink.RingBuffer: sink.PyReceiveModelFixed,
    Dense: dense_models.PyDenseModelBitAcc,
    Conv: conv_models.PyConvModelFixed,
    LIFReset: lif_models.PyLifResetModelBitAcc,
}


RUN = Loihi1SimCfg(select_tag="fixed_pt", exception_proc_model_map=MODELS)
_running = []


def batches(network, variant):
    """Samples of a run: starting one costs something too."""
    return [4] if network.layers[0].is_conv else [64]


def build(network, variant, batch):
    period = network.n_steps * batch

    def prepare(spikes):
        while _running:
            _running.pop().stop()
        data = spikes.swapaxes(0, 1).reshape(period, *network.input_shape)
        data = np.moveaxis(data, 1, -1) if data.ndim == 4 else data  # Lava has channels last
        feed = source.RingBuffer(data=np.moveaxis(data, 0, -1).astype(np.int32))
        out = feed.s_out
        for i in range(len(network.layers)):
            synapses, lif = layer_of(network, i, out)
            synapses.a_out.connect(lif.a_in)
            out = lif.s_out
        collect = sink.RingBuffer(shape=out.shape, buffer=period)
        out.connect(collect.a_in)
        _running.append(lif)
        return lif, collect

    def run(prepared):
        lif, collect = prepared
        start = time.perf_counter()
        lif.run(condition=RunSteps(num_steps=period), run_cfg=RUN)
        seconds = time.perf_counter() - start
        # Steps of the last sample that are still due stand in the sink from the round before, whose input was the same.
        spikes = np.roll(collect.data.get(), -len(network.layers), axis=-1)
        return spikes.reshape(len(spikes), batch, network.n_steps).sum(-1).T.astype(int), seconds

    return prepare, run


def layer_of(network, i, out):
    """Return the synapses and neurons of a layer behind the port `out`."""
    layer, weight, shape = network.layers[i], network.folded_weights()[i].astype(int), network.shapes()[i]
    if layer.is_conv:
        stride = network.stride(i)
        kernel = np.moveaxis(weight, 1, -1)[:, ::-1, ::-1]
        synapses = Conv(weight=kernel, input_shape=out.shape, stride=stride, padding=layer.padding * stride)
        out.connect(synapses.s_in)
        shape = (*shape[1:], shape[0])
    else:
        if len(out.shape) == 3:  # our rows have channels first
            *image, channels = out.shape
            weight = np.moveaxis(weight.reshape(-1, channels, *image), 1, -1).reshape(len(weight), -1)
            out = out.flatten()
        synapses = Dense(weights=weight)
        out.connect(synapses.s_in)
    start = (i + 2) % network.n_steps  # Lava counts steps from 1, and a layer takes one step
    lif = LIFReset(
        shape=shape, du=4095, dv=256, vth=layer.threshold >> 6, reset_interval=network.n_steps, reset_offset=start
    )
    return synapses, lif
