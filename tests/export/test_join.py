"""Graphs side by side: each computes what it computed alone, and they decide as counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import call, refused
from graph_strategies import Case, cases, graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.errors import GraphError
from spikegraph.export.float_graph import FloatDense, FloatGraph, FloatPopulation
from spikegraph.export.formats import load, save
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.export.join import join
from spikegraph.export.passes import pipelined
from spikegraph.hwsim.program import compile_program
from spikegraph.hwsim.reference import run_reference
from spikegraph.hwsim.simulate import simulate

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def net(weight: list[list[int]], kind: str = "count", **readout: Any) -> Graph:
    """Two inputs → neurons that pass on what is at least 2."""
    return Graph(
        inputs={"in": Input(shape=(2,))},
        populations={"n": Population(shape=(len(weight),), threshold_mant=1, decay_v=4096)},
        projections={"p": Dense(source="in", target="n", weight=weight)},
        outputs={"class": Output(population="n")},
        n_steps=4,
        coding=InputCoding(kind="first_spike"),
        readout=Readout(kind=kind, output="class", **readout),  # type: ignore[arg-type]
        provenance={"chip": "loihi1", "seed": 1},
    )


STRAIGHT, CROSSED = [[2, 0], [0, 2]], [[0, 2], [2, 0]]
X = np.array([[1, 0.0], [0, 1], [1, 0.34]], np.float32)


def decided(graph: Graph, **options: Any) -> list[tuple[int, bool, int]]:
    run = simulate(graph, [(X, np.zeros(3, int), np.arange(3))], **options)
    return list(zip(run.predicted.tolist(), run.decided.tolist(), run.decision_step.tolist(), strict=True))


def test_a_joint_decision_by_hand() -> None:
    three = [net(STRAIGHT), net(STRAIGHT), net(CROSSED)]
    # Two say the class of the pixel, one the other: 2 spikes against 1. Sample 2: both pixels, 3 spikes against 3.
    assert decided(join(three, "abc")) == [(0, True, 3), (1, True, 3), (0, False, 3)]
    # The third counts three times: 2 against 3.
    assert decided(join(three, "abc", weights=(1, 1, 3))) == [(1, True, 3), (0, True, 3), (0, False, 3)]


def test_networks_of_different_seeds_read_the_spikes_of_the_first() -> None:
    one, other = (replace(net(STRAIGHT), coding=InputCoding(kind="rate", seed=seed)) for seed in (3, 8))
    joint = join([one, other], "ab")
    assert joint.coding == one.coding
    with pytest.raises(GraphError, match=r"b: coding is InputCoding\(kind='direct'"):
        join([one, replace(other, coding=InputCoding(kind="direct", seed=3))], "ab")


def test_first_spikes_of_an_ensemble_by_hand() -> None:
    graphs = [net(STRAIGHT, "first_spike"), net(CROSSED, "first_spike")]
    joint = join(graphs, ["a", "b"], weights=(2, 1))
    # Pixel 0 fires in step 0 and reaches class 0 by a, 2 · 1, and class 1 by b, 1 · 1.
    for options in ({}, {"until": "decision"}, {"engine": "reference"}):
        assert decided(joint, **options) == [(0, True, 0), (1, True, 0), (0, True, 0)]
    # 1 against 1: the potential of a's neuron that fires, 128, is larger than 0, so a has the casting vote.
    assert decided(join(graphs, ["a", "b"])) == [(0, True, 0), (1, True, 0), (0, True, 0)]


def test_names_readout_and_provenance() -> None:
    pairs = net([*STRAIGHT, *CROSSED], neurons_per_class=2)
    joint = join([net(STRAIGHT), pairs], ["a", "b.2"], weights=(1, 5))
    assert list(joint.inputs) == ["in"]
    assert list(joint.populations) == ["a.n", "b.2.n"]
    assert [(p.source, p.target) for p in joint.projections.values()] == [("in", "a.n"), ("in", "b.2.n")]
    assert list(joint.projections) == ["a.p", "b.2.p"]
    assert joint.readout == Readout(kind="count", output="a.class", joined=("b.2.class",), weights=(1, 5))
    assert joint.provenance["chip"] == "loihi1"
    assert joint.provenance["joined"] == {"a": {"chip": "loihi1", "seed": 1}, "b.2": {"chip": "loihi1", "seed": 1}}
    # An ensemble of ensembles: weights multiply, and the two neurons a class of the first are those of the whole.
    twice = join([pairs, joint], ["x", "y"], weights=(3, 2))
    assert twice.readout == Readout(
        kind="count",
        output="x.class",
        neurons_per_class=2,
        joined=("y.a.class", "y.b.2.class"),
        weights=(3, 2, 10),
    )
    own = Readout(kind="membrane", output="b.class")
    assert join([net(STRAIGHT), net(STRAIGHT)], ["a", "b"], readout=own).readout == own


@settings(relaxed, max_examples=40)
@given(case=cases(), data=st.data())
def test_each_computes_what_it_computes_alone(case: Case, data: st.DataObject) -> None:
    one, two = case.graph, data.draw(graphs(n_steps=st.just(case.graph.n_steps), inputs=case.graph.inputs))
    joint = join([one, two], ["a", "b"], readout=Readout(kind="count", output="b.out"))
    together = run_reference(compile_program(joint), case.rasters, list(joint.populations))
    for name, graph in (("a", one), ("b", two)):
        alone = run_reference(compile_program(graph), case.rasters, list(graph.populations))
        for population, trace in alone.traces.items():
            for variable in ("x", "u", "v", "s"):
                got = getattr(together.traces[f"{name}.{population}"], variable)
                assert np.array_equal(got, getattr(trace, variable)), (name, population, variable)
        for projection, sops in alone.per_step["sops"].items():
            assert np.array_equal(together.per_step["sops"][f"{name}.{projection}"], sops)


def test_a_pipeline_of_the_whole_is_the_whole_of_pipelines() -> None:
    parts = [net(STRAIGHT), net(CROSSED)]
    a, b = pipelined(join(parts, "ab")), join([pipelined(part) for part in parts], "ab")
    assert {name: p.delay_steps for name, p in a.projections.items()} == {
        name: p.delay_steps for name, p in b.projections.items()
    }
    assert decided(a) == decided(b) == decided(join(parts, "ab"))


def test_float_graphs() -> None:
    def float_net(dt: float = 1e-3) -> FloatGraph:
        return FloatGraph(
            inputs={"in": Input(shape=(2,))},
            populations={"n": FloatPopulation(shape=(2,))},
            projections={"p": FloatDense(source="in", target="n", weight=np.eye(2))},
            outputs={"class": Output(population="n")},
            n_steps=4,
            dt=dt,
            readout=Readout(kind="count", output="class"),
        )

    joint = join([float_net(), float_net()], "ab")
    assert isinstance(joint, FloatGraph)
    assert list(joint.populations) == ["a.n", "b.n"]
    with pytest.raises(GraphError, match=r"b: dt is 0\.002, and 0\.001 in a; join graphs that read the same"):
        join([float_net(), float_net(2e-3)], "ab")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda g: replace(g, n_steps=5), "b: n_steps is 5, and 4 in a; join graphs that read the same in the same"),
        (lambda g: replace(g, coding=None), "b: coding is None, and InputCoding"),
        (lambda g: replace(g, inputs={"in": Input(shape=(2,), max_value=3)}), r"b: inputs is in Input\(shape=\(2,\)"),
        (lambda g: replace(g, readout=None), "b: has no readout; say how they decide together"),
        (lambda g: replace(g, readout=Readout(kind="membrane", output="class")), "b: reads potentials, which have no"),
        (
            lambda g: replace(g, readout=Readout(kind="first_spike", output="class")),
            "b: reads first_spike of 2 classes, a count of 2; join graphs that tell the same classes apart alike",
        ),
        (
            lambda g: replace(g, readout=Readout(kind="count", output="class", neurons_per_class=2)),
            "b: reads count of 1 classes, a count of 2",
        ),
    ],
)
def test_what_does_not_go_together(change: Callable[[Graph], Graph], says: str) -> None:
    with pytest.raises(GraphError, match=says):
        join([net(STRAIGHT), change(net(STRAIGHT))], "ab")


def test_names_and_weights_that_make_no_sense() -> None:
    two = [net(STRAIGHT), net(STRAIGHT)]
    for names in (["a"], ["a", "a"], ["a", "b", "c"], []):
        with pytest.raises(GraphError, match="give two graphs or more, and each a name of its own"):
            join(two, names)
    with pytest.raises(GraphError, match="join: got 1 graph, named a; "):
        join(two[:1], ["a"])
    with pytest.raises(GraphError, match="join: the name 'a b' is not one that a node may have"):
        join(two, ["a b", "c"])
    with pytest.raises(GraphError, match="join: got 3 weights for 2 graphs; give one for each, or none"):
        join(two, ["a", "b"], weights=(1, 2, 3))
    with pytest.raises(GraphError, match="weights = 0 is outside 1…32767"):
        join(two, ["a", "b"], weights=(1, 0))


def test_the_command(tmp_path: Path) -> None:
    for name, weight in (("a", STRAIGHT), ("b", CROSSED)):
        save(net(weight), tmp_path / f"{name}.h5")
    files = (tmp_path / "a.h5", tmp_path / "b.h5")
    said = call("join", *files, "-o", tmp_path / "joint.h5", "--weights", "2,1").stdout
    assert "2 graphs, 2 populations; a.class (weight 2), b.class (weight 1) decide together" in said
    joint = load(tmp_path / "joint.h5")
    assert joint.readout == Readout(kind="count", output="a.class", joined=("b.class",), weights=(2, 1))
    shown = call("inspect", tmp_path / "joint.h5").stdout
    assert "readout: kind count, output a.class, neurons_per_class 1, joined b.class, weights 2 1" in shown
    call("join", *files, "-o", tmp_path / "joint.h5", "--names", "x,y")
    assert list(load(tmp_path / "joint.h5").populations) == ["x.n", "y.n"]
    (tmp_path / "joint.h5").unlink()
    assert "'2;1' is not a list of whole numbers" in refused(
        "join", *files, "-o", tmp_path / "joint.h5", "--weights", "2;1"
    )
    assert "give two graphs or more" in refused("join", files[0], "-o", tmp_path / "joint.h5")
    assert "give two graphs or more" in refused("join", files[0], files[0], "-o", tmp_path / "joint.h5")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a.h5", "b.h5"]
