"""NIR there and back: the same graph with spikegraph's metadata, the same network without them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from graph_strategies import FEATURES, Case, cases, graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikegraph.export.assumptions import Assumptions
from spikegraph.export.chips import load_chip
from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.errors import FileFormatError
from spikegraph.export.float_graph import FloatConv2d, FloatDense, FloatGraph, FloatPopulation
from spikegraph.export.formats import read, save
from spikegraph.export.graph import Conv2d, Dense, Graph, Input, OneToOne, Output, Population, Sparse, SumPool2d
from spikegraph.export.hdf5 import graph_checksum
from spikegraph.export.loss import LossReport
from spikegraph.export.nir.write import in_floats
from spikegraph.export.quantize import quantize
from spikegraph.hwsim.float_engine import run_float

FIXTURE = HealthCheck.function_scoped_fixture


def small(**changes: Any) -> Graph:
    fields: dict[str, Any] = {
        "inputs": {"pixels": Input(shape=(2,))},
        "populations": {"hidden": Population(shape=(3,), decay_v=128, threshold_mant=[64, 64, 200])},
        "projections": {"fc": Dense(source="pixels", target="hidden", weight=[[1, -2], [3, 4], [5, 127]])},
        "outputs": {"class": Output(population="hidden")},
        "n_steps": 8,
    }
    return Graph(**{**fields, **changes})


def lost(report: LossReport) -> dict[tuple[str, str], str]:
    return {(loss.node, loss.attribute): loss.effect for loss in report.losses}


# Every graph comes back as it was.


@settings(max_examples=15, suppress_health_check=[FIXTURE])
@given(graph=graphs())
def test_an_integer_graph_is_read_back_as_it_was(tmp_path: Path, graph: Graph) -> None:
    save(graph, tmp_path / "net.nir")
    back, report = read(tmp_path / "net.nir")
    assert graph_checksum(back) == graph_checksum(graph)
    assert report.lossless


@settings(max_examples=10, suppress_health_check=[FIXTURE])
@given(graph=graphs(), convention=st.sampled_from(["lava", "exact", "snntorch", "spikingjelly", "norse", "sinabs"]))
def test_a_float_graph_is_read_back_as_it_was_under_any_convention(
    tmp_path: Path, graph: Graph, convention: str
) -> None:
    floats = in_floats(graph, 2e-3)
    save(floats, tmp_path / "net.nir", Assumptions(convention=convention))
    back, _ = read(tmp_path / "net.nir")
    assert isinstance(back, FloatGraph)
    assert graph_checksum(back) == graph_checksum(floats)


def test_codes_readout_provenance_and_clip_are_read_back(tmp_path: Path) -> None:
    graph = FloatGraph(
        inputs={"pixels": Input(shape=(2, 3, 3), max_value=3)},
        populations={
            "conv": FloatPopulation(shape=(4, 2, 2), tau_mem=0.02, bias=np.arange(4, dtype=np.float32)),
            "node": FloatPopulation(shape=(4,), tau_syn=0.005, tau_mem=[0.01, 0.02, 0.03, np.inf], reset="none"),
        },
        projections={
            "c.1": FloatConv2d(
                source="pixels", target="conv", weight=np.ones((4, 2, 2, 2), np.float32), clip=0.5, delay_steps=2
            ),
            "fc": FloatDense(source="conv", target="node", weight=np.eye(4, 16) / 3),
        },
        outputs={"v": Output(population="node", variable="v")},
        n_steps=5,
        dt=2e-3,
        coding=InputCoding(kind="direct", max_value=3),
        readout=Readout(kind="membrane", output="v", neurons_per_class=2),
        provenance={"recipe": "made by hand", "numbers": [1, 2.5]},
    )
    save(graph, tmp_path / "net.nir")
    back, report = read(tmp_path / "net.nir")
    assert graph_checksum(back) == graph_checksum(graph)
    assert back.provenance == graph.provenance
    assert "spikegraph's own" in report.facts[0]


def test_a_quantized_graph_is_read_back_and_runs(tmp_path: Path) -> None:
    floats = in_floats(small(), 1e-3)
    graph, _ = quantize(floats, load_chip("loihi2"))
    save(graph, tmp_path / "net.nir")
    assert graph_checksum(read(tmp_path / "net.nir")[0]) == graph_checksum(graph)


def test_windows_and_inputs_can_be_asked_for_anew(tmp_path: Path) -> None:
    save(small(), tmp_path / "net.nir")
    back, _ = read(tmp_path / "net.nir", Assumptions(n_steps=30, max_value=7))
    assert back.n_steps == 30
    assert back.inputs["pixels"].max_value == 7


# Without the metadata the nodes alone say the same.


def without_metadata(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["node/metadata"]


@settings(max_examples=20, suppress_health_check=[FIXTURE])
@given(
    case=cases(FEATURES - {"refractory", "max_spikes", "readouts", "extreme"}),
    convention=st.sampled_from(["lava", "exact", "norse", "spikingjelly"]),
)
def test_the_nodes_alone_make_the_same_spikes(tmp_path: Path, case: Case, convention: str) -> None:
    graph = in_floats(case.graph, 1e-3)
    resets = {"subtract": "zero"}  # which NIR cannot say
    populations = {n: replace(p, reset=resets.get(p.reset, p.reset)) for n, p in graph.populations.items()}
    graph = replace(graph, populations=populations)
    save(graph, tmp_path / "net.nir", Assumptions(convention=convention))
    without_metadata(tmp_path / "net.nir")
    back, _ = read(tmp_path / "net.nir", Assumptions(convention=convention, dt=1e-3, n_steps=graph.n_steps))
    assert isinstance(back, FloatGraph)
    here = run_float(graph, case.rasters, dtype=np.float64)
    there = run_float(replace(back, inputs=graph.inputs), case.rasters, dtype=np.float64)
    for name in set(graph.populations) & set(there.spikes):  # one that is only read is called as its output
        expected = here.spikes[name]
        np.testing.assert_array_equal(there.spikes[name].reshape(expected.shape), expected)
    (output,), (output_there,) = graph.outputs.values(), back.outputs.values()
    if output.variable == output_there.variable == "v":
        expected = here.traces[output.population].v_before_reset
        found = there.traces[output_there.population].v_before_reset
        np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-9, atol=1e-9)


def test_what_no_spike_reaches_still_leaks(tmp_path: Path) -> None:
    """All its weights are 0, so that no way leads to it: its bias alone is left, and passes its leak."""
    graph = FloatGraph(
        inputs={"in": Input(shape=(1,))},
        populations={
            "a": FloatPopulation(shape=(1,), v_threshold=5.0),
            "b": FloatPopulation(shape=(1,), tau_syn=8e-3, tau_mem=4e-3, v_threshold=20.0, bias=-3.0, reset="none"),
        },
        projections={
            "p": FloatDense(source="in", target="a", weight=np.ones((1, 1))),
            "q": FloatDense(source="a", target="b", weight=np.zeros((1, 1))),
        },
        outputs={"v": Output(population="b", variable="v")},
        n_steps=3,
    )
    save(graph, tmp_path / "net.nir", Assumptions(convention="lava"))
    without_metadata(tmp_path / "net.nir")
    back, _ = read(tmp_path / "net.nir", Assumptions(convention="lava", dt=1e-3, n_steps=3))
    assert isinstance(back, FloatGraph)
    silence = {"in": np.zeros((3, 1, 1), np.int16)}
    traces = [next(iter(run_float(one, silence, dtype=np.float64).traces.values())).v for one in (graph, back)]
    np.testing.assert_allclose(traces[1], traces[0], rtol=1e-12)
    assert traces[0][2, 0, 0] < traces[0][0, 0, 0] == -3


def test_nodes_that_were_changed_count_and_it_is_told(tmp_path: Path) -> None:
    save(small(), tmp_path / "net.nir")
    with h5py.File(tmp_path / "net.nir", "a") as file:
        file["node/nodes/fc/weight"][0, 0] = 99.0
    back, report = read(tmp_path / "net.nir")
    assert isinstance(back, FloatGraph)
    assert back.projections["fc"].weight[0, 0] == 99
    assert any("were changed since" in fact for fact in report.facts)
    assert any("convention lava" in fact for fact in report.facts)  # what it was written with still holds


def test_damaged_metadata_are_told_and_the_nodes_are_read(tmp_path: Path) -> None:
    save(small(), tmp_path / "net.nir")
    with h5py.File(tmp_path / "net.nir", "a") as file:
        file["node/metadata/spikegraph/graph/n_steps"][...] = "80"
    back, report = read(tmp_path / "net.nir")
    assert isinstance(back, FloatGraph)
    assert any("metadata are damaged" in fact for fact in report.facts)


def test_another_tool_may_read_and_write_the_file_in_between(tmp_path: Path) -> None:
    save(small(), tmp_path / "net.nir")
    nir.write(tmp_path / "again.nir", nir.read(tmp_path / "net.nir"))
    assert graph_checksum(read(tmp_path / "again.nir")[0]) == graph_checksum(small())


# What others do not find in the file.


def with_population(**fields: Any) -> Graph:
    return small(populations={"hidden": Population(shape=(3,), threshold_mant=64, **fields)})


@pytest.mark.parametrize(
    ("graph", "node", "attribute", "effect"),
    [
        (with_population(refractory_steps=3), "population hidden", "refractory_steps", "dropped"),
        (with_population(max_spikes=1), "population hidden", "max_spikes", "dropped"),
        (with_population(reset="subtract"), "population hidden", "reset", "dropped"),
        (with_population(decay_v=[0, 5, 5]), "population hidden", "tau", "approximated"),
        (small(inputs={"pixels": Input(shape=(2,), max_value=3)}), "input pixels", "max_value", "dropped"),
        (
            small(outputs={"v": Output(population="hidden", variable="v")}),
            "population hidden",
            "output variable",
            "dropped",
        ),
        (small(coding=InputCoding(kind="rate")), "graph", "coding", "dropped"),
        (small(readout=Readout(kind="count", output="class")), "graph", "readout", "dropped"),
        (small(n_steps=9), "graph", "n_steps", "none"),
        (small(), "graph", "integers", "approximated"),
    ],
)
def test_what_nir_cannot_say_is_lost_to_others(
    tmp_path: Path, graph: Graph, node: str, attribute: str, effect: str
) -> None:
    report = save(graph, tmp_path / "net.nir")
    assert lost(report)[node, attribute] == effect


def expected_losses(graph: FloatGraph, convention: str) -> set[tuple[str, str]]:
    """Return what is dropped or approximated, from the graph alone: the table of docs/nir.md."""
    found = {(f"input {name}", "max_value") for name, node in graph.inputs.items() if node.graded}
    if graph.readout is not None:
        found.add(("graph", "readout"))
    for name, p in graph.populations.items():
        where = f"population {name}"
        taps = {output.variable for output in graph.outputs.values() if output.population == name}
        fires = p.reset != "none" or taps != {"v"} or any(q.source == name for q in graph.projections.values())
        leaks = np.asarray(p.tau_mem) < np.inf
        there = {
            "reset": p.reset == "subtract",  # all of these conventions set v to v_reset
            "refractory_steps": p.refractory_steps > 1,
            "max_spikes": p.max_spikes > 0,
            "output variable": fires and "v" in taps,
            "tau": leaks.any() and not leaks.all(),
        }
        found |= {(where, attribute) for attribute, lost_here in there.items() if lost_here}
    for name, q in graph.projections.items():
        touching = [r for r in graph.projections.values() if q.target in (r.source, r.target)]
        windows = any(r.kind in ("Conv2d", "SumPool2d") for r in touching)
        if q.kind in ("Dense", "Sparse") and windows:
            found.add((f"projection {name}", "shape"))
    return found


@settings(max_examples=15, suppress_health_check=[FIXTURE])
@given(graph=graphs(), convention=st.sampled_from(["lava", "exact", "norse", "spikingjelly"]))
def test_exactly_what_others_do_not_find_is_reported(tmp_path: Path, graph: Graph, convention: str) -> None:
    floats = in_floats(graph, 1e-3)
    report = save(floats, tmp_path / "net.nir", Assumptions(convention=convention))
    reported = {node for node, effect in lost(report).items() if effect != "none"}
    assert {node for node in reported if node[1] != "shape"} == {
        node for node in expected_losses(floats, convention) if node[1] != "shape"
    }
    assert {node for node in expected_losses(floats, convention) if node[1] == "shape"} <= reported


def test_what_nir_can_say_is_not_lost(tmp_path: Path) -> None:
    graph = in_floats(small(), 1e-3)
    report = save(graph, tmp_path / "net.nir")
    assert set(lost(report)) == {("graph", "n_steps")}
    assert report.lossless


def test_a_negative_weight_exponent_floors_nowhere_else(tmp_path: Path) -> None:
    fc = Dense(source="pixels", target="hidden", weight=np.ones((3, 2)), weight_exp=-2)
    report = save(small(projections={"fc": fc}), tmp_path / "net.nir")
    assert lost(report)["projection fc", "weight_exp"] == "approximated"


def test_synapses_in_a_list_become_a_matrix(tmp_path: Path) -> None:
    listed = Sparse(source="pixels", target="hidden", weight=[5, 7, 1], indptr=[0, 2, 3], indices=[1, 1, 0])
    report = save(small(projections={"fc": listed}), tmp_path / "net.nir")
    assert lost(report)["projection fc", "kind"] == "none"
    weight = nir.read(tmp_path / "net.nir").nodes["fc"].weight
    np.testing.assert_array_equal(weight, [[0, 1], [12, 0], [0, 0]])  # 5 + 7: two synapses between the same two


def test_what_does_not_fold_is_told(tmp_path: Path) -> None:
    graph = small(
        populations={
            "image": Population(shape=(1, 2, 2), threshold_mant=1),
            "hidden": Population(shape=(1, 1, 1), threshold_mant=1),
        },
        projections={
            "fc": Dense(source="pixels", target="image", weight=np.ones((4, 2))),
            "pool": SumPool2d(source="image", target="hidden", kernel_size=2),
        },
    )
    report = save(graph, tmp_path / "net.nir")
    assert lost(report)["projection fc", "shape"] == "approximated"


# The nodes are those that mean it.


def types(path: Path) -> dict[str, str]:
    return {name: type(node).__name__ for name, node in nir.read(path, type_check=False).nodes.items()}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"hidden": "IF"}),
        ({"decay_v": 100}, {"hidden": "LIF"}),
        ({"decay_u": 100, "decay_v": 100}, {"hidden": "CubaLIF"}),
        ({"decay_u": 100}, {"hidden_current": "LI", "hidden": "IF"}),
        ({"reset": "none"}, {"hidden_potential": "I", "hidden": "Threshold"}),
        ({"reset": "none", "decay_v": 9}, {"hidden_potential": "LI", "hidden": "Threshold"}),
        ({"reset": "none", "decay_v": 9, "decay_u": 9}, {"hidden_potential": "CubaLI", "hidden": "Threshold"}),
    ],
)
def test_neurons_are_written_as_the_nodes_that_mean_it(
    tmp_path: Path, fields: dict[str, Any], expected: dict[str, str]
) -> None:
    save(with_population(**fields), tmp_path / "net.nir")
    assert {"pixels": "Input", "fc": "Linear", "class": "Output"} | expected == types(tmp_path / "net.nir")


def test_a_potential_that_is_only_read_ends_in_no_threshold(tmp_path: Path) -> None:
    graph = replace(with_population(reset="none", decay_v=5), outputs={"v": Output(population="hidden", variable="v")})
    report = save(graph, tmp_path / "net.nir")
    assert types(tmp_path / "net.nir")["hidden"] == "LI"
    assert ("population hidden", "output variable") not in lost(report)


def test_time_constants_and_r_make_euler_steps_that_are_the_graph_s(tmp_path: Path) -> None:
    save(with_population(decay_u=1024, decay_v=512), tmp_path / "net.nir", Assumptions(dt=1e-3))
    node = nir.read(tmp_path / "net.nir").nodes["hidden"]
    np.testing.assert_allclose(node.tau_syn, 1e-3 * 4096 / 1024)  # 1 - dt / tau = 1 - 1024 / 4096
    np.testing.assert_allclose(node.tau_mem, 1e-3 * 4096 / 512)
    np.testing.assert_allclose(node.w_in * 1e-3 / node.tau_syn, 1)
    np.testing.assert_allclose(node.r * 1e-3 / node.tau_mem, 1)
    np.testing.assert_array_equal(node.v_threshold, [64, 64, 64])
    np.testing.assert_array_equal(node.v_reset, [0, 0, 0])


def test_a_bias_is_in_the_matrix_where_it_can_be(tmp_path: Path) -> None:
    save(with_population(bias_mant=[64, -64, 32]), tmp_path / "net.nir")
    node = nir.read(tmp_path / "net.nir").nodes["fc"]
    np.testing.assert_array_equal(node.bias, [1, -1, 0.5])  # in units of 64


def test_a_bias_behind_a_current_is_a_v_leak(tmp_path: Path) -> None:
    save(with_population(bias_mant=64, decay_u=100, decay_v=1024), tmp_path / "net.nir")
    np.testing.assert_allclose(nir.read(tmp_path / "net.nir").nodes["hidden"].v_leak, 4)  # 1 = 1024 / 4096 · 4


def test_delays_scales_pools_and_recurrence_are_nodes(tmp_path: Path) -> None:
    graph = small(
        inputs={"pixels": Input(shape=(2, 4, 4))},
        populations={
            "conv": Population(shape=(2, 4, 4), threshold_mant=1),
            "hidden": Population(shape=(2, 2, 2), threshold_mant=1),
        },
        projections={
            "c": Conv2d(source="pixels", target="conv", weight=np.ones((2, 1, 3, 3)), padding=1, groups=2),
            "back": OneToOne(source="conv", target="conv", weight=-3, delay_steps=2),
            "pool": SumPool2d(source="conv", target="hidden", weight=5),
        },
    )
    save(graph, tmp_path / "net.nir", Assumptions(dt=1e-3))
    found = nir.read(tmp_path / "net.nir", type_check=False)
    np.testing.assert_allclose(found.nodes["back_delay"].delay, np.full((2, 4, 4), 2e-3))
    np.testing.assert_array_equal(found.nodes["back"].scale, np.full((2, 4, 4), -3))
    np.testing.assert_array_equal(found.nodes["pool_scale"].scale, np.full((2, 2, 2), 5))
    assert found.nodes["c"].groups == 2
    assert ("back", "conv") in found.edges


def test_the_package_s_own_reader_agrees_with_the_types(tmp_path: Path) -> None:
    graph = small(
        inputs={"pixels": Input(shape=(2, 8, 8))},
        populations={
            "conv": Population(shape=(3, 8, 8), threshold_mant=1, decay_v=9),
            "hidden": Population(shape=(10,), threshold_mant=1),
        },
        projections={
            "c": Conv2d(source="pixels", target="conv", weight=np.ones((3, 2, 3, 3)), padding=1),
            "fc": Dense(source="conv", target="hidden", weight=np.ones((10, 192))),
        },
    )
    save(graph, tmp_path / "net.nir")
    assert nir.read(tmp_path / "net.nir", type_check=True).check_types()


def test_a_file_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    save(small(), tmp_path / "net.nir")
    before = (tmp_path / "net.nir").read_bytes()
    monkeypatch.setattr(nir, "write", fails)
    with pytest.raises(FileFormatError, match="No space left"):
        save(small(n_steps=9), tmp_path / "net.nir")
    assert (tmp_path / "net.nir").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["net.nir"]


@pytest.mark.parametrize("path", ["absent/net.nir", "folder.nir"])
def test_where_no_file_can_be_written(tmp_path: Path, path: str) -> None:
    (tmp_path / "folder.nir").mkdir()
    with pytest.raises(FileFormatError, match=r"does not exist|is a folder"):
        save(small(), tmp_path / path)


def test_a_list_of_synapses_that_would_be_too_large_a_matrix_is_refused(tmp_path: Path) -> None:
    n = 20_000
    listed = Sparse(source="pixels", target="hidden", weight=[1], indptr=[0, 1] + [1] * (n - 1), indices=[0])
    graph = small(
        inputs={"pixels": Input(shape=(n,))},
        populations={"hidden": Population(shape=(n,), threshold_mant=1)},
        projections={"fc": listed},
    )
    with pytest.raises(FileFormatError, match="400000000 weights"):
        save(graph, tmp_path / "net.nir")


def test_a_bias_that_would_be_too_large_a_matrix_of_zeros_is_refused(tmp_path: Path) -> None:
    """A bias behind a current, of neurons that do not leak: 16 · 126 · 126 × 128 · 128 = 4,161,798,144 weights."""
    graph = FloatGraph(
        inputs={"in": Input(shape=(1, 128, 128))},
        populations={"big": FloatPopulation(shape=(16, 126, 126), tau_syn=0.01, tau_mem=np.inf, bias=0.1)},
        projections={"fc": FloatConv2d(source="in", target="big", weight=np.ones((16, 1, 3, 3), np.float32))},
        outputs={"out": Output(population="big")},
        n_steps=5,
    )
    with pytest.raises(FileFormatError, match=r"population big: has a bias .* 4161798144 weights; write the graph as"):
        save(graph, tmp_path / "a.nir")
