from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from graph_strategies import FEATURES, _kind_and_target, population, projection
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from net_files import CUBA, LOIHI, conv, dense, write_net

from spikegraph.export.assumptions import NOTHING_ASSUMED, Assumptions
from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.diff import differences
from spikegraph.export.errors import FileFormatError, GraphError
from spikegraph.export.float_graph import FloatDense, FloatGraph, FloatPopulation
from spikegraph.export.formats import read, save
from spikegraph.export.graph import Dense, Graph, Input, Output, Population
from spikegraph.export.hdf5 import graph_checksum
from spikegraph.export.loss import LossReport
from spikegraph.targets.places import native


def there_and_back(graph: Graph, assumed: Assumptions = NOTHING_ASSUMED) -> tuple[Graph, LossReport]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.net"
        report = save(graph, path)
        back = read(path, assumed)[0]
    assert isinstance(back, Graph)
    return back, report


IMAGE = {"type": "input", "shape": [2, 6, 5]}
FILES: dict[str, list[Any]] = {
    "dense": [{"type": "input", "shape": [4]}, dense(4, 3), dense(3, 5, seed=1, bias=[1, 2, 3, 4, 5])],
    "no neurons": [{"type": "input", "shape": [4]}, dense(4, 3, neuron=None)],
    "out of reach": [{"type": "input", "shape": [4]}, dense(4, 1, neuron={**CUBA, "vThMant": 131071, "vDecay": 0})],
    "input neurons": [
        {**IMAGE, "weight": [36.0], "bias": [34.0], "neuron": LOIHI},
        conv([2, 6, 5], 4, delay=[0, 2, 2, 1], bias=[3]),
        conv([4, 4, 3], 2, seed=1, neuron={**CUBA, "iDecay": [100, 200], "refDelay": 7}),
        {"type": "flatten", "shape": [4, 1, 1]},
        {**dense(4, 6, seed=2), "type": "dense_rec", "weight_rec": np.eye(6), "delay": [0, 1, 2, 3, 4, 5]},
        dense(6, 4, seed=3, delay=[2, 2, 0, 1]),
        {"type": "average", "shape": [2, 1, 1]},
    ],
    "pool": [IMAGE, {"type": "pool", "shape": [2, 3, 2], "kernelSize": [2, 2], "weight": 3, "neuron": CUBA}],
    "delays of the input": [{"type": "input", "shape": [4]}, dense(4, 3, delay=[1, 0, 62, 1])],
    "one delay": [{"type": "input", "shape": [4]}, dense(4, 3, delay=[5]), dense(3, 3, delay=[0, 1, 0])],
}


@pytest.mark.parametrize("name", FILES)
def test_file_to_graph_to_file_to_graph(name: str, tmp_path: Path) -> None:
    graph = read(write_net(tmp_path / "a.net", FILES[name]))[0]
    assert isinstance(graph, Graph)
    back, _ = there_and_back(graph)
    assert graph_checksum(back) == graph_checksum(graph)


@st.composite
def chains(draw: st.DrawFn) -> Graph:
    """Draw layers that follow each other, of any kind of projection and neuron; some of it no file can hold."""
    features = FEATURES if draw(st.integers(0, 3)) == 0 else FEATURES - {"per_neuron", "max_spikes", "extreme"}
    shape = (2, 4, 5) if draw(st.booleans()) else (5,)
    low, high = draw(st.sampled_from([(0, 1), (0, 1), (-3, 3), (-40, 32)]))
    inputs = {"in": Input(shape=shape, min_value=low, max_value=high)}
    populations: dict[str, Population] = {}
    projections: dict[str, Any] = {}
    previous = "in"
    for i in range(draw(st.integers(1, 3))):
        kind, target, geometry = _kind_and_target(draw, shape, frozenset(features))
        name, delay = f"pop{i}", draw(st.sampled_from([0, 0, 0, 1, 9]))
        node = population(draw, target, frozenset(features))
        if draw(st.integers(0, 3)):
            node = replace(
                node, reset="zero", bias_mant=np.clip(4 * node.bias_mant.astype(int), -4096, 4092), bias_exp=4
            )
        populations[name] = node
        ends, shapes = (previous, name), (shape, target)
        projections[f"p{i}"] = projection(draw, ends, shapes, kind, geometry, frozenset(features), delay)
        if draw(st.integers(0, 3)) == 0:
            loop = (name, name)
            late = draw(st.sampled_from([1, 1, 2]))
            projections[f"r{i}"] = projection(draw, loop, (target, target), "Dense", {}, frozenset(features), late)
        previous, shape = name, target
    readout = Readout(kind=draw(st.sampled_from(["count", "first_spike"])), output="out")
    return Graph(
        inputs=inputs,
        populations=populations,
        projections=projections,
        outputs={"out": Output(population=previous, variable=draw(st.sampled_from(["s", "s", "v"])))},
        n_steps=draw(st.integers(1, 12)),
        coding=draw(st.sampled_from([None, InputCoding(kind="rate")])),
        readout=draw(st.sampled_from([None, readout])),
    )


def named_alike(back: Graph, graph: Graph) -> Graph:
    """Give the nodes that came back the names that they had."""
    names = dict(zip([*back.inputs, *back.populations], [*graph.inputs, *graph.populations], strict=True))
    ours = {(p.source, p.target): name for name, p in graph.projections.items()}
    moved = {n: replace(p, source=names[p.source], target=names[p.target]) for n, p in back.projections.items()}
    return replace(
        back,
        inputs={names[name]: node for name, node in back.inputs.items()},
        populations={names[name]: node for name, node in back.populations.items()},
        projections={ours.get((p.source, p.target), name): p for name, p in moved.items()},
        outputs={name: replace(node, population=names[node.population]) for name, node in back.outputs.items()},
    )


def unlisted(graph: Graph, back: Graph, report: LossReport) -> list[str]:
    """Differences that no line of the report is about."""
    said = [(name, attribute) for loss in report.losses for name in _nodes(loss.node) for attribute in _of(loss)]
    return [
        str(d)
        for d in differences(graph, named_alike(back, graph))
        if not any(node == d.node and attribute in (*d.attribute.split(", "), "kind") for node, attribute in said)
        and ("graph", d.node) not in said  # coding, readout
        and not d.attribute.startswith("order of")  # which says nothing
    ]


def _nodes(node: str) -> list[str]:
    kind, _, names = node.partition(" ")
    return [f"{kind} {name}" for name in names.split(", ")] if names else [node]


def _of(loss: Any) -> list[str]:
    return [str(attribute) for attribute in loss.attribute.split(", ")]


@settings(max_examples=40, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(chains(), st.integers(0, 2**32 - 1))
def test_what_differs_is_listed_and_spikes_are_the_same_unless_approximated(graph: Graph, seed: int) -> None:
    try:
        back, report = there_and_back(graph)
    except GraphError:
        assume(False)
        raise
    assert unlisted(graph, back, report) == []
    same_spikes(graph, back, report, seed)
    # What came back is what a file holds: from there on nothing changes any more.
    again, second = there_and_back(back)
    assert graph_checksum(again) == graph_checksum(back)
    assert {loss.attribute for loss in second.losses if "lava-dl" not in loss.what} <= {"provenance"}


def same_spikes(graph: Graph, back: Graph, report: LossReport, seed: int) -> None:
    """Run both, unless the report says that spikes may differ; what the input carries may have another unit."""
    before, after = graph.inputs["in"], back.inputs["input"]
    approximated = any(loss.effect == "approximated" for loss in report.losses)
    if approximated or before.max_value == 0:
        return
    spikes = np.random.default_rng(seed).integers(
        before.min_value, before.max_value + 1, (graph.n_steps, 2, *before.shape)
    )
    largest = max(-before.min_value, before.max_value)
    scaled = spikes * (max(back.coding.max_value // largest, 1) if back.coding else 1)
    if abs(scaled).max() > max(after.max_value, -after.min_value):
        back = replace(back, inputs={"input": replace(after, min_value=-(1 << 15), max_value=(1 << 15) - 1)})
    mine = native(graph, {"in": spikes.astype(np.int16)})
    its = native(back, {"input": scaled.astype(np.int16)})
    for name, same in zip(graph.populations, back.populations, strict=True):
        rows = (graph.n_steps, 2, -1)
        np.testing.assert_array_equal(mine[name]["s"].reshape(rows), its[same]["s"].reshape(rows))


def small(**changes: object) -> Graph:
    """Four lines, three neurons that feed two, in whole numbers that a file holds."""
    nodes: dict[str, Any] = {
        "inputs": {"in": Input(shape=(4,))},
        "populations": {
            "a": Population(shape=(3,), decay_v=128, threshold_mant=20),
            "b": Population(shape=(2,), decay_v=128, threshold_mant=20),
        },
        "projections": {
            "p": Dense(source="in", target="a", weight=np.arange(12).reshape(3, 4) - 4),
            "q": Dense(source="a", target="b", weight=np.arange(6).reshape(2, 3) - 2),
        },
        "outputs": {"out": Output(population="b")},
        "n_steps": 8,
        **changes,
    }
    return Graph(**nodes)


def changed(node: str, **fields: Any) -> Graph:
    graph = small()
    group = "populations" if node in graph.populations else "projections"
    nodes = dict(getattr(graph, group))
    return replace(graph, **{group: {**nodes, node: replace(nodes[node], **fields)}})


Q = small().projections["q"]
REFUSED = {
    "two inputs": (small(inputs={"in": Input(shape=(4,)), "more": Input(shape=(4,))}), "has 2 inputs"),
    "a skip": (
        small(projections={**small().projections, "s": Dense(source="in", target="b", weight=np.ones((2, 4), int))}),
        "population b: is fed by 2 nodes: a, in",
    ),
    "a long loop": (
        small(
            projections={
                **small().projections,
                "s": Dense(source="b", target="a", weight=np.ones((3, 2), int), delay_steps=1),
            }
        ),
        "population a: is fed by 2 nodes",
    ),
    "a population on its own": (
        small(populations={**small().populations, "c": Population(shape=(2,), threshold_mant=1)}),
        "population c: is fed by 0 nodes",
    ),
    "thresholds": (changed("a", threshold_mant=[20, 20, 21]), "threshold_mant has 2 values"),
    "reset": (changed("a", reset="subtract"), "reset = 'subtract'"),
    "max_spikes": (changed("a", max_spikes=3), "max_spikes = 3"),
    "a pipeline": (changed("a", start_step=1), "the graph is pipelined"),
    "a late input": (
        small(
            projections={
                "p": Dense(source="in", target="a", weight=np.ones((4, 4), int), delay_steps=2),
                "q": replace(Q, weight=np.ones((2, 4), int)),
            },
            populations={**small().populations, "a": Population(shape=(4,), threshold_mant=1)},
        ),
        "held by no layer",
    ),
    "a late loop": (
        small(
            projections={
                **small().projections,
                "r": Dense(source="a", target="a", weight=np.ones((3, 3), int), delay_steps=2),
            }
        ),
        "one step late",
    ),
    "synapses of two delays": (
        small(projections={**small().projections, "more": replace(Q, delay_steps=3)}),
        "differ in their delay",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_reason_and_no_file(case: str, tmp_path: Path) -> None:
    graph, message = REFUSED[case]
    with pytest.raises(GraphError, match=message):
        save(graph, tmp_path / "a.net")
    assert not list(tmp_path.iterdir())


def losses(graph: Graph) -> dict[tuple[str, str], str]:
    report = there_and_back(graph)[1]
    return {(loss.node, loss.attribute): f"{loss.effect}: {loss.what}" for loss in report.losses}


def test_rewritten_and_said() -> None:
    """One spike in a window of 8 steps is a pause that outlasts it; after it nothing is left to subtract from."""
    graph = changed("a", max_spikes=1, reset="subtract")
    back, _ = there_and_back(graph)
    assert (back.populations["layer1"].refractory_steps, back.populations["layer1"].reset) == (8, "zero")
    said = losses(graph)
    assert said["population a", "max_spikes"] == "none: max_spikes → refractory_steps = 8"
    assert said["population a", "reset"].startswith("none: reset subtract → zero")
    assert "dropped: the file holds it, but lava-dl's reader leaves out refDelay (8" in said["population a", "refDelay"]


def test_a_bias_is_rounded_and_says_by_how_much() -> None:
    """100 is 36 away from 64 = 1 · 2^6 and 28 from 128: it becomes 128."""
    graph = changed("b", bias_mant=[100, 64])
    back, report = there_and_back(graph)
    assert back.populations["layer2"].bias_mant.tolist() == [2, 1]
    (loss,) = (loss for loss in report.losses if loss.effect == "approximated")
    assert (loss.node, loss.attribute, loss.error) == ("population b", "bias_mant, bias_exp", 28)


def test_what_lava_dl_leaves_out() -> None:
    weight = -(2 ** np.arange(6)).reshape(2, 3)
    assert "cuts -32 by a step" in losses(changed("q", weight=weight))["population b", "weight"]
    assert "which is 0" in losses(changed("q", weight=0 * weight))["population b", "weight"]
    assert "these are -300…9" in losses(changed("q", weight=[[-300, 0, 9]] * 2))["population b", "weight"]
    late = small(projections={**small().projections, "q": replace(Q, delay_steps=63)})
    assert "cuts delays to 62 steps" in losses(late)["population a", "delay"]
    assert ("population b", "weight") not in losses(small())


def test_a_float_graph_is_refused(tmp_path: Path) -> None:
    graph = FloatGraph(
        inputs={"in": Input(shape=(1,))},
        populations={"a": FloatPopulation(shape=(1,), v_threshold=1.0)},
        projections={"p": FloatDense(source="in", target="a", weight=np.ones((1, 1)))},
        outputs={"out": Output(population="a")},
        n_steps=2,
        dt=0.001,
    )
    with pytest.raises(GraphError, match="quantize it for a chip"):
        save(graph, tmp_path / "a.net")


def test_no_half_written_file(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="does not exist"):
        save(small(), tmp_path / "nowhere" / "a.net")
    (tmp_path / "a.net").mkdir()
    with pytest.raises(FileFormatError, match="is a folder"):
        save(small(), tmp_path / "a.net")
    assert [p.name for p in tmp_path.iterdir()] == ["a.net"]


def test_types_are_lava_dls(tmp_path: Path) -> None:
    """Its reader takes the text of a layer from an array, that of a neuron from a scalar, and weights in float32."""
    save(small(), tmp_path / "a.net")
    with h5py.File(tmp_path / "a.net") as file:
        assert file["layer/1/type"][0] == b"dense"
        assert file["layer/1/neuron/type"][()] == b"CUBA"
        assert file["layer/1/weight"].dtype == np.float32
        assert file["layer/1/neuron/iDecay"].shape == ()
        assert file["simulation/tSample"][()] == 8
