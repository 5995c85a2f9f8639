"""A one-spike network → float graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.connectivity import Shape
from spikegraph.export.float_graph import (
    FloatConv2d,
    FloatDense,
    FloatGraph,
    FloatPopulation,
    FloatProjection,
    FloatSumPool2d,
)
from spikegraph.export.graph import Input, Output
from spikegraph.trainer.lower import as_array
from spikegraph.trainer.sstdp.layers import EarliestPool2d, OneSpikeLayer
from spikegraph.trainer.sstdp.network import OneSpikeNetwork

_RELAY_THRESHOLD = 0.5  # one spike of weight 1 is enough


def lower(
    network: OneSpikeNetwork,
    *,
    n_steps: int,
    coding: InputCoding | None = None,
    readout: Readout | None = None,
    provenance: dict[str, Any] | None = None,
) -> FloatGraph:
    """Write a network down as a float graph: input "input", populations by the layers' names, output "output".

    Pooling becomes a population of relays: each fires with the first spike of its window, and no more.

    Parameters
    ----------
    network : OneSpikeNetwork
    n_steps : int
        Length of the window.
    coding, readout : optional
        How data become spikes, and spikes a decision.
    provenance : dict, optional
        What made the network: plain JSON.
    """
    populations: dict[str, FloatPopulation] = {}
    projections: dict[str, FloatProjection] = {}
    source, shape = "input", network.input_shape
    for name, layer in network.named_layers().items():
        projection: FloatProjection
        if isinstance(layer, EarliestPool2d):
            size = layer.kernel_size
            shape = (shape[0], shape[1] // size, shape[2] // size)
            populations[name] = FloatPopulation(shape=shape, v_threshold=_RELAY_THRESHOLD, max_spikes=1)
            projection = FloatSumPool2d(source=source, target=name, kernel_size=size, stride=size)
        else:
            populations[name], projection = _neurons(layer, source, name)
            shape = populations[name].shape
        projections[f"{source}_to_{name}"] = projection
        source = name
    return FloatGraph(
        inputs={"input": Input(shape=network.input_shape)},
        populations=populations,
        projections=projections,
        outputs={"output": Output(population=source)},
        n_steps=n_steps,
        coding=coding,
        readout=readout,
        provenance=provenance or {},
    )


def _neurons(layer: OneSpikeLayer, source: str, name: str) -> tuple[FloatPopulation, FloatProjection]:
    geometry, weight = layer.geometry, as_array(layer.weight)
    dense = geometry.is_dense
    shape: Shape = (geometry.outputs,) if dense else geometry.out_shape
    population = FloatPopulation(
        shape=shape,
        v_threshold=np.float32(layer.v_threshold),
        bias=np.float32(0) if layer.bias is None else as_array(layer.bias),
        max_spikes=1,
    )
    if dense:
        rows = weight.reshape(geometry.outputs, geometry.n_in)
        return population, FloatDense(source=source, target=name, weight=rows)
    projection = FloatConv2d(
        source=source, target=name, weight=weight, stride=geometry.stride, padding=geometry.padding
    )
    return population, projection
