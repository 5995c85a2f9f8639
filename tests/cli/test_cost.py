"""`simulate --chip` and `cost` on the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import call, refused

from spikegraph import cost_report
from spikegraph.export import formats
from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.hwsim.profile import profile_names
from spikegraph.hwsim.run_file import load_run


def network(n_hidden: int = 200) -> Graph:
    """64-200-10 on digits, with random weights."""
    random = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return random.integers(-60, 64, shape) * 2

    return Graph(
        inputs={"pixels": Input(shape=(64,))},
        populations={
            "hidden": Population(shape=(n_hidden,), threshold_mant=300, decay_v=256),
            "out": Population(shape=(10,), threshold_mant=300, decay_v=256),
        },
        projections={
            "a": Dense(source="pixels", target="hidden", weight=weights(n_hidden, 64)),
            "b": Dense(source="hidden", target="out", weight=weights(10, n_hidden)),
        },
        outputs={"class": Output(population="out")},
        n_steps=8,
        coding=InputCoding(kind="rate", seed=1),
        readout=Readout(kind="count", output="class"),
    )


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cost") / "net.h5"
    formats.save(network(), path)
    return path


@pytest.fixture(scope="module")
def run(net: Path) -> Path:
    path = net.with_name("run.h5")
    result = call("simulate", net, "--data", "digits:test", "--samples", 20, "--chip", "loihi1", "-o", path)
    assert result.exit_code == 0, result.output
    for part in (
        "placed on loihi1 (cores: 2, tiles: 1)",
        "messages",
        "loihi1-fit",
        "loihi1-presilicon",
        "unpriced, so in no sum: barrier",
    ):
        assert part in result.stdout, part
    return path


def test_an_ensemble_waits_for_its_deepest_member(net: Path, tmp_path: Path) -> None:
    shallow = network(20)
    relay = Dense(source="hidden", target="relay", weight=np.eye(20, dtype=int) * 2)
    deep = replace(
        shallow,
        populations={**shallow.populations, "relay": Population(shape=(20,), threshold_mant=1)},
        projections={**shallow.projections, "relay": relay, "b": replace(shallow.projections["b"], source="relay")},
    )
    for name, graph in (("shallow", shallow), ("deep", deep)):
        formats.save(graph, tmp_path / f"{name}.h5")
    files = [tmp_path / f"{name}.h5" for name in ("shallow", "deep", "joint", "run")]
    assert call("join", *files[:2], "-o", files[2]).exit_code == 0
    result = call("simulate", files[2], "--data", "digits:test", "--samples", 5, "--chip", "loihi1", "-o", files[3])
    assert result.exit_code == 0, result.output
    costs = json.loads(call("cost", files[3], "--profile", "loihi1-fit", "--json").stdout)
    # A count is read after 8 steps; pixels → hidden → relay → out are 3 steps on a chip, without the relay 2.
    assert costs["time"]["latency_steps"] == 8 + 3
    run = load_run(files[3])
    assert (run.output, run.depth) == ("deep.out", 3)
    assert run.output_spikes is not None
    assert run.output_spikes.shape == (5, 20)
    spikes = {name: run.counts.window["spikes"][f"{name}.out"] for name in ("shallow", "deep")}
    assert run.output_spikes[:, :10].sum(axis=1).tolist() == spikes["shallow"].tolist()
    assert run.output_spikes[:, 10:].sum(axis=1).tolist() == spikes["deep"].tolist()


def test_simulate_reports_placement_and_costs_as_json(net: Path, run: Path) -> None:
    arguments = ("simulate", net, "--data", "digits:test", "--samples", 20, "--chip", "loihi1", "--json")
    first, second = (json.loads(call(*arguments).stdout) for _ in range(2))
    assert first == second
    cores = first["placement"]["cores"]
    assert [core["population"] for core in cores] == ["hidden", "out"]
    assert sum(core["loads"]["neurons"] for core in cores) == 210
    assert max(core["utilization"]["synapse_bits"] for core in cores) <= 1
    assert [cost["profile"] for cost in first["costs"]] == ["loihi1-fit", "loihi1-presilicon"]
    for cost in first["costs"]:
        stored = json.loads(call("cost", run, "--profile", cost["profile"], "--json").stdout)
        assert stored == cost  # priced again from the file, not run again


def test_every_total_is_the_sum_of_its_parts(run: Path) -> None:
    for name in set(profile_names()) - {"loihi2"}:
        report = json.loads(call("cost", run, "--profile", name, "--json").stdout)
        for energy in report["energy_per_sample"].values():
            for parts in ("by_operation_j", "by_layer_j"):
                assert sum(energy[parts].values()) == pytest.approx(energy["dynamic_j"])
            if "by_core_j" in energy:
                assert sum(energy["by_core_j"]) == pytest.approx(energy["dynamic_j"])


def test_loihi_2_gives_counts_without_a_price(tmp_path: Path) -> None:
    graph = network()
    halved = {name: replace(p, weight=p.weight.astype(np.int64) // 2) for name, p in graph.projections.items()}
    formats.save(replace(graph, projections=halved), tmp_path / "net.h5")
    result = call("simulate", tmp_path / "net.h5", "--data", "digits:test", "--samples", 5, "--chip", "loihi2")
    assert result.exit_code == 0
    assert "unpriced, so in no sum: every operation" in result.stdout
    assert "messages" in result.stdout
    assert "energy a sample" not in result.stdout


def test_the_dense_network_is_told_once(run: Path) -> None:
    told = call("cost", run, "--profile", "cmos-45nm").stdout
    assert told.count("a dense network of this shape does 14,800 MACs") == 1  # a count decides in the last step
    assert "additions a sample (window and until decision)" in told


def test_a_graph_for_another_chip_says_how_to_make_one_for_this(tmp_path: Path) -> None:
    wide = {name: replace(p, weight=p.weight.astype(np.int64) * 2) for name, p in network().projections.items()}
    formats.save(replace(network(), projections=wide, provenance={"chip": "loihi1"}), tmp_path / "net.h5")
    said = refused("simulate", tmp_path / "net.h5", "--data", "digits:test", "--chip", "loihi2")
    assert "the graph is quantized for loihi1, and is not legal on loihi2 (a: weight = " in said
    assert "export it for loihi2: spikegraph export RUN --chip loihi2" in said


def test_latency_in_steps_is_the_same_everywhere(net: Path) -> None:
    arguments = ("simulate", net, "--data", "digits:test", "--samples", 5, "--json")
    plain, placed = json.loads(call(*arguments).stdout), json.loads(call(*arguments, "--chip", "loihi1").stdout)
    assert plain["decision_latency_steps"] == placed["decision_latency_steps"] == {"mean": 8, "with_pipeline_depth": 10}
    assert placed["costs"][0]["time"]["latency_steps"] == 10


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 J"),
        (31.77e-6, "31.77 µJ"),
        (2.981e-11, "29.81 pJ"),
        (1e-15, "0.001 pJ"),
        (12.0, "12 J"),
        (9e-4, "900 µJ"),
    ],
)
def test_energies_have_the_prefix_that_suits(value: float, text: str) -> None:
    assert cost_report._si(value) == text


def test_two_runs_side_by_side(net: Path, run: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.h5"
    assert call("simulate", net, "--data", "digits:test", "--samples", 3, "-o", few).exit_code == 0
    assert "are not of the same samples" in call("cost", run, "--profile", "cmos-45nm", "--against", few).stderr
    assert "are not of the same samples" not in call("cost", run, "--profile", "cmos-45nm", "--against", run).stderr
    result = call("cost", run, "--profile", "cmos-45nm", "--against", run)
    assert "takes 1.00 × the additions of" in result.stdout
    compared = json.loads(call("cost", run, "--profile", "cmos-45nm", "--against", run, "--json").stdout)["comparison"]
    assert compared["sops_ratio"] == 1


def test_a_profile_of_ones_own(run: Path, tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text(
        'name = "mine"\ntitle = "Mine"\n[[operation]]\nname = "spike"\ncounts = ["spikes"]\nenergy_pj = 2.0\n'
        'source = "my own bench"\ngrade = "measured"\n'
    )
    report = json.loads(call("cost", run, "--profile", own, "--json").stdout)
    spikes = sum(report["counts_per_sample"]["window"]["spikes"])
    assert report["energy_per_sample"]["window"]["dynamic_j"] == pytest.approx(spikes * 2e-12)


def test_bad_input_is_one_message(net: Path, run: Path, tmp_path: Path) -> None:
    assert "choose one of cmos-45nm" in refused("cost", run, "--profile", "loihi9")
    assert "prices a run on loihi2, this one ran on loihi1" in refused("cost", run, "--profile", "loihi2")
    assert "does not exist" in refused("cost", tmp_path / "none.h5", "--profile", "truenorth")
    assert "is a graph, expected a run" in refused("cost", net, "--profile", "truenorth")
    assert "no cores to place on" in refused("simulate", net, "--data", "digits:test", "--chip", "generic")
    assert "choose one of" in refused("simulate", net, "--data", "digits:test", "--chip", "loihi9")
    out = tmp_path / "run.h5"
    formats.save(network(5_000), tmp_path / "large.h5")
    said = refused("simulate", tmp_path / "large.h5", "--data", "digits:test", "--chip", "loihi1", "-o", out)
    assert "out on loihi1: one neuron needs 5,000 axons_in, a core has 4,096" in said
    assert not out.exists()


def test_a_run_of_another_chips_cores_is_damaged(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.h5"
    path.write_bytes(run.read_bytes())
    with h5py.File(path, "r+") as file:
        del file["placement/tiles"]
    assert "checksum" in refused("cost", path, "--profile", "loihi1-fit")
