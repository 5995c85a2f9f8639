"""Run a placed network in SANA-FE, on SANA-FE's own Loihi: `python sanafe_runner.py network.npz result.npz`.

Stands alone: it runs in an environment of its own (sanafe, numpy), where spikegraph is not installed. What it reads is
written by `sanafe_side.py`, and what it returns is read there. Every figure of the chip comes from the architecture
file in the sanafe package.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import sanafe

MESH_HEIGHT = 4  # the file's: SANA-FE numbers tiles column by column
PARAMETERS = ("threshold", "leak_decay", "bias", "refractory_delay")
ENERGIES = ("soma", "dendrite", "synapse", "network", "total")
COUNTERS = ("neurons_fired", "neurons_updated", "spikes", "packets_sent", "sim_time")
MESSAGE = ("src_x", "src_y", "src_core_offset", "dest_x", "dest_y", "dest_core_offset", "spikes")


def build(network: dict, arrays: dict[str, np.ndarray]) -> tuple[sanafe.SpikingChip, dict[str, list]]:
    """Load the network onto SANA-FE's Loihi; returns the chip, and the mapped neurons of each input."""
    architecture, net = sanafe.load_loihi(), sanafe.Network()
    groups, units = {}, Counter()
    for group in network["groups"]:
        name, is_input = group["name"], group["kind"] == "input"
        named = {} if is_input else {"soma_hw_name": "loihi_lif", "default_synapse_hw_name": group["synapse"]}
        groups[name] = net.create_neuron_group(
            name, group["n"], log_spikes=True, default_dendrite_hw_name="loihi_dendrites", **named
        )
        values = {} if is_input else {key: arrays[f"{name}.{key}"].tolist() for key in PARAMETERS}
        for i, (x, y, core) in enumerate(arrays[f"{name}.place"].tolist()):
            neuron = groups[name][i]
            if is_input:  # an input unit holds one train of spikes, so each input neuron takes one of its own
                neuron.set_attributes(soma_hw_name=f"loihi_inputs[{units[x, y, core]}]")
                units[x, y, core] += 1
            else:
                neuron.set_attributes(model_attributes={key: value[i] for key, value in values.items()})
            neuron.map_to_core(architecture.tiles[x * MESH_HEIGHT + y].cores[core])
    for index, p in enumerate(network["projections"]):
        pairs, weight = arrays[f"{index}.pairs"].tolist(), arrays[f"{index}.weight"].tolist()
        groups[p["source"]].connect_neurons_sparse(groups[p["target"]], {"weight": weight}, pairs)
    chip = sanafe.SpikingChip(architecture)
    chip.load(net)
    inputs = [group["name"] for group in network["groups"] if group["kind"] == "input"]
    return chip, {name: chip.mapped_neuron_groups[name] for name in inputs}


def run(chip: sanafe.SpikingChip, inputs: dict, network: dict, rasters: dict, timing_model: str) -> dict:
    """Run one sample from a cleared state; `rasters` holds each input's spikes (steps, n)."""
    chip.reset()
    for name, neurons in inputs.items():
        for neuron, train in zip(neurons, rasters[name].T.tolist(), strict=True):
            neuron.set_attributes(model_attributes={"spikes": train})
    result = chip.sim(
        network["steps"], timing_model=timing_model, spike_trace=True, perf_trace=True, message_trace=True
    )
    spikes = {group["name"]: np.zeros((network["steps"], group["n"]), bool) for group in network["groups"]}
    for step, fired in enumerate(result["spike_trace"]):
        for address in fired:
            spikes[address.group_name][step, address.neuron_offset] = True
    messages = [
        (step, *(m[field] for field in MESSAGE))
        for step, sent in enumerate(result["message_trace"])
        for m in sent
        if not m["placeholder"]
    ]
    return {
        **{f"{name}.s": s for name, s in spikes.items()},
        "messages": np.array(messages, np.int64).reshape(-1, 1 + len(MESSAGE)),
        **{counter: result[counter] for counter in COUNTERS},
        **{f"energy.{kind}": result["energy"][kind] for kind in ENERGIES},
        "hops": sum(result["perf_trace"]["hops"]),
        "step_times": np.array(result["perf_trace"]["sim_time"]),
    }


def figures() -> dict:
    """Return the figures of the architecture file, as SANA-FE itself read them."""
    core = sanafe.load_loihi().tiles[0].cores[0]
    units = {unit.name: unit.model_info.model_attributes for unit in core.pipeline_hw}
    return {
        **{name: dict(units[name]) for name in units if not name.startswith("loihi_inputs")},
        "message_in": [core.axon_in[0].metrics.energy_message_in, core.axon_in[0].metrics.latency_message_in],
        "message_out": [core.axon_out[0].metrics.energy_message_out, core.axon_out[0].metrics.latency_message_out],
    }


def main(network_path: Path, result_path: Path) -> None:
    """Run every sample of the file with both timing models that need no network simulator."""
    with np.load(network_path) as file:
        arrays = dict(file)
    network = json.loads(str(arrays.pop("network")))
    chip, inputs = build(network, arrays)
    results: dict[str, np.ndarray] = {"figures": np.array(json.dumps(figures()))}
    for sample in range(network["samples"]):
        rasters = {name: arrays[f"{name}.spikes"][:, sample] for name in inputs}
        for timing_model in ("simple", "detailed"):
            values = run(chip, inputs, network, rasters, timing_model)
            results |= {f"{timing_model}.{sample}.{key}": np.asarray(value) for key, value in values.items()}
    np.savez(result_path, **results)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
