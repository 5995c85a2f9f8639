"""Trained network → float graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.float_graph import FloatDense, FloatGraph, FloatPopulation
from spikegraph.export.graph import Input, Output
from spikegraph.trainer.network import SpikingNetwork


def lower(
    network: SpikingNetwork,
    *,
    n_steps: int,
    coding: InputCoding | None = None,
    readout: Readout | None = None,
    provenance: dict[str, Any] | None = None,
) -> FloatGraph:
    """Write a network down as a float graph: input "input", populations by the layers' names, output "output".

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
    layers = network.named_layers()
    names = list(layers)
    first, last = layers[names[0]], names[-1]
    graded = {"max_value": coding.max_value} if coding is not None and coding.kind == "direct" else {}
    populations, projections = {}, {}
    for source, (name, layer) in zip(["input", *names], layers.items(), strict=False):
        populations[name] = FloatPopulation(
            shape=(layer.n_out,),
            tau_syn=layer.tau_syn,
            tau_mem=layer.tau_mem,
            v_threshold=_numpy(layer.positive_threshold()),
            bias=_numpy(layer.bias),
            reset=layer.dynamics.reset,
            refractory_steps=layer.dynamics.refractory_steps,
            max_spikes=layer.dynamics.max_spikes,
        )
        projections[f"{source}_to_{name}"] = FloatDense(source=source, target=name, weight=_numpy(layer.synapses()))
    membrane = readout is not None and readout.kind == "membrane"
    return FloatGraph(
        inputs={"input": Input(shape=(first.n_in,), **graded)},
        populations=populations,
        projections=projections,
        outputs={"output": Output(population=last, variable="v" if membrane else "s")},
        n_steps=n_steps,
        dt=first.dt,
        coding=coding,
        readout=readout,
        provenance=provenance or {},
    )


def _numpy(parameter: Any) -> np.ndarray[Any, np.dtype[Any]]:
    return np.asarray(parameter.detach().cpu().numpy())
