"""Hand a placed graph to SANA-FE, and read back what it counted and charged.

SANA-FE runs in an environment of its own, through `sanafe_runner.py`. Its step is a chip's: a spike reaches the next
core one step later, and every neuron runs in every step. `chip_time` turns a graph into one that means that here.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array, per_neuron
from spikegraph.export.fixed import ALIGN_BITS
from spikegraph.export.graph import Conv2d, Dense, Graph, Population, Projection, SumPool2d
from spikegraph.export.order import depths
from spikegraph.export.passes import pipelined

CORES_PER_TILE = 4
SYNAPSE_UNITS = {Dense: "loihi_dense_synapse", Conv2d: "loihi_conv_synapse", SumPool2d: "loihi_conv_synapse"}


@dataclass(frozen=True, kw_only=True, eq=False)
class SanafeRun:
    """What SANA-FE returns for one sample under one timing model.

    Parameters
    ----------
    s : mapping of node → ndarray of bool (steps, n)
    messages : ndarray of int64 (n_messages, 8)
        Step; column, row and core of the tile it leaves; the same where it arrives; synaptic events it causes there.
    counters : mapping of name → number
        neurons_fired, neurons_updated, spikes (synaptic events), packets_sent, hops, sim_time (s).
    energy_j : mapping of "soma", "dendrite", "synapse", "network", "total" → float
    step_times : ndarray of float64 (steps,), s
    """

    s: Mapping[str, Array]
    messages: Array
    counters: Mapping[str, float]
    energy_j: Mapping[str, float]
    step_times: Array


def chip_time(graph: Graph) -> tuple[Graph, int]:
    """Return a graph in which every projection takes a step and every population runs in every step, and its depth.

    It runs `depth` steps longer than `graph`. With input that is silent in these, and without bias, nothing is under
    way at its end, and its spikes are those of `graph`, each population's later by its depth.
    """
    depth = max(depths(graph).values())
    populations = {name: replace(p, start_step=0) for name, p in graph.populations.items()}
    on_chip = replace(pipelined(graph), populations=populations, n_steps=graph.n_steps + depth)
    return on_chip, depth


def write_network(path: Path, graph: Graph, places: Mapping[str, Array], rasters: Mapping[str, Array]) -> None:
    """Write a graph of `chip_time` for the runner.

    Parameters
    ----------
    places : mapping of input or population → ndarray of int64 (n, 3)
        Column and row of the tile, and core within it, of each neuron.
    rasters : mapping of input → ndarray (steps, B, *shape)
    """
    arrays: dict[str, Array] = {f"{name}.place": place for name, place in places.items()}
    groups = []
    for name, node in graph.inputs.items():
        groups.append({"name": name, "n": node.n, "kind": "input"})
        arrays[f"{name}.spikes"] = rasters[name].reshape(*rasters[name].shape[:2], -1)
    for name, population in graph.populations.items():
        (unit,) = {SYNAPSE_UNITS[type(p)] for p in graph.into(name).values()}
        groups.append({"name": name, "n": population.n, "kind": "lif", "synapse": unit})
        arrays |= {f"{name}.{key}": value for key, value in _neurons(population).items()}
    for index, p in enumerate(graph.projections.values()):
        arrays[f"{index}.pairs"], arrays[f"{index}.weight"] = synapses(graph, p)
    (n_samples,) = {raster.shape[1] for raster in rasters.values()}
    network = {
        "groups": groups,
        "projections": [{"source": p.source, "target": p.target} for p in graph.projections.values()],
        "steps": graph.n_steps,
        "samples": n_samples,
    }
    np.savez(path, network=np.array(json.dumps(network)), **arrays)


def _neurons(population: Population) -> dict[str, Array]:
    """Return SANA-FE's parameters, whose potential is v / 64: exact in its floats, which hold 24 bits."""
    if population.reset != "zero" or population.max_spikes or (population.decay_u != 4096).any():
        raise ValueError("SANA-FE computes the same for current-free neurons that reset to zero, without spike limit")
    unit = float(1 << ALIGN_BITS)
    values = {
        "threshold": population.threshold_mant.astype(float),
        "leak_decay": (4096 - population.decay_v.astype(float)) / 4096,
        "bias": (population.bias_mant.astype(np.int64) << population.bias_exp) / unit,
        "refractory_delay": np.asarray(population.refractory_steps),
    }
    return {key: per_neuron(value, population.shape).ravel() for key, value in values.items()}


def synapses(graph: Graph, p: Projection) -> tuple[Array, Array]:
    """List the stored synapses of a projection: pairs (source, target) as rows, and their weights."""
    if p.weight_exp < 0 or p.delay_steps != 1:
        raise ValueError("SANA-FE has no exponent for a sum, and its unit without delay lines takes one step")
    sources, targets, places = p.synapses(graph.shape_of(p.source), graph.shape_of(p.target))
    return np.stack([sources, targets], axis=1), p.weight.ravel()[places].astype(np.int64) << p.weight_exp


def run_sanafe(python: Path, network: Path) -> tuple[dict[str, Any], list[dict[str, SanafeRun]]]:
    """Run a written network; returns the figures of SANA-FE's file, and each sample's run by timing model."""
    result = network.with_name("result.npz")
    runner = Path(__file__).with_name("sanafe_runner.py")
    subprocess.run([python, runner, network, result], check=True, stdout=subprocess.DEVNULL)
    with np.load(result) as file:
        values = dict(file)
    figures: dict[str, Any] = json.loads(str(values.pop("figures")))
    n_samples = 1 + max(int(key.split(".")[1]) for key in values)
    return figures, [
        {model: _run(values, f"{model}.{sample}.") for model in ("simple", "detailed")} for sample in range(n_samples)
    ]


def _run(values: Mapping[str, Array], prefix: str) -> SanafeRun:
    own = {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
    arrays = ("messages", "step_times")
    scalars = {key: value.item() for key, value in own.items() if key not in arrays and not key.endswith(".s")}
    return SanafeRun(
        s={key.removesuffix(".s"): value for key, value in own.items() if key.endswith(".s")},
        messages=own["messages"],
        step_times=own["step_times"],
        counters={key: value for key, value in scalars.items() if not key.startswith("energy.")},
        energy_j={key.removeprefix("energy."): value for key, value in scalars.items() if key.startswith("energy.")},
    )
