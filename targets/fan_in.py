"""The synapses that end at one neuron."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from spikegraph.export.connectivity import Array, Shape
from spikegraph.export.graph import Conv2d, Dense, Projection, SumPool2d


def fan_in(p: Projection, source: Shape, target: Shape, neuron: int) -> tuple[Array, Array]:
    """List the synapses of a projection that end at a neuron.

    Parameters
    ----------
    p : Projection
    source, target : (n,) or (c, h, w)
    neuron : int
        Its place in the flattened target.

    Returns
    -------
    ndarray of int, ndarray of int
        Source of each synapse, its place in the flattened source; and its weight.
    """
    if isinstance(p, Dense):
        return np.arange(prod(source)), p.weight[neuron]
    first = 0  # of the sources that are looked at
    if isinstance(p, Conv2d | SumPool2d):  # only the channels that can reach it, or there would be far too many
        channel, neuron = divmod(neuron, prod(target[1:]))
        if isinstance(p, Conv2d):
            per_in, per_out = p.weight.shape[1], p.weight.shape[0] // p.groups
            first_channel = channel // per_out * per_in
            p = replace(p, weight=p.weight[channel : channel + 1], groups=1)
        else:
            per_in, first_channel = 1, channel
        first = first_channel * prod(source[1:])
        source, target = (per_in, *source[1:]), (1, *target[1:])
    sources, targets, places = p.synapses(source, target)
    own = targets == neuron
    return first + sources[own], np.broadcast_to(p.weight, p.stored().shape).ravel()[places[own]]
