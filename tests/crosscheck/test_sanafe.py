"""SANA-FE on the same networks, placed the same way, given the same spikes. `make check-sanafe` runs this."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from crosscheck.comparison import Comparison, compare
from crosscheck.networks import convolutional, dense

from spikegraph.hwsim.profile import load_profile

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module", params=[dense, convolutional], ids=lambda build: build.__name__)
def comparison(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    python = os.environ.get("SANAFE_PYTHON")
    if not python:
        pytest.fail("SANAFE_PYTHON names no Python that has sanafe; `make check-sanafe` makes one")
    return compare(*request.param(), Path(python), tmp_path_factory.mktemp("sanafe"))


def samples(comparison: Comparison) -> range:
    return range(len(comparison.theirs))


def test_several_cores_tiles_and_spikes_in_every_population(comparison: Comparison) -> None:
    """Else the tests below would compare little."""
    assert comparison.placement.n_cores >= 4
    assert comparison.placement.n_tiles >= 2
    for name in comparison.graph.populations:
        assert comparison.ours.per_step["spikes"][name].sum(axis=0).min() > 10


def test_spikes_are_equal(comparison: Comparison) -> None:
    for sample in samples(comparison):
        for run in comparison.theirs[sample].values():
            for name, trace in comparison.ours.traces.items():
                np.testing.assert_array_equal(run.s[name], trace.s[:, sample].reshape(run.s[name].shape))


def test_each_core_sends_and_receives_the_same_in_every_step(comparison: Comparison) -> None:
    for sample in samples(comparison):
        ours, theirs = comparison.core_counts(sample), comparison.sanafe_core_counts(sample)
        ours["sops"] = sum(ours[kind] for kind in ("sops_dense", "sops_convolution", "sops_sparse"))
        for quantity, counts in theirs.items():
            np.testing.assert_array_equal(counts[:-1, :-1], ours[quantity], err_msg=quantity)
            assert not counts[-1].any(), "nothing is under way at the end"


def test_totals_under_their_names(comparison: Comparison) -> None:
    for sample in samples(comparison):
        ours, counters = comparison.core_counts(sample), comparison.theirs[sample]["simple"].counters
        from_inputs = {name: counts[:, -1].sum() for name, counts in comparison.sanafe_core_counts(sample).items()}
        assert counters["neurons_fired"] == sum(n[:, sample].sum() for n in comparison.ours.per_step["spikes"].values())
        assert counters["spikes"] == sum(n[:, sample].sum() for n in comparison.ours.per_step["sops"].values())
        assert counters["packets_sent"] == ours["messages_in"].sum() == ours["messages"].sum() + from_inputs["messages"]
        hops = [name for name in ours if name.startswith("hops")]
        assert counters["hops"] == sum(ours[name].sum() + from_inputs[name] for name in hops)


def test_updates_differ_by_what_is_named(comparison: Comparison) -> None:
    for sample in samples(comparison):
        updates = comparison.updates(sample)
        inputs = sum(int(raster[:, sample].sum()) for raster in comparison.rasters.values())
        np.testing.assert_array_equal(updates["ours"], comparison.core_counts(sample)["active_updates"])
        assert updates["theirs"].sum() == comparison.theirs[sample]["simple"].counters["neurons_updated"] - inputs
        more = updates["events that cancel"] + updates["bias only"]
        np.testing.assert_array_equal(updates["theirs"], updates["ours"] - updates["current only"] + more)
        assert updates["current only"].sum() < 0.02 * updates["theirs"].sum()


def test_our_profile_holds_the_figures_of_their_file(comparison: Comparison) -> None:
    """All but those of hops and barrier, which SANA-FE does not hand out; energy and time below rest on them."""
    units = comparison.figures
    soma = units["loihi_lif"]
    expected = {
        "neuron_updates": (soma["energy_access_neuron"], soma["latency_access_neuron"]),
        "active_updates": (soma["energy_update_neuron"], soma["latency_update_neuron"]),
        "spikes": (soma["energy_spike_out"], soma["latency_spike_out"]),
        "messages": units["message_out"],
        "messages_in": units["message_in"],
    }
    for kind, unit in (("dense", "dense"), ("sparse", "sparse"), ("convolution", "conv")):
        synapse = units[f"loihi_{unit}_synapse"]
        expected[f"sops_{kind}"] = (synapse["energy_process_spike"], synapse["latency_process_spike"])
    ours = {o.counts[0]: (o.energy_pj, o.time_ns) for o in load_profile("loihi1-fit").operation if o.time_ns}
    assert ours.keys() == expected.keys()
    for name, (energy_j, time_s) in expected.items():
        assert ours[name] == pytest.approx((energy_j * 1e12, time_s * 1e9), rel=1e-9), name
    assert not any(units[name]["energy_update"] for name in ("loihi_dendrites", "loihi_dendrites_delay"))


def test_energies_are_equal(comparison: Comparison) -> None:
    """But for the messages of inputs, which we leave unpriced, and the updates explained above."""
    ours, theirs, from_inputs = comparison.our_energy(), comparison.their_energy(), comparison.input_energy()
    differing = np.mean([(u["theirs"] - u["ours"]).sum() for u in map(comparison.updates, samples(comparison))])
    update_j = comparison.figures["loihi_lif"]["energy_update_neuron"]
    assert theirs["synapse"] == pytest.approx(ours["synapse"], rel=1e-9, abs=0)
    assert theirs["network"] == pytest.approx(ours["network"] + from_inputs, rel=1e-9, abs=0)
    assert theirs["soma"] == pytest.approx(ours["soma"] + differing * update_j, rel=1e-9, abs=0)
    assert theirs["dendrite"] == 0
    assert theirs["total"] - from_inputs == pytest.approx(ours["total"], rel=0.02)


def test_their_steps_last_as_long_as_our_counts_say(comparison: Comparison) -> None:
    """In SANA-FE a step holds what its spikes cause, in ours what arrives in it; and theirs alone times its inputs."""
    operations = {o.counts[0]: o for o in load_profile("loihi1-fit").operation}
    barrier = load_profile("loihi1-fit").barrier
    assert barrier is not None
    for sample in samples(comparison):
        counts, updates = comparison.core_counts(sample), comparison.updates(sample)["theirs"]
        counts |= {"neuron_updates": comparison.placement.loads["neurons"][None], "active_updates": updates}
        stages = {
            stage: sum(counts[name] * (o.time_ns or 0) * 1e-9 for name, o in operations.items() if o.stage == stage)
            for stage in ("neurons", "synapses")
        }
        caused = np.roll(stages["synapses"], -1, axis=0)
        longest = np.maximum(stages["neurons"], caused).max(axis=1)
        from_inputs = comparison.sanafe_core_counts(sample)["messages"][:-1, -1] * operations["messages"].time_ns * 1e-9
        steps = comparison.theirs[sample]["simple"].step_times - barrier.seconds(comparison.placement.n_tiles)
        assert (from_inputs < longest).all(), "inputs, if all in one core, are never the slowest"
        np.testing.assert_allclose(steps, longest, rtol=1e-9)
