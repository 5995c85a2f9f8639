"""Integer graph → plan of a Lava network of stock processes: plain numbers and arrays, which network.py brings to life.

    Input                  io.source.RingBuffer
    Dense                  Dense, or DelayDense where its pipelined delay exceeds one step
    Population             LIFReset, cleared where its sample starts
    what is recorded       io.extractor.Extractor (s), io.extractor.VarWire (u, v)

Samples follow each other in one run. Without delays in the graph they follow back to back, T steps each: a population
at depth k works on a sample from step k on, and is cleared there. With delays, spikes of one sample would still be on
their way in the next; then each sample has the network for itself for T + depth steps, and all is cleared between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikegraph.export.connectivity import Array, per_neuron
from spikegraph.export.graph import Dense, Graph, Input, Population
from spikegraph.export.passes import pipelined
from spikegraph.targets.lava._compat import LAVA_VERSION
from spikegraph.targets.lava.limits import LavaRefusalError, refusals
from spikegraph.targets.lava.weights import FittedWeight, fitted


@dataclass(frozen=True, kw_only=True, eq=False)
class LavaPlan:
    """A Lava network as plain data.

    Parameters
    ----------
    network : dict
        Plain JSON: what is connected how, and when a sample starts where.
    arrays : dict of ndarray
        `weight/PROJECTION` (out, in), `bias_mant/POPULATION` and `bias_exp/POPULATION` (n,).
    rewrites : tuple of str
        What was changed, exactly, to fit Lava.
    """

    network: Mapping[str, Any]
    arrays: Mapping[str, Array]
    rewrites: tuple[str, ...]

    def report(self) -> dict[str, Any]:
        """Return what was built as plain JSON: processes, rewrites, timing."""
        network = self.network
        starts = {name: p["start_step"] for name, p in network["populations"].items()}
        offsets = {name: p["reset_offset"] for name, p in network["populations"].items()}
        processes = [{"process": "RingBuffer", "node": name} for name in network["inputs"]]
        for name, p in network["projections"].items():
            kind = "Dense" if p["delay_steps"] == 1 else "DelayDense"
            processes.append({"process": kind, "node": name, "from": p["source"], "to": p["target"]})
        processes += [{"process": "LIFReset", "node": name} for name in network["populations"]]
        how = "back to back" if network["streamed"] else "one at a time, cleared between, because the graph has delays"
        timing = {"samples": how, "steps_per_sample": network["period"], "depth": network["depth"]}
        timing |= {"start_step": starts, "reset_interval": network["period"], "reset_offset": offsets}
        return {"lava_nc": LAVA_VERSION, "processes": processes, "rewrites": list(self.rewrites), "timing": timing}


def plan_lava(graph: Graph) -> LavaPlan:
    """Plan the Lava network of a graph; needs no lava-nc.

    Raises
    ------
    GraphError
        The graph is not legal, or is pipelined already.
    TargetError
        Stock processes cannot express it; `problems` holds every reason.
    """
    chip_graph = pipelined(graph)
    found = refusals(chip_graph)
    if found:
        raise LavaRefusalError(found)
    dense = {name: p for name, p in chip_graph.projections.items() if isinstance(p, Dense)}
    weights = {name: w for name, p in dense.items() if (w := fitted(p.weight, p.weight_exp)) is not None}

    streamed = not any(p.delay_steps for p in graph.projections.values())
    depth = max(p.start_step for p in chip_graph.populations.values())
    period = graph.n_steps if streamed else graph.n_steps + depth
    used = {p.source for p in dense.values()}
    network = {
        "format": "spikegraph-lava",
        "version": 1,
        "n_steps": graph.n_steps,
        "depth": depth,
        "period": period,
        "streamed": streamed,
        "inputs": {name: _input(node, used=name in used) for name, node in chip_graph.inputs.items()},
        "populations": {
            name: _population(node, period, streamed=streamed) for name, node in chip_graph.populations.items()
        },
        "projections": {name: _projection(chip_graph, p, weights[name]) for name, p in dense.items()},
    }
    arrays = {f"weight/{name}": weight.weight.astype(np.int16) for name, weight in weights.items()}
    for name, node in chip_graph.populations.items():
        for parameter in ("bias_mant", "bias_exp"):
            spread = per_neuron(getattr(node, parameter), node.shape).reshape(-1)
            arrays[f"{parameter}/{name}"] = spread.astype(np.int16)
    rewrites = tuple(f"{name}: {weight.rewrite}" for name, weight in weights.items() if weight.rewrite)
    return LavaPlan(network=network, arrays=arrays, rewrites=rewrites)


def _input(node: Input, *, used: bool) -> dict[str, Any]:
    low, high = min(node.min_value, 0), max(node.max_value, 0)
    return {"shape": list(node.shape), "min": low, "max": high, "used": used}


def _population(node: Population, period: int, *, streamed: bool) -> dict[str, Any]:
    # Lava counts steps from 1. When the network is one sample's alone, nothing happens before it reaches a population,
    # so all are cleared in the sample's first step: none must go on with the last sample while it waits.
    clear_step = node.start_step if streamed else 0
    return {
        "shape": list(node.shape),
        "du": int(node.decay_u.flat[0]) - 1,
        "dv": int(node.decay_v.flat[0]),
        "vth": int(node.threshold_mant.flat[0]),
        "start_step": node.start_step,
        "reset_offset": (clear_step + 1) % period,
    }


def _projection(graph: Graph, p: Dense, weight: FittedWeight) -> dict[str, Any]:
    source = graph.inputs.get(p.source)
    return {
        "source": p.source,
        "target": p.target,
        "weight_exp": weight.weight_exp,
        "sign_mode": weight.sign_mode,
        "delay_steps": p.delay_steps,
        "num_message_bits": 24 if source is not None and source.graded else 0,
        "synapses": int(weight.weight.size),
    }
