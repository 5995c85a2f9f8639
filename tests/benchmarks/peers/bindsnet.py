"""BindsNET: LIFNodes in feed-forward mode, a step at a time. Its v >= threshold becomes > by the next float.

It has no sum pooling, so B runs with the pooling folded into the weights.
"""

from __future__ import annotations

import math

import torch
from peers.torch_layers import above, counted, prepare

# BindsNET imports torchvision, whose compiled part refuses a CPU build of torch; nothing here uses it.
_LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
for _name in ("nms", "qnms"):
    _LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from bindsnet.network import Network, monitors, nodes, topology  # noqa: E402

PACKAGES = ["bindsnet", "torch"]


def build(network, variant, batch):
    net = Network(dt=1.0, batch_size=batch, learning=False)
    source, weights = nodes.Input(shape=network.input_shape), network.folded_weights()
    net.add_layer(source, name="0")
    for i, (layer, weight, shape) in enumerate(zip(network.layers, weights, network.shapes()), 1):
        target = nodes.LIFNodes(
            shape=shape, thresh=above(layer.threshold), rest=0.0, reset=0.0, refrac=0, tc_decay=-1 / math.log(15 / 16)
        )
        net.add_layer(target, name=str(i))
        w = torch.from_numpy(weight).float() * 64
        if layer.is_conv:
            stride = network.stride(i - 1)
            size = {"kernel_size": weight.shape[-1], "stride": stride, "padding": layer.padding * stride}
            synapses = topology.Conv2dConnection(source, target, w=w, **size)
        else:
            synapses = topology.Connection(source, target, w=w.t().contiguous())
        net.add_connection(synapses, source=str(i - 1), target=str(i))
        source = target
    last = str(len(weights))
    monitor = monitors.Monitor(source, state_vars=["s"], time=network.n_steps, batch_size=batch)
    net.add_monitor(monitor, name=last)

    def forward(s):
        net.layers["0"].s = torch.zeros_like(s[0])  # it is a view of the last input, which the reset would clear
        net.reset_state_variables()
        net.run({"0": s}, time=len(s), one_step=True)
        return monitor.get("s")

    return prepare, counted(forward)
