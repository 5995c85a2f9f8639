"""Workloads A and B as a peer is given them (the only file of this folder that imports spikegraph)."""

from __future__ import annotations

import numpy as np
from peers.network import Layer, Network

from spikegraph.export.connectivity import Array
from spikegraph.export.graph import Graph


def chain_of(graph: Graph, raster: Array, batches: list[int]) -> Network:
    """Turn a chain of populations into layers.

    Where the graph has pooling folded into the weights behind it (workload B), the peer gets the smaller network with
    sum pooling of its own.
    """
    source, layers = "input", []
    projections = list(graph.projections.values())
    for p, following in zip(projections, [*projections[1:], None], strict=True):
        population = graph.populations[p.target]
        threshold = int(population.threshold_mant.max()) << 6
        plain = p.source == source and threshold == int(population.threshold_mant.min()) << 6
        if not plain or {*population.decay_v.flat} != {256} or {*population.decay_u.flat} != {4096}:
            raise ValueError(f"{p.target}: not a chain of current-free LIF populations with decay_v 256")
        weight, is_conv = p.weight, p.weight.ndim == 4
        if is_conv and p.stride == (2, 2):
            weight = weight[:, :, ::2, ::2]
        elif not is_conv and len(shape := graph.shape_of(p.source)) == 3:
            whole = weight.reshape(-1, *shape)[..., : shape[1] // 2 * 2, : shape[2] // 2 * 2]
            weight = whole[..., ::2, ::2].reshape(len(weight), -1)
        pool = following is not None and is_conv
        padding = p.padding[0] // p.stride[0] if is_conv else 0
        layers.append(Layer(weight.astype(np.int8), threshold, padding, pool))
        source = p.target
    network = Network(layers, raster, batches)
    if any(not np.array_equal(w, p.weight) for w, p in zip(network.folded_weights(), projections, strict=True)):
        raise ValueError("the network is not what the graph says")
    return network
