"""Every network of every framework: how it is read here, and what its exporter dropped that shows in its spikes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spikegraph.export.assumptions import AssumedReset


@dataclass(frozen=True, kw_only=True)
class Case:
    """One trained network.

    Parameters
    ----------
    framework, network : str
    convention : str, optional
        Preset, where it is not the framework's.
    reset : str, optional
        What the file does not say and has to be said.
    v : "before" or "after"
        Whether the potential that the framework keeps is before or after a spike's reset.
    v_reset : float
        From where potentials are counted here.
    dropped : str, optional
        What the exporter drops, so that spikes differ: see test_differences.
    """

    framework: str
    network: str
    convention: str | None = None
    reset: AssumedReset | None = None
    v: Literal["before", "after"] = "after"
    v_reset: float = 0.0
    dropped: str | None = None

    def __str__(self) -> str:
        return f"{self.framework}-{self.network}"


def _snntorch(network: str, reset: AssumedReset | None = None, **more: str) -> Case:
    at_once = reset is not None and reset.endswith("at-once")
    return Case(framework="snntorch", network=network, reset=reset, v="after" if at_once else "before", **more)  # type: ignore[arg-type]


def _norse(network: str, reset: AssumedReset | None = None, dropped: str | None = None) -> Case:
    return Case(framework="norse", network=network, reset=reset, dropped=dropped)


def _rockpool(network: str, dropped: str | None = None) -> Case:
    return Case(framework="rockpool", network=network, dropped=dropped)


def _sinabs(network: str, **more: str) -> Case:
    return Case(framework="sinabs", network=network, **more)  # type: ignore[arg-type]


CASES = (
    _snntorch("leaky_subtract"),
    _snntorch("leaky_subtract_at_once", "subtract-at-once", dropped="a second spike needs twice the threshold"),
    _snntorch("leaky_zero", "zero"),
    _snntorch("leaky_none", "none"),
    _snntorch("leaky_per_neuron", "zero"),
    _snntorch("leaky_without_leak", "zero"),
    _snntorch("synaptic_subtract"),
    _snntorch("synaptic_zero", "zero"),
    _snntorch("synaptic_zero_at_once", "zero-at-once"),
    _snntorch("recurrent_subtract"),
    _snntorch("recurrent_zero", "zero"),
    _snntorch("recurrent_one_to_one", "zero"),
    _snntorch("recurrent_synaptic_zero", "zero"),
    _snntorch("convolutional", "zero"),
    Case(framework="spikingjelly", network="lif"),
    Case(framework="spikingjelly", network="lif_input_whole"),
    Case(framework="spikingjelly", network="lif_reset_to", v_reset=-0.1),
    Case(framework="spikingjelly", network="if"),
    Case(framework="spikingjelly", network="plif"),
    Case(framework="spikingjelly", network="cuba"),
    Case(framework="spikingjelly", network="convolutional"),
    _norse("box"),
    _norse("box_subtract", reset="subtract"),
    _norse("box_reset_to", dropped="v_reset"),
    _norse("lif"),
    _norse("lif_leak_to", dropped="v starts at v_leak"),
    _norse("iaf"),
    _norse("convolutional"),
    _sinabs("iaf"),
    _sinabs("iaf_reset_to_zero", reset="zero"),
    _sinabs("iaf_multispike", dropped="several spikes in a step"),
    _sinabs("iaf_clipped", dropped="min_v_mem"),
    _sinabs("lif"),
    _sinabs("lif_input_whole", convention="sinabs-whole"),
    _sinabs("lif_synapse", convention="sinabs-whole", dropped="tau_syn"),
    _sinabs("convolutional"),
    _rockpool("plain"),
    _rockpool("lif"),
    _rockpool("lif_bias"),
    _rockpool("lif_own_bias", dropped="bias of neurons"),
    _rockpool("lif_multispike", dropped="several spikes in a step"),
)
REFUSED_BY_THEIR_EXPORTER = {("spikingjelly", "lif_soft_reset"): "NIR does not distinguish soft reset"}
