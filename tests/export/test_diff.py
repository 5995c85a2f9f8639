from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from graph_strategies import graphs
from hypothesis import given

from spikegraph.export.coding import InputCoding, Readout
from spikegraph.export.diff import differences
from spikegraph.export.float_graph import FloatDense, FloatGraph, FloatPopulation
from spikegraph.export.graph import Conv2d, Dense, Graph, Input, OneToOne, Output, Population, Sparse
from spikegraph.export.hdf5 import graph_checksum


def small() -> Graph:
    return Graph(
        inputs={"pixels": Input(shape=(2, 3, 3))},
        populations={
            "hidden": Population(shape=(2, 3, 3), threshold_mant=[40, 50], decay_v=128),
            "out": Population(shape=(4,), threshold_mant=60),
        },
        projections={
            "conv": Conv2d(source="pixels", target="hidden", weight=np.arange(36).reshape(2, 2, 3, 3), padding=1),
            "self": OneToOne(source="hidden", target="hidden", weight=-3, delay_steps=1),
            "fc": Dense(source="hidden", target="out", weight=np.arange(72).reshape(4, 18)),
        },
        outputs={"class": Output(population="out")},
        n_steps=8,
        coding=InputCoding(kind="rate"),
        readout=Readout(kind="count", output="class"),
    )


def with_population(graph: Graph, name: str, **changed: Any) -> Graph:
    return replace(graph, populations={**graph.populations, name: replace(graph.populations[name], **changed)})


def with_projection(graph: Graph, name: str, **changed: Any) -> Graph:
    return replace(graph, projections={**graph.projections, name: replace(graph.projections[name], **changed)})


@given(graphs(), graphs())
def test_none_if_and_only_if_the_content_is_the_same(a: Graph, b: Graph) -> None:
    assert not differences(a, a)
    assert (not differences(a, b)) == (graph_checksum(a) == graph_checksum(b))


def renamed(graph: Graph) -> Graph:
    """Give every node another name, and the same meaning."""
    node = {name: f"{name}.of_b" for name in (*graph.inputs, *graph.populations)}
    readout = graph.readout and replace(
        graph.readout,
        output=f"{graph.readout.output}.of_b",
        joined=tuple(f"{one}.of_b" for one in graph.readout.joined),
    )
    return replace(
        graph,
        inputs={node[name]: one for name, one in graph.inputs.items()},
        populations={node[name]: one for name, one in graph.populations.items()},
        projections={
            f"{name}.of_b": replace(p, source=node[p.source], target=node[p.target])
            for name, p in graph.projections.items()
        },
        outputs={f"{name}.of_b": replace(o, population=node[o.population]) for name, o in graph.outputs.items()},
        readout=readout,
    )


def test_other_names_are_the_same_nodes() -> None:
    found = differences(small(), renamed(small()))
    assert {(one.node, one.attribute) for one in found} == {
        *(("input pixels", "name"), ("population hidden", "name"), ("population out", "name")),
        *(
            ("projection conv", "name"),
            ("projection self", "name"),
            ("projection fc", "name"),
            ("output class", "name"),
        ),
    }
    assert all(one.same_meaning for one in found)


CHANGES: dict[str, tuple[str, Any, bool]] = {
    "shape": ("hidden", (18,), False),
    "decay_u": ("hidden", 2000, False),
    "decay_v": ("hidden", 129, False),
    "threshold_mant": ("hidden", [40, 51], False),
    "bias_mant": ("hidden", 5, False),
    "bias_exp": ("hidden", 2, True),  # of no bias
    "reset": ("hidden", "subtract", False),
    "refractory_steps": ("hidden", 2, False),
    "max_spikes": ("hidden", 1, False),
    "start_step": ("hidden", 1, False),
}


def test_every_attribute_of_a_population_is_compared() -> None:
    assert CHANGES.keys() == {one.name for one in fields(Population)}
    for name, (population, value, same) in CHANGES.items():
        if name != "shape":
            (found,) = differences(small(), with_population(small(), population, **{name: value}))
            assert (found.node, found.attribute, found.same_meaning) == (f"population {population}", name, same)
    (found,) = differences(small(), with_population(small(), "out", shape=(2, 2, 1)))
    assert (found.attribute, found.what) == ("shape", "4, 2×2×1")


def test_numbers_held_otherwise_mean_the_same() -> None:
    each = np.repeat([40, 50], 9).reshape(2, 3, 3)
    (found,) = differences(small(), with_population(small(), "hidden", threshold_mant=each))
    assert found.same_meaning
    assert found.what == "equal numbers, held as 2 of int8, 2×3×3 of int8"
    (found,) = differences(small(), with_projection(small(), "self", weight=[-3, -3]))
    assert found.same_meaning


def test_a_bias_is_its_mantissa_and_its_exponent() -> None:
    a = with_population(small(), "out", bias_mant=12, bias_exp=2)
    (found,) = differences(a, with_population(small(), "out", bias_mant=[6, 6, 6, 6], bias_exp=3))
    assert str(found) == "population out: bias_mant, bias_exp: equal biases, held otherwise (the same meaning)"
    (found,) = differences(a, with_population(small(), "out", bias_mant=[6, 6, 6, 7], bias_exp=3))
    assert str(found) == "population out: bias_mant, bias_exp: 1 of 4 numbers differ, by up to 8 (in units of v)"


def test_how_many_weights_differ_and_by_how_much() -> None:
    weight = small().projections["fc"].weight.copy()
    weight[0, :3] += [1, -5, 2]
    (found,) = differences(small(), with_projection(small(), "fc", weight=weight))
    assert str(found) == "projection fc: weight: 3 of 72 numbers differ, by up to 5"
    assert found.largest == 5


@pytest.mark.parametrize("change", [0, 7])
def test_another_kind_of_projection_is_compared_synapse_by_synapse(change: int) -> None:
    dense = small().projections["fc"]
    weight = dense.weight.copy()
    weight[1, 2] += change
    sparse = Sparse(
        source="hidden",
        target="out",
        indptr=np.arange(0, 73, 4),
        indices=np.tile(np.arange(4), 18),
        weight=weight.T.ravel(),
    )
    (found,) = differences(small(), replace(small(), projections={**small().projections, "fc": sparse}))
    assert (found.attribute, found.same_meaning, found.largest) == ("kind", not change, change)


def test_nodes_of_one_graph_only_and_the_rest_of_the_graph() -> None:
    b = replace(
        small(),
        projections={name: p for name, p in small().projections.items() if name != "self"},
        outputs={**small().outputs, "v": Output(population="hidden", variable="v")},
        n_steps=9,
        coding=None,
        readout=Readout(kind="first_spike", output="class"),
    )
    assert [str(one) for one in differences(small(), b)] == [
        "graph: n_steps: 8, 9",
        "graph: coding: is in the first graph only",
        "readout: kind: count, first_spike",
        "projection self: is in the first graph only",
        "output v: is in the second graph only",
    ]


def test_floats_and_integers_are_not_compared() -> None:
    floats = FloatGraph(
        inputs={"pixels": Input(shape=(2,))},
        populations={"out": FloatPopulation(shape=(2,))},
        projections={"fc": FloatDense(source="pixels", target="out", weight=np.eye(2))},
        outputs={"class": Output(population="out")},
        n_steps=8,
    )
    assert [str(one) for one in differences(small(), floats)] == ["graph: kind: an integer graph, a float graph"]
    (found,) = differences(floats, replace(floats, dt=2e-3))
    assert str(found) == "graph: dt: 0.001, 0.002"
    leaky = replace(floats.populations["out"], tau_mem=np.array([1.0, np.inf]))
    (found,) = differences(floats, replace(floats, populations={"out": leaky}))
    assert found.attribute == "tau_mem"
