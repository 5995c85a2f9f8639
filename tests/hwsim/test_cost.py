"""Energy and time, by hand on a network of five neurons; runs and their files; what a profile refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from five_neurons import network

from spikegraph.export.chips import load_chip
from spikegraph.export.errors import ChipError, OptionError
from spikegraph.export.graph import Graph
from spikegraph.hwsim.compare import compare_additions
from spikegraph.hwsim.cost import Cost, cost_of
from spikegraph.hwsim.counts import Until
from spikegraph.hwsim.placement import Placement, place
from spikegraph.hwsim.profile import load_profile, profile_names
from spikegraph.hwsim.run import Run
from spikegraph.hwsim.run_file import load_run, save_run
from spikegraph.hwsim.simulate import simulate


def apart(graph: Graph) -> Placement:
    """Each neuron of `first` in a core of its own, two tiles apart; `second` in one core, beside the first."""
    placed = place(graph, load_chip("loihi1"))
    return replace(
        placed,
        core_of={"first": np.array([0, 1]), "second": np.array([2, 2, 2])},
        population=("first", "first", "second"),
        tiles=np.array([[0, 0], [1, 1], [0, 0]]),
        start_step=np.array([1, 1, 2]),
        loads={"neurons": np.array([1, 1, 3])},
        limits={"neurons": 1024},
        traffic=np.array([[0, 0, 1], [0, 0, 1], [0, 0, 0]]),
    )


def run_of(x: list[list[float]], *, until: Until = "window", kind: str = "count", engine: str = "native") -> Run:
    graph = network(kind)
    samples = [(np.array(x, np.float32), np.zeros(len(x), np.int64), np.arange(len(x)))]
    return simulate(graph, samples, engine=engine, until=until, placement=apart(graph))


def cost(profile: str, run: Run) -> Cost:
    return cost_of(run, load_profile(profile))


# x = 1 fires in step 0, x = 0 never. One input spike: 2 sops into `first` (one a core, one with weight 0). Its neuron 0
# fires: 1 message to core 2 on the same tile, 3 sops into `second`, of which neurons 0 and 2 fire.
ONE = [[1.0, 0.0]]


@pytest.mark.parametrize("engine", ["native", "reference"])
def test_energy_by_hand(engine: str) -> None:
    found = cost("loihi1-presilicon", run_of(ONE, engine=engine)).energy_j("window")
    picojoule = {name: (energy * 1e12).round(6).tolist() for name, energy in found.items()}
    assert picojoule["synaptic operation"] == pytest.approx([23.6, 23.6, 3 * 23.6])
    # Active: neuron 0 of `first` in step 0, and in step 1 as its current of step 0 is stored yet; so 2 of `second`.
    assert picojoule["active neuron update"] == [2 * 81, 0, 4 * 81]
    assert picojoule["inactive neuron update"] == [2 * 52, 4 * 52, 8 * 52]
    assert picojoule["spike within a tile"] == [1.7, 0, 0]
    assert picojoule["hop east or west"] == [0, 0, 0]


def test_hops_are_paid_by_the_sender() -> None:
    # Neuron 1 of `first` is on tile (1, 1): one hop east or west and one north or south to `second`.
    found = cost("loihi1-presilicon", run_of([[0.0, 1.0]])).energy_j("window")
    assert (found["hop east or west"] * 1e12).tolist() == pytest.approx([0, 3, 0])
    assert (found["hop north or south"] * 1e12).tolist() == pytest.approx([0, 4, 0])
    assert found["spike within a tile"].sum() == 0


def test_the_fit_counts_each_access() -> None:
    found = cost("loihi1-fit", run_of(ONE)).energy_j("window")
    assert (found["soma access"] * 1e12).tolist() == pytest.approx([4 * 51.2, 4 * 51.2, 12 * 51.2])
    assert (found["soma update"] * 1e12).tolist() == pytest.approx([2 * 21.6, 0, 4 * 21.6])
    assert (found["soma spike"] * 1e12).tolist() == pytest.approx([69.3, 0, 2 * 69.3])
    assert (found["message out"] * 1e12).tolist() == pytest.approx([111, 0, 0])
    assert (found["dense synapse"] * 1e12).tolist() == pytest.approx([35.5, 35.5, 3 * 35.5])


def test_time_by_hand() -> None:
    timing = cost("loihi1-presilicon", run_of(ONE)).timing
    assert timing is not None
    barrier = 113 + 352 / 31  # two tiles
    assert timing.barrier_s == pytest.approx(barrier * 1e-9)
    # On the chip `first` begins in step 1, `second` in step 2. Step by step, the slowest core:
    #  0 nothing yet
    #  1 core 0: an active update and a synaptic operation, 8.4 + 3.5
    #  2 core 2: two active updates, an inactive one, three operations: 16.8 + 5.3 + 10.5
    #  3 core 2: two active ones, an inactive one: 22.1
    #  4, 5 core 2: three inactive ones, 15.9
    steps = [0, 11.9, 32.6, 22.1, 15.9, 15.9]
    # A count decides in the last step, the chip's step 5.
    assert timing.latency_s == pytest.approx([(sum(steps) + 6 * barrier) * 1e-9])
    # Without a gap between samples: core 0 and 1 are then at work in steps 0 and 5 as well, but not the slowest.
    assert timing.period_s == pytest.approx([(32.6 + 22.1 + 15.9 + 15.9 + 4 * barrier) * 1e-9])
    assert timing.longest_step_s == pytest.approx((32.6 + barrier) * 1e-9)
    assert timing.slowest.tolist() == [0, 0, 1]
    # The longest way is that from tile (1, 1) to (0, 0).
    assert timing.longest_route_s == pytest.approx((4.1 + 6.5) * 1e-9)


def test_stages_of_a_core_overlap() -> None:
    timing = cost("loihi1-fit", run_of(ONE)).timing
    assert timing is not None
    # Core 2, step 2: neurons 3 · 6 + 2 · 3.7 + 2 · 30 = 85.4; synapses 16 + 3 · 3.8 = 27.4: the longer counts.
    assert timing.longest_step_s == pytest.approx((85.4 + 1000) * 1e-9)


def test_until_decision_stops_at_the_first_spike() -> None:
    late = [[0.0, 0.34]]  # its spike comes in step round(0.66 · 3) = 2
    whole, stopped = (run_of(late, kind="first_spike", until=until) for until in ("window", "decision"))
    assert whole.decision_step.tolist() == stopped.decision_step.tolist() == [2]
    for profile in ("loihi1-presilicon", "loihi1-fit", "cmos-45nm"):
        ours, theirs = cost(profile, whole), cost(profile, stopped)
        assert list(theirs.counts) == ["decision"]
        for name, energy in ours.energy_j("decision").items():
            assert np.array_equal(energy, theirs.energy_j("decision")[name])
        if ours.timing and theirs.timing:
            assert np.array_equal(ours.timing.latency_s, theirs.timing.latency_s)
            assert theirs.timing.period_s is None


def test_static_energy_is_power_times_time() -> None:
    found = cost("loihi1-presilicon", run_of(ONE))
    assert found.timing is not None
    assert found.timing.period_s is not None
    assert found.static_j("window") == pytest.approx(0.104 * found.timing.period_s.mean())
    assert found.static_j("decision") == pytest.approx(0.104 * found.timing.latency_s.mean())


def test_without_a_chip_layers_are_populations() -> None:
    found = cost("spinnaker", run_of(ONE))
    assert found.layers == ("first", "second")
    energy = {name: (e * 1e9).tolist() for name, e in found.energy_j("window").items()}
    assert energy["synaptic operation"] == pytest.approx([2 * 13.3, 3 * 13.3])
    assert energy["neuron update"] == pytest.approx([8 * 26, 12 * 26])


def test_the_dense_network_beside() -> None:
    report = cost("cmos-45nm", run_of(ONE)).to_json()
    assert report["energy_per_sample"]["window"]["dynamic_j"] == pytest.approx(5 * 0.1e-12)
    assert report["against_dense"]["dense_macs"] == 2 * 2 + 2 * 3
    assert report["against_dense"]["dense_energy_j"] == pytest.approx(10 * 4.6e-12)
    assert report["against_dense"]["window"] == {"sops": 5.0, "macs_per_sop": 2.0}


def test_what_has_no_figure_is_listed_with_its_counts() -> None:
    unpriced = {
        item["what"]: item["per_sample"] for item in cost("loihi1-presilicon", run_of(ONE)).to_json()["unpriced"]
    }
    assert unpriced["messages"]["window"] == {"messages": 1.0, "messages_in": 3.0}
    assert set(unpriced) == {"barrier", "messages", "spikes from inputs"}


def test_a_run_keeps_what_it_takes_to_price_it(tmp_path: Path) -> None:
    run = run_of([[1.0, 0.34], [0.0, 1.0], [1.0, 1.0]])
    save_run(run, tmp_path / "run.h5")
    loaded = load_run(tmp_path / "run.h5")
    for name in set(profile_names()) - {"loihi2"}:
        assert cost(name, loaded).to_json() == cost(name, run).to_json()
    assert loaded.summary() == run.summary()


def test_profiles_refuse_runs_on_other_chips() -> None:
    graph = network()
    samples = [(np.ones((1, 2), np.float32), np.zeros(1, np.int64), np.arange(1))]
    with pytest.raises(ChipError, match="prices a run on loihi2, this one ran on loihi1; simulate with --chip loihi2"):
        cost("loihi2", run_of(ONE))
    with pytest.raises(ChipError, match="prices a run on loihi1, this one ran without a chip"):
        cost("loihi1-fit", simulate(graph, samples))
    assert cost("truenorth", simulate(graph, samples)).layers == ("first", "second")


def test_additions_of_two_codes() -> None:
    few, many = run_of(ONE), run_of([[1.0, 1.0]])
    compared = compare_additions(few, many)
    assert compared["run"]["sops_until_decision"] == 2 + 3
    assert compared["against"]["sops_until_decision"] == 4 + 6
    assert compared["sops_ratio"] == 2
    other = replace(many, dense_macs={"a": 4, "b": 5})
    with pytest.raises(OptionError, match="another shape"):
        compare_additions(few, other)
