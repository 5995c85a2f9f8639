"""What other frameworks' readers need of a NIR file: no nodes but those that they know, no fields that are new."""

from __future__ import annotations

from pathlib import Path

import h5py
import nir
import numpy as np
import pytest

from spikegraph.export.assumptions import Assumptions
from spikegraph.export.diff import differences
from spikegraph.export.float_graph import FloatDense, FloatGraph, FloatOneToOne, FloatPopulation
from spikegraph.export.formats import read, save
from spikegraph.export.graph import Input, Output

RNG = np.random.default_rng(5)
WEIGHT = RNG.normal(size=(4, 3)).astype(np.float32)
BIAS = RNG.normal(size=4).astype(np.float32)
ASSUMED = Assumptions(convention="spikingjelly", dt=1e-4, n_steps=20)


def recurrent_with_a_bias_through_its_current(**constant: object) -> FloatGraph:
    always = {"v_threshold": 0.5, "bias": 1.0, "reset": "zero", **constant}
    neurons = FloatPopulation(shape=(4,), tau_syn=2e-4, tau_mem=5e-4, v_threshold=np.ones(4, np.float32))
    return FloatGraph(
        inputs={"input": Input(shape=(3,))},
        populations={"neurons": neurons, "always": FloatPopulation(shape=(1,), **always)},  # type: ignore[arg-type]
        projections={
            "fc": FloatDense(source="input", target="neurons", weight=WEIGHT),
            "always_fc": FloatDense(source="always", target="neurons", weight=BIAS.reshape(4, 1)),
            "back": FloatOneToOne(source="neurons", target="neurons", weight=np.array(0.25), delay_steps=1),
        },
        outputs={"output": Output(population="neurons")},
        n_steps=20,
        dt=1e-4,
    )


def nodes_of(path: Path) -> dict[str, nir.NIRNode]:
    return dict(nir.read(path).nodes)


def without_metadata(path: Path) -> FloatGraph:
    with h5py.File(path, "r+") as file:
        del file["node/metadata"]
    graph, _ = read(path, ASSUMED)
    assert isinstance(graph, FloatGraph)
    return graph


def test_a_constant_is_the_bias_that_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "net.nir"
    graph = recurrent_with_a_bias_through_its_current()
    save(graph, path, ASSUMED)
    nodes = nodes_of(path)
    assert {name: type(node).__name__ for name, node in nodes.items() if name not in ("input", "output")} == {
        "neurons": "CubaLIF",
        "fc": "Affine",
        "back": "Scale",
    }
    np.testing.assert_array_equal(nodes["fc"].bias, BIAS)
    assert not differences(graph, read(path)[0])
    bare = without_metadata(path)
    (constant,) = (name for name in bare.populations if name != "neurons")
    (brought,) = (p for p in bare.projections.values() if p.source == constant)
    np.testing.assert_array_equal(brought.weight.ravel(), BIAS)
    (back,) = (p for p in bare.projections.values() if p.source == p.target)
    assert back.delay_steps == 1


@pytest.mark.parametrize("other", [{"v_threshold": 1.0}, {"reset": "subtract"}, {"max_spikes": 3}])
def test_a_neuron_that_does_not_fire_in_every_step_is_none(tmp_path: Path, other: dict[str, object]) -> None:
    path = tmp_path / "net.nir"
    save(recurrent_with_a_bias_through_its_current(**other), path, ASSUMED)
    assert "always" in nodes_of(path)


def test_a_reset_to_zero_is_left_out_and_may_come_back(tmp_path: Path) -> None:
    """nir before 1.0.5 refuses the field; nir 1.0.8 writes it again: that is no change of the network."""
    path, again = tmp_path / "net.nir", tmp_path / "again.nir"
    graph = recurrent_with_a_bias_through_its_current()
    save(graph, path, ASSUMED)
    with h5py.File(path) as file:
        assert "v_reset" not in file["node/nodes/neurons"]
    nir.write(again, nir.read(path))
    with h5py.File(again) as file:
        assert "v_reset" in file["node/nodes/neurons"]
    assert not differences(graph, read(again)[0])


def test_sinabs_knows_no_matrix_without_a_bias(tmp_path: Path) -> None:
    path = tmp_path / "net.nir"
    graph = FloatGraph(
        inputs={"input": Input(shape=(3,))},
        populations={"neurons": FloatPopulation(shape=(4,), reset="subtract")},
        projections={"fc": FloatDense(source="input", target="neurons", weight=WEIGHT)},
        outputs={"output": Output(population="neurons")},
        n_steps=20,
    )
    save(graph, path, Assumptions(convention="sinabs"))
    node = nodes_of(path)["fc"]
    assert isinstance(node, nir.Affine)
    assert not node.bias.any()
    assert not differences(graph, read(path)[0])


def test_norse_declares_inputs_with_the_batch(tmp_path: Path) -> None:
    path = tmp_path / "net.nir"
    neurons = nir.IF(r=np.ones(4), v_threshold=np.ones(4))
    nodes = {"input": nir.Input(np.array([1, 3])), "0": nir.Linear(WEIGHT), "1": neurons}
    nodes["output"] = nir.Output(np.array([1, 4]))
    edges = [("input", "0"), ("0", "1"), ("1", "output")]
    nir.write(path, nir.NIRGraph(nodes, edges, type_check=False))
    graph, report = read(path)
    assert any(fact.startswith("convention norse") for fact in report.facts)
    assert graph.inputs["input"].shape == (3,)
    assert any("the 1 in front is the batch's" in fact for fact in report.facts)
