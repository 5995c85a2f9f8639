"""What users put into their own tests."""

from dataclasses import replace

import numpy as np
import pytest

from spikegraph.export.errors import OptionError, TargetError
from spikegraph.export.formats import save
from spikegraph.export.graph import Output
from spikegraph.targets.places import reference
from spikegraph.testing import assert_equivalent, random_inputs


def test_a_place_an_execution_a_graph_a_function_and_files(make_graph, tmp_path):
    graph = make_graph()
    inputs = random_inputs(graph, n_samples=4, rate=0.5, seed=3)
    execution = reference(graph, inputs)
    save(graph, tmp_path / "net.h5")
    np.savez(tmp_path / "run.npz", **{f"{n}.{v}": a for n, traces in execution.items() for v, a in traces.items()})
    for other in ("native", execution, graph, reference, tmp_path / "net.h5", str(tmp_path / "run.npz")):
        assert_equivalent(graph, other, inputs)
        assert_equivalent(tmp_path / "net.h5", other, inputs["x"])


def test_a_difference_fails_with_its_cause(make_graph):
    graph, other = make_graph(), make_graph({"decay_v": 201})
    with pytest.raises(
        AssertionError, match=r"first difference at sample 0(.|\n)*cause: decay constant: decay_v is one more"
    ):
        assert_equivalent(graph, other, random_inputs(graph, rate=0.9))


def test_what_cannot_be_compared_is_an_error_and_no_failed_assertion(make_graph):
    graph = make_graph()
    with pytest.raises(OptionError, match="is no place and no file"):
        assert_equivalent(graph, "chip", random_inputs(graph))
    with pytest.raises(TargetError, match="holds c"):
        assert_equivalent(graph, {"c": {"s": np.zeros((6, 10, 3))}}, random_inputs(graph))


def test_random_inputs_are_those_of_their_seed(make_graph):
    graph = make_graph()
    one, same, other = (random_inputs(graph, seed=seed)["x"] for seed in (1, 1, 2))
    assert one.shape == (6, 10, 4)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert random_inputs(graph, rate=0)["x"].sum() == 0
    assert (random_inputs(graph, rate=1)["x"] == 1).all()


def test_a_recording_brings_its_input_along(make_graph, tmp_path):
    graph = make_graph()
    inputs = random_inputs(graph, rate=0.5)
    s = reference(graph, inputs)["b"]["s"]
    np.savez(tmp_path / "run.npz", **{"b.s": s, "inputs.x": inputs["x"]})
    assert_equivalent(graph, tmp_path / "run.npz")
    np.savez(tmp_path / "run.npz", **{"b.s": ~s, "inputs.x": inputs["x"]})
    with pytest.raises(AssertionError, match="first difference"):
        assert_equivalent(graph, tmp_path / "run.npz")
    with pytest.raises(OptionError, match="inputs: are missing"):
        assert_equivalent(graph, "native")


def test_graphs_without_a_population_in_common(make_graph):
    graph = make_graph()
    populations = {"c": graph.populations["a"]}
    other = make_graph(
        populations=populations,
        projections={"p": replace(graph.projections["p"], target="c")},
        outputs={"o": Output(population="c")},
    )
    with pytest.raises(OptionError, match="has c, and the first a, b; compare graphs with a population in common"):
        assert_equivalent(graph, other, random_inputs(graph))
    for wrong in ({"n_samples": 0}, {"rate": 2}, {"rate": float("nan")}):
        with pytest.raises(OptionError, match="draw at least 1 sample"):
            random_inputs(graph, **wrong)
