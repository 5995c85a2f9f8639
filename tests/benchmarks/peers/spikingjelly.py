"""SpikingJelly: LIFNode in multi-step mode. Its v >= threshold becomes > by the next float."""

from __future__ import annotations

from peers.torch_layers import above, chain, counted, prepare
from spikingjelly.activation_based import neuron

PACKAGES = ["spikingjelly", "torch"]


def neurons(threshold):
    node = neuron.LIFNode(tau=16.0, decay_input=False, v_threshold=above(threshold), v_reset=0.0, step_mode="m").eval()

    def run(x):
        node.reset()
        return node(x)

    return run


def build(network, variant, batch):
    return prepare, counted(chain(network, neurons))
