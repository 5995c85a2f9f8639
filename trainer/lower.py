"""Trained network → float graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.connectivity import Array
from spikegraph.export.float_graph import (
    FloatConv2d,
    FloatDense,
    FloatGraph,
    FloatOneToOne,
    FloatPopulation,
    FloatProjection,
    FloatSumPool2d,
)
from spikegraph.export.graph import Input, Output, free_name
from spikegraph.trainer.fold import Folded, folded, pool_of
from spikegraph.trainer.network import SpikingNetwork
from spikegraph.trainer.traced import INPUT, Branch, Node, Route


def lower(
    network: SpikingNetwork,
    *,
    n_steps: int,
    coding: InputCoding | None = None,
    readout: Readout | None = None,
    provenance: dict[str, Any] | None = None,
) -> FloatGraph:
    """Write a network down as a float graph: input "input", populations by the modules' names, output "output".

    Where several populations are read, their outputs are "output1", "output2", …

    Parameters
    ----------
    network : SpikingNetwork
    n_steps : int
        Length of the window.
    coding, readout : optional
        How data become spikes, and spikes a decision.
    provenance : dict, optional
        What made the network: plain JSON.
    """
    largest = 1 if coding is None else coding.largest
    populations: dict[str, FloatPopulation] = {}
    projections: dict[str, FloatProjection] = {}
    for name, node in network.nodes.items():
        synapses = [folded(branch, network.largest_input) for branch in node.branches]
        populations[name] = _population(node, synapses)
        clips = network.clips(node)
        for branch, own, clip in zip(node.branches, synapses, clips, strict=False):  # of recurrent synapses comes last
            for route in branch.routes:
                _add(projections, replace(_projection(network, name, branch, route, own), clip=clip))
        if node.neurons.recurrent_weight is not None:
            weight = as_array(node.neurons.recurrent_weight)
            _add(projections, FloatDense(source=name, target=name, weight=weight, delay_steps=1, clip=clips[-1]))
    variable: Literal["s", "v"] = "v" if readout is not None and readout.kind == "membrane" else "s"
    names = ["output"] if len(network.outputs) == 1 else [f"output{k + 1}" for k in range(len(network.outputs))]
    outputs = dict(zip(names, network.outputs, strict=True))
    return FloatGraph(
        inputs={"input": Input(shape=network.input_shape, max_value=largest)},
        populations=populations,
        projections=projections,
        outputs={name: Output(population=population, variable=variable) for name, population in outputs.items()},
        n_steps=n_steps,
        dt=network.dt,
        coding=coding,
        readout=readout,
        provenance=provenance or {},
    )


def fan_out(graph: FloatGraph) -> dict[str, Array]:
    """Return how many synapses each neuron reaches, int64 in its population's shape, by name; inputs included."""
    reached: dict[str, Array] = {}
    for p in graph.projections.values():
        synapses = p.fan_out(p.stored(), graph.shape_of(p.source), graph.shape_of(p.target))
        reached[p.source] = reached.get(p.source, 0) + synapses.reshape(graph.shape_of(p.source))
    return reached


def as_array(parameter: Tensor) -> Array:
    """Return what a parameter holds, on the CPU."""
    return np.asarray(parameter.detach().cpu().numpy())


def _population(node: Node, synapses: list[Folded]) -> FloatPopulation:
    neurons = node.neurons
    return FloatPopulation(
        shape=node.shape,
        tau_syn=neurons.tau("syn"),
        tau_mem=neurons.tau("mem"),
        v_threshold=as_array(neurons.positive_threshold()),
        bias=sum(as_array(own.bias) for own in synapses),
        reset=neurons.dynamics.reset,
        refractory_steps=neurons.dynamics.refractory_steps,
        max_spikes=neurons.dynamics.max_spikes,
    )


def _add(projections: dict[str, FloatProjection], projection: FloatProjection) -> None:
    projections[free_name(f"{projection.source}_to_{projection.target}", projections)] = projection


def _projection(network: SpikingNetwork, target: str, branch: Branch, route: Route, own: Folded) -> FloatProjection:
    synapse, weight = branch.synapse, as_array(own.weight)
    ends: dict[str, Any] = {"source": route.source, "target": target}
    pool: Any = pool_of(route)
    size = (1, 1) if pool is None else pool.kernel_size
    if isinstance(synapse, nn.Linear):
        shape = network.input_shape if route.source == INPUT else network.nodes[route.source].shape
        if pool is not None:  # each weight stands for all spikes of its window
            pooled = (shape[0], shape[1] // size[0], shape[2] // size[1])
            weight = weight.reshape(len(weight), *pooled).repeat(size[0], axis=2).repeat(size[1], axis=3)
        return FloatDense(**ends, weight=weight.reshape(len(weight), -1))
    if isinstance(synapse, nn.Conv2d):
        return FloatConv2d(
            **ends,
            weight=weight.repeat(size[0], axis=2).repeat(size[1], axis=3),
            stride=(synapse.stride[0] * size[0], synapse.stride[1] * size[1]),
            padding=(int(synapse.padding[0]) * size[0], int(synapse.padding[1]) * size[1]),
            dilation=synapse.dilation,
            groups=synapse.groups,
        )
    if isinstance(synapse, nn.MaxPool2d):
        window: dict[str, Any] = {name: getattr(synapse, name) for name in ("kernel_size", "stride", "padding")}
        return FloatSumPool2d(**ends, weight=weight, **window)
    if pool is not None:
        return FloatSumPool2d(**ends, weight=weight, kernel_size=size, stride=size)
    return FloatOneToOne(**ends, weight=weight)
