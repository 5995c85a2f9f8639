"""Runs: put together from batches, kept in files, refused when damaged."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.container import Json, read_container, write_container
from spikegraph.export.errors import FileFormatError, GraphError, OptionError
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.export.passes import pipelined
from spikegraph.hwsim.run import Run
from spikegraph.hwsim.run_file import load_run, save_run
from spikegraph.hwsim.simulate import simulate


def one_to_class() -> Graph:
    """Two inputs, two classes; every input spike makes its class fire in the same step."""
    return Graph(
        inputs={"in": Input(shape=(2,))},
        populations={"out": Population(shape=(2,), threshold_mant=1, decay_v=4096)},
        projections={"p": Dense(source="in", target="out", weight=[[2, 0], [0, 2]])},
        outputs={"class": Output(population="out")},
        n_steps=4,
        coding=InputCoding(kind="first_spike"),
        readout=Readout(kind="first_spike", output="class"),
    )


X = np.array([[1, 0.5], [0.5, 1], [0, 0], [1, 1], [0, 0.34]], np.float32)
LABEL = np.array([0, 1, 0, 0, 1])


def run_of(graph: Graph, batch: int = 5, **options: object) -> Run:
    batches = [(X[i : i + batch], LABEL[i : i + batch], np.arange(i, min(i + batch, 5))) for i in range(0, 5, batch)]
    return simulate(graph, batches, **options)  # type: ignore[arg-type]


def test_accuracy_counts_neither_silence_nor_ties() -> None:
    run = run_of(one_to_class())
    # sample 2 is silent, sample 3 a tie in step 0 with equal potentials
    assert run.decided.tolist() == [True, True, False, False, True]
    assert run.accuracy == 3 / 5


def test_decision_step_and_latency() -> None:
    run = run_of(one_to_class())
    # x = 1 fires at 0; x = 0.34 at round(0.66 · 3) = 2; silence is decided in the last step, 3
    assert run.decision_step.tolist() == [0, 0, 3, 0, 2]
    latency = run.summary()["decision_latency_steps"]
    assert latency["mean"] == np.mean([1, 1, 4, 1, 3])
    assert latency["with_pipeline_depth"] == latency["mean"] + 1  # one projection takes one step on a chip


def test_counts_until_decision_stop_there() -> None:
    run = run_of(one_to_class())
    # sample 0 decides in step 0: its input spike there reaches 2 synapses; the other spike comes in step 2
    assert run.counts.window["sops"]["p"].tolist() == [4, 4, 0, 4, 2]
    assert run.counts.until_decision["sops"]["p"].tolist() == [2, 2, 0, 4, 2]
    # 2 neurons × steps up to and including the decision
    assert run.counts.until_decision["neuron_updates"]["out"].tolist() == [2, 2, 8, 2, 6]


def test_a_pipelined_graph_decides_and_counts_the_same_and_takes_its_depth_longer() -> None:
    plain, chip = run_of(one_to_class()), run_of(pipelined(one_to_class()))
    assert plain.depth == chip.depth == 1
    a, b = plain.summary(), chip.summary()
    assert a["decision_latency_steps"] == b["decision_latency_steps"]
    assert a["per_sample"] == b["per_sample"]


def test_batches_do_not_matter() -> None:
    whole, single = run_of(one_to_class(), record=["out"]), run_of(one_to_class(), batch=2, record=["out"])
    assert whole.summary() == single.summary()
    for variable in ("x", "u", "v", "s", "v_before_reset"):
        assert np.array_equal(whole.traces["out"][variable], single.traces["out"][variable])


def test_a_run_survives_its_file(tmp_path: Path) -> None:
    run = run_of(one_to_class(), record=["out"], provenance={"data": "five"})
    save_run(run, tmp_path / "run.h5")
    again = load_run(tmp_path / "run.h5")
    assert again.summary() == run.summary()
    assert again.provenance == {"data": "five"}
    assert np.array_equal(again.traces["out"]["u"], run.traces["out"]["u"])
    assert np.array_equal(again.predicted, run.predicted)


def test_a_damaged_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    save_run(run_of(one_to_class()), path)
    with h5py.File(path, "r+") as file:
        file["label"][0] = 7
    with pytest.raises(FileFormatError, match="checksum"):
        load_run(path)


@pytest.mark.parametrize("missing", ["label", "counts", "provenance", "n_steps"])
def test_a_run_that_lacks_something_is_refused(missing: str, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    save_run(run_of(one_to_class()), path)
    tree = read_container(path, "run")
    tree["provenance"] = Json(value=tree["provenance"])
    del tree[missing]
    write_container(path, "run", tree)
    with pytest.raises(FileFormatError, match=missing):
        load_run(path)


def test_what_cannot_be_simulated_says_why() -> None:
    graph = one_to_class()
    with pytest.raises(GraphError, match="coding"):
        run_of(replace(graph, coding=None))
    with pytest.raises(GraphError, match="readout"):
        run_of(replace(graph, readout=None))
    with pytest.raises(OptionError, match="reference"):
        run_of(graph, engine="warp")
    with pytest.raises(OptionError, match="out"):
        run_of(graph, record=["nobody"])
    with pytest.raises(OptionError, match="none"):
        simulate(graph, [])
